"""HunyuanVideo 1.5."""

from __future__ import annotations

from .hunyuan_names import DIFFUSION_PIPE, MUSUBI
from .record import ORIGINAL, Family, HostModel, Weight, fused, pairs

FAMILY = Family(
    "HunyuanVideo 1.5",
    marks=("vision_in.proj.0.weight", "cond_type_embedding.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "cond_type_embed.weight",
    ),
    weights=(
        Weight("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
        fused(
            "txt_in.individual_token_refiner.blocks.#.self_attn.qkv",
            "",
            (
                "context_embedder.token_refiner.refiner_blocks.#.attn.to_q",
                "context_embedder.token_refiner.refiner_blocks.#.attn.to_k",
                "context_embedder.token_refiner.refiner_blocks.#.attn.to_v",
            ),
        ),
        fused(
            "double_blocks.#.img_attn.qkv",
            "",
            ("transformer_blocks.#.attn.to_q", "transformer_blocks.#.attn.to_k", "transformer_blocks.#.attn.to_v"),
        ),
        fused(
            "double_blocks.#.txt_attn.qkv",
            "",
            (
                "transformer_blocks.#.attn.add_q_proj",
                "transformer_blocks.#.attn.add_k_proj",
                "transformer_blocks.#.attn.add_v_proj",
            ),
        ),
        *pairs(
            "",
            "",
            {
                "img_in.proj": "x_embedder.proj",
                "final_layer.linear": "proj_out",
                "time_in.in_layer": "time_embed.timestep_embedder.linear_1",
                "time_in.out_layer": "time_embed.timestep_embedder.linear_2",
                "txt_in.input_embedder": "context_embedder.proj_in",
                "txt_in.t_embedder.in_layer": "context_embedder.time_text_embed.timestep_embedder.linear_1",
                "txt_in.t_embedder.out_layer": "context_embedder.time_text_embed.timestep_embedder.linear_2",
                "txt_in.c_embedder.in_layer": "context_embedder.time_text_embed.text_embedder.linear_1",
                "txt_in.c_embedder.out_layer": "context_embedder.time_text_embed.text_embedder.linear_2",
                "byt5_in.layernorm": "context_embedder_2.norm",
                "byt5_in.fc1": "context_embedder_2.linear_1",
                "byt5_in.fc2": "context_embedder_2.linear_2",
                "byt5_in.fc3": "context_embedder_2.linear_3",
                "vision_in.proj.0": "image_embedder.norm_in",
                "vision_in.proj.1": "image_embedder.linear_1",
                "vision_in.proj.3": "image_embedder.linear_2",
                "vision_in.proj.4": "image_embedder.norm_out",
                "cond_type_embedding": "cond_type_embed",
            },
        ),
        *pairs(
            "txt_in.individual_token_refiner.blocks.#",
            "context_embedder.token_refiner.refiner_blocks.#",
            {
                "self_attn.proj": "attn.to_out.0",
                "norm1": "norm1",
                "norm2": "norm2",
                "mlp.0": "ff.net.0.proj",
                "mlp.2": "ff.net.2",
                "adaLN_modulation.1": "norm_out.linear",
            },
        ),
        *pairs(
            "double_blocks.#",
            "transformer_blocks.#",
            {
                "img_attn.proj": "attn.to_out.0",
                "txt_attn.proj": "attn.to_add_out",
                "img_attn.norm.query_norm": "attn.norm_q",
                "img_attn.norm.key_norm": "attn.norm_k",
                "txt_attn.norm.query_norm": "attn.norm_added_q",
                "txt_attn.norm.key_norm": "attn.norm_added_k",
                "img_mlp.0": "ff.net.0.proj",
                "img_mlp.2": "ff.net.2",
                "txt_mlp.0": "ff_context.net.0.proj",
                "txt_mlp.2": "ff_context.net.2",
                "img_mod.lin": "norm1.linear",
                "txt_mod.lin": "norm1_context.linear",
            },
        ),
    ),
    aliases=(*DIFFUSION_PIPE, *MUSUBI),
    styles={"musubi-tuner": ORIGINAL},
    host=HostModel(
        "HunyuanVideo15",
        {
            "image_model": "hunyuan_video",
            "in_channels": 65,
            "out_channels": 32,
            "patch_size": [1, 1, 1],
            "vec_in_dim": None,
            "context_in_dim": 3584,
            "hidden_size": 2048,
            "mlp_ratio": 4.0,
            "num_heads": 16,
            "depth": 2,
            "depth_single_blocks": 0,
            "axes_dim": [16, 56, 56],
            "theta": 256,
            "qkv_bias": True,
            "guidance_embed": False,
            "byt5": True,
            "meanflow": False,
            "use_cond_type_embedding": True,
            "vision_in_dim": 1152,
            "meanflow_sum": True,
        },
    ),
)
