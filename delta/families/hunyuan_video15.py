"""HunyuanVideo 1.5."""

from __future__ import annotations

from .hunyuan_names import DIFFUSION_PIPE, MUSUBI
from .record import Family, HostModel, own

FAMILY = Family(
    "HunyuanVideo 1.5",
    marks=("vision_in.proj.0.weight", "cond_type_embedding.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "cond_type_embed.weight",
    ),
    weights=(
        *own(
            "byt5_in.{fc1,fc2,fc3,layernorm}",
            "cond_type_embedding",
            "double_blocks.#.{img_attn,txt_attn}.norm.{key_norm,query_norm}",
            "double_blocks.#.{img_attn,txt_attn}.{proj,qkv}",
            "double_blocks.#.{img_mlp,txt_mlp}.{0,2}",
            "double_blocks.#.{img_mod,txt_mod}.lin",
            "final_layer.adaLN_modulation.1",
            "final_layer.linear",
            "img_in.proj",
            "time_in.{in_layer,out_layer}",
            "txt_in.{c_embedder,t_embedder}.{in_layer,out_layer}",
            "txt_in.individual_token_refiner.blocks.#.adaLN_modulation.1",
            "txt_in.individual_token_refiner.blocks.#.mlp.{0,2}",
            "txt_in.individual_token_refiner.blocks.#.{norm1,norm2}",
            "txt_in.individual_token_refiner.blocks.#.self_attn.{proj,qkv}",
            "txt_in.input_embedder",
            "vision_in.proj.{0,1,3,4}",
        ),
    ),
    aliases=(*DIFFUSION_PIPE, *MUSUBI),
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
