"""HunyuanVideo 1, SkyReels."""

from __future__ import annotations

from .hunyuan_names import DIFFUSION_PIPE, TENCENT
from .record import LORA_TRANSFORMER, ORIGINAL, Family, HostModel, Weight, fused, pairs

FAMILY = Family(
    "HunyuanVideo",
    marks=("vector_in.in_layer.weight", "txt_in.individual_token_refiner.blocks.0.norm1.weight"),
    foreign=(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "time_text_embed.text_embedder.linear_1.weight",
        "x_embedder.proj.weight",
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
                "img_in.proj": "x_embedder.proj",
                "final_layer.linear": "proj_out",
                "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
                "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
                "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
                "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
                "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
                "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
                "txt_in.input_embedder": "context_embedder.proj_in",
                "txt_in.t_embedder.in_layer": "context_embedder.time_text_embed.timestep_embedder.linear_1",
                "txt_in.t_embedder.out_layer": "context_embedder.time_text_embed.timestep_embedder.linear_2",
                "txt_in.c_embedder.in_layer": "context_embedder.time_text_embed.text_embedder.linear_1",
                "txt_in.c_embedder.out_layer": "context_embedder.time_text_embed.text_embedder.linear_2",
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
