"""HunyuanVideo 1, SkyReels."""

from __future__ import annotations

from .hunyuan_names import DIFFUSION_PIPE
from .record import Family, HostModel, own

FAMILY = Family(
    "HunyuanVideo",
    marks=("vector_in.in_layer.weight", "txt_in.individual_token_refiner.blocks.0.norm1.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "time_text_embed.text_embedder.linear_1.weight",
        "x_embedder.proj.weight",
    ),
    weights=(
        *own(
            "double_blocks.#.{img_attn,txt_attn}.norm.{key_norm,query_norm}",
            "double_blocks.#.{img_attn,txt_attn}.{proj,qkv}",
            "double_blocks.#.{img_mlp,txt_mlp}.{0,2}",
            "double_blocks.#.{img_mod,txt_mod}.lin",
            "final_layer.adaLN_modulation.1",
            "final_layer.linear",
            "{guidance_in,time_in,vector_in}.{in_layer,out_layer}",
            "img_in.proj",
            "single_blocks.#.{linear1,linear2}",
            "single_blocks.#.modulation.lin",
            "single_blocks.#.norm.{key_norm,query_norm}",
            "txt_in.{c_embedder,t_embedder}.{in_layer,out_layer}",
            "txt_in.individual_token_refiner.blocks.#.adaLN_modulation.1",
            "txt_in.individual_token_refiner.blocks.#.mlp.{0,2}",
            "txt_in.individual_token_refiner.blocks.#.{norm1,norm2}",
            "txt_in.individual_token_refiner.blocks.#.self_attn.{proj,qkv}",
            "txt_in.input_embedder",
        ),
    ),
    aliases=DIFFUSION_PIPE,
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
