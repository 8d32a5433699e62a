"""HunyuanVideo 1.5."""

from __future__ import annotations

from .hunyuan_names import COMMON, DIFFUSION_PIPE, MUSUBI
from .record import ORIGINAL, Family, HostModel, pairs

FAMILY = Family(
    "HunyuanVideo 1.5",
    marks=("vision_in.proj.0.weight", "cond_type_embedding.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "cond_type_embed.weight",
    ),
    weights=(
        *COMMON,
        *pairs(
            "",
            "",
            {
                "time_in.in_layer": "time_embed.timestep_embedder.linear_1",
                "time_in.out_layer": "time_embed.timestep_embedder.linear_2",
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
