"""Flux.1: dev, schnell, Kontext, Fill, the control models, and models of its layout such as LongCat-Image."""

from __future__ import annotations

from .record import LORA_TRANSFORMER, Family, HostModel, Weight, fused, pairs

QKV = ("to_q", "to_k", "to_v")
ADDED_QKV = ("add_q_proj", "add_k_proj", "add_v_proj")
DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
}
QK_NORMS = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
SINGLE_QK_NORMS = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
SINGLE = {"linear2": "proj_out", "modulation.lin": "norm.linear"}
OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
LAST_NORM = Weight("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True)
DOUBLE_BLOCK, SINGLE_BLOCK = (
    ("double_blocks.#", "transformer_blocks.#"),
    ("single_blocks.#", "single_transformer_blocks.#"),
)
DOUBLE_QKV = (
    fused(f"{DOUBLE_BLOCK[0]}.img_attn.qkv", f"{DOUBLE_BLOCK[1]}.attn", QKV),
    fused(f"{DOUBLE_BLOCK[0]}.txt_attn.qkv", f"{DOUBLE_BLOCK[1]}.attn", ADDED_QKV),
)
# Query, key and value have as many rows as the hidden size, the MLP four times as many.
LINEAR1 = fused(
    f"{SINGLE_BLOCK[0]}.linear1", SINGLE_BLOCK[1], (*(f"attn.{part}" for part in QKV), "proj_mlp"), (1, 1, 1, 4)
)
# A name of the first rows of linear1, for which there is none of the others.
LINEAR1_QKV = Weight("single_blocks.#.linear1", ("single_blocks.#.linear1_qkv", ""), (3, 4))
BLOCKS = (
    *DOUBLE_QKV,
    *pairs(*DOUBLE_BLOCK, DOUBLE | QK_NORMS),
    LINEAR1,
    *pairs(*SINGLE_BLOCK, SINGLE | SINGLE_QK_NORMS),
)
CONFIG = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}

FAMILY = Family(
    "Flux.1",
    marks=("double_blocks.0.img_mod.lin.weight", "single_blocks.0.modulation.lin.weight", "img_in.weight"),
    lacks=("txt_in.individual_token_refiner.blocks.0.norm1.weight", "txt_norm.weight"),
    weights=(*BLOCKS, *pairs("", "", OUTSIDE), LAST_NORM),
    aliases=(LINEAR1_QKV,),
    diffusers_prefix="transformer.",
    proportions={"single_blocks.#.linear1": 7},
    styles={"OneTrainer": LORA_TRANSFORMER},
    host=HostModel("Flux", CONFIG),
)
