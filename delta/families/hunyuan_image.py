"""HunyuanImage 2.1 and its refiner."""

from __future__ import annotations

from .hunyuan_names import COMMON, DIFFUSION_PIPE
from .record import ORIGINAL, Family, HostModel, fused, pairs

FAMILY = Family(
    "HunyuanImage 2.1",
    marks=("txt_in.individual_token_refiner.blocks.0.norm1.weight", "double_blocks.0.img_mod.lin.weight"),
    lacks=("vector_in.in_layer.weight", "vision_in.proj.0.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "time_guidance_embed.timestep_embedder.linear_1.weight",
        "single_transformer_blocks.0.proj_mlp.weight",
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
                "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
                "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
                "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
                "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
                "time_r_in.in_layer": "time_guidance_embed.timestep_embedder_r.linear_1",
                "time_r_in.out_layer": "time_guidance_embed.timestep_embedder_r.linear_2",
                "byt5_in.layernorm": "context_embedder_2.norm",
                "byt5_in.fc1": "context_embedder_2.linear_1",
                "byt5_in.fc2": "context_embedder_2.linear_2",
                "byt5_in.fc3": "context_embedder_2.linear_3",
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
    aliases=DIFFUSION_PIPE,
    styles={"musubi-tuner": ORIGINAL},
    host=HostModel(
        "HunyuanImage21",
        {
            "image_model": "hunyuan_video",
            "in_channels": 64,
            "out_channels": 64,
            "patch_size": [1, 1],
            "vec_in_dim": None,
            "context_in_dim": 3584,
            "hidden_size": 3584,
            "mlp_ratio": 4.0,
            "num_heads": 28,
            "depth": 2,
            "depth_single_blocks": 2,
            "axes_dim": [64, 64],
            "theta": 256,
            "qkv_bias": True,
            "guidance_embed": False,
            "byt5": True,
            "meanflow": False,
            "use_cond_type_embedding": False,
            "vision_in_dim": None,
            "meanflow_sum": False,
        },
    ),
    variants=(HostModel("HunyuanImage21", {"guidance_embed": True, "meanflow": True}),),
)
