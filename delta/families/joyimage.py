"""JoyImage."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "JoyImage",
    marks=("condition_embedder.time_proj.weight", "double_blocks.0.img_mlp.net.2.weight"),
    weights=(
        *own(
            "condition_embedder.{text_embedder,time_embedder}.{linear_1,linear_2}",
            "condition_embedder.time_proj",
            "double_blocks.#.attn.{img_attn_k_norm,img_attn_proj,img_attn_q_norm,img_attn_qkv,txt_attn_k_norm,txt_attn_proj,txt_attn_q_norm,txt_attn_qkv}",
            "double_blocks.#.{img_mlp,txt_mlp}.net.0.proj",
            "double_blocks.#.{img_mlp,txt_mlp}.net.2",
            "double_blocks.#.{img_mod,txt_mod}.modulate_table",
            "{img_in,proj_out}",
        ),
    ),
    bare=("double_blocks.#.{img_mod,txt_mod}.modulate_table",),
    host=HostModel(
        "JoyImage",
        {
            "image_model": "joyimage",
            "in_channels": 16,
            "hidden_size": 3072,
            "patch_size": [1, 2, 2],
            "num_layers": 2,
            "num_attention_heads": 24,
            "text_dim": 4096,
        },
    ),
)
