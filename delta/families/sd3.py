"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from .record import LORA_TRANSFORMER, Family, HostModel, Weight, fused, pairs

FAMILY = Family(
    "Stable Diffusion 3",
    marks=("joint_blocks.0.x_block.attn.qkv.weight", "context_embedder.weight"),
    weights=(
        fused("joint_blocks.#.x_block.attn.qkv", "transformer_blocks.#.attn", ("to_q", "to_k", "to_v")),
        fused("joint_blocks.#.x_block.attn2.qkv", "transformer_blocks.#.attn2", ("to_q", "to_k", "to_v")),
        fused(
            "joint_blocks.#.context_block.attn.qkv",
            "transformer_blocks.#.attn",
            ("add_q_proj", "add_k_proj", "add_v_proj"),
        ),
        *pairs(
            "joint_blocks.#",
            "transformer_blocks.#",
            {
                "x_block.attn.proj": "attn.to_out.0",
                "x_block.attn2.proj": "attn2.to_out.0",
                "context_block.attn.proj": "attn.to_add_out",
                "x_block.mlp.fc1": "ff.net.0.proj",
                "x_block.mlp.fc2": "ff.net.2",
                "context_block.mlp.fc1": "ff_context.net.0.proj",
                "context_block.mlp.fc2": "ff_context.net.2",
                "x_block.adaLN_modulation.1": "norm1.linear",
                "context_block.adaLN_modulation.1": "norm1_context.linear",
                "x_block.attn.ln_q": "attn.norm_q",
                "x_block.attn.ln_k": "attn.norm_k",
                "x_block.attn2.ln_q": "attn2.norm_q",
                "x_block.attn2.ln_k": "attn2.norm_k",
                "context_block.attn.ln_q": "attn.norm_added_q",
                "context_block.attn.ln_k": "attn.norm_added_k",
            },
        ),
        *pairs(
            "",
            "",
            {
                "context_embedder": "context_embedder",
                "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
                "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
                "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
                "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
                "x_embedder.proj": "pos_embed.proj",
                "pos_embed": "pos_embed.pos_embed",
                "final_layer.linear": "proj_out",
            },
        ),
        Weight("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ),
    # Its halves are the other way round in the last block.
    by_depth=("transformer_blocks.#.norm1_context.linear",),
    diffusers_prefix="transformer.",
    styles={"OneTrainer": LORA_TRANSFORMER},
    host=HostModel(
        "SD3",
        {
            "in_channels": 16,
            "patch_size": 2,
            "out_channels": 16,
            "depth": 24,
            "num_blocks": 2,
            "input_size": None,
            "adm_in_channels": 2048,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 4096, "out_features": 1536},
            },
            "num_patches": 36864,
            "pos_embed_max_size": 192,
            "pos_embed_scaling_factor": None,
            "x_block_self_attn_layers": [0, 1],
        },
    ),
    variants=(
        HostModel(
            "SD3", {"num_patches": 147456, "pos_embed_max_size": 384, "x_block_self_attn_layers": [0], "qk_norm": "rms"}
        ),
    ),
)
