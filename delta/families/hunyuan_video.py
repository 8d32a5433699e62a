"""HunyuanVideo 1, SkyReels."""

from __future__ import annotations

from .hunyuan_names import COMMON, DIFFUSION_PIPE, TENCENT
from .record import LORA_TRANSFORMER, ORIGINAL, Family, HostModel, fused, pairs

FAMILY = Family(
    "HunyuanVideo",
    marks=("vector_in.in_layer.weight", "txt_in.individual_token_refiner.blocks.0.norm1.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "time_text_embed.text_embedder.linear_1.weight",
        "x_embedder.proj.weight",
    ),
    weights=(
        *COMMON,
        fused(
            "single_blocks.#.linear1",
            "",
            (
                "single_transformer_blocks.#.attn.to_q",
                "single_transformer_blocks.#.attn.to_k",
                "single_transformer_blocks.#.attn.to_v",
                "single_transformer_blocks.#.proj_mlp",
            ),
            (1, 1, 1, 4),
        ),
        *pairs(
            "",
            "",
            {
                "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
                "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
                "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
                "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
                "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
                "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
            },
        ),
        *pairs(
            "single_blocks.#",
            "single_transformer_blocks.#",
            {
                "linear2": "proj_out",
                "norm.query_norm": "attn.norm_q",
                "norm.key_norm": "attn.norm_k",
                "modulation.lin": "norm.linear",
            },
        ),
    ),
    aliases=(*DIFFUSION_PIPE, *TENCENT),
    styles={"OneTrainer": LORA_TRANSFORMER, "musubi-tuner": ORIGINAL},
    host=HostModel(
        "HunyuanVideo",
        {
            "image_model": "hunyuan_video",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": [1, 2, 2],
            "vec_in_dim": 768,
            "context_in_dim": 4096,
            "hidden_size": 3072,
            "mlp_ratio": 4.0,
            "num_heads": 24,
            "depth": 2,
            "depth_single_blocks": 2,
            "axes_dim": [16, 56, 56],
            "theta": 256,
            "qkv_bias": True,
            "guidance_embed": True,
            "byt5": False,
            "meanflow": False,
            "use_cond_type_embedding": False,
            "vision_in_dim": None,
            "meanflow_sum": False,
        },
    ),
)
