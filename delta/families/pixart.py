"""PixArt alpha and sigma."""

from __future__ import annotations

from .record import LORA_TRANSFORMER, Family, HostModel, fused, pairs

FAMILY = Family(
    "PixArt",
    marks=("blocks.0.cross_attn.kv_linear.weight", "y_embedder.y_proj.fc1.weight", "blocks.0.mlp.fc1.weight"),
    weights=(
        fused("blocks.#.attn.qkv", "transformer_blocks.#.attn1", ("to_q", "to_k", "to_v")),
        fused("blocks.#.cross_attn.kv_linear", "transformer_blocks.#.attn2", ("to_k", "to_v")),
        *pairs(
            "blocks.#",
            "transformer_blocks.#",
            {
                "scale_shift_table": "scale_shift_table",
                "attn.proj": "attn1.to_out.0",
                "mlp.fc1": "ff.net.0.proj",
                "mlp.fc2": "ff.net.2",
                "cross_attn.q_linear": "attn2.to_q",
                "cross_attn.proj": "attn2.to_out.0",
            },
        ),
        *pairs(
            "",
            "",
            {
                "csize_embedder.mlp.0": "adaln_single.emb.resolution_embedder.linear_1",
                "csize_embedder.mlp.2": "adaln_single.emb.resolution_embedder.linear_2",
                "ar_embedder.mlp.0": "adaln_single.emb.aspect_ratio_embedder.linear_1",
                "ar_embedder.mlp.2": "adaln_single.emb.aspect_ratio_embedder.linear_2",
                "x_embedder.proj": "pos_embed.proj",
                "y_embedder.y_embedding": "caption_projection.y_embedding",
                "y_embedder.y_proj.fc1": "caption_projection.linear_1",
                "y_embedder.y_proj.fc2": "caption_projection.linear_2",
                "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
                "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
                "t_block.1": "adaln_single.linear",
                "final_layer.linear": "proj_out",
                "final_layer.scale_shift_table": "scale_shift_table",
            },
        ),
    ),
    bare=(
        "blocks.#.scale_shift_table",
        "final_layer.scale_shift_table",
    ),
    diffusers_prefix="transformer.",
    styles={"OneTrainer": LORA_TRANSFORMER},
    host=HostModel(
        "PixArtAlpha",
        {
            "image_model": "pixart_alpha",
            "num_heads": 16,
            "patch_size": 2,
            "hidden_size": 1152,
            "in_channels": 4,
            "depth": 2,
            "model_max_length": 120,
            "input_size": 128,
            "pe_interpolation": 2,
            "micro_condition": True,
        },
    ),
)
