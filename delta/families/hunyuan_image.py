"""HunyuanImage 2.1 and its refiner."""

from __future__ import annotations

from .hunyuan_names import DIFFUSION_PIPE
from .record import Family, HostModel, own

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
        *own(
            "byt5_in.{fc1,fc2,fc3,layernorm}",
            "double_blocks.#.{img_attn,txt_attn}.norm.{key_norm,query_norm}",
            "double_blocks.#.{img_attn,txt_attn}.{proj,qkv}",
            "double_blocks.#.{img_mlp,txt_mlp}.{0,2}",
            "double_blocks.#.{img_mod,txt_mod}.lin",
            "final_layer.adaLN_modulation.1",
            "final_layer.linear",
            "{guidance_in,time_in,time_r_in}.{in_layer,out_layer}",
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
)
