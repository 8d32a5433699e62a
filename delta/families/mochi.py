"""Mochi."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "Mochi",
    marks=("t5_yproj.weight", "blocks.0.mod_x.weight"),
    foreign=(
        "time_embed.pooler.to_kv.weight",
        "time_embed.caption_proj.weight",
    ),
    weights=(
        *own(
            "blocks.#.attn.{k_norm_x,k_norm_y,proj_x,proj_y,q_norm_x,q_norm_y,qkv_x,qkv_y}",
            "blocks.#.{mlp_x,mlp_y}.{w1,w2}",
            "blocks.#.{mod_x,mod_y}",
            "final_layer.{linear,mod}",
            "{pos_frequencies,t5_yproj}",
            "t5_y_embedder.{to_kv,to_out,to_q}",
            "t_embedder.mlp.{0,2}",
            "x_embedder.proj",
        ),
    ),
    bare=("pos_frequencies",),
    host=HostModel(
        "GenmoMochi",
        {
            "image_model": "mochi_preview",
            "depth": 2,
            "patch_size": 2,
            "num_heads": 24,
            "hidden_size_x": 3072,
            "hidden_size_y": 1536,
            "mlp_ratio_x": 4.0,
            "mlp_ratio_y": 4.0,
            "learn_sigma": False,
            "in_channels": 12,
            "qk_norm": True,
            "qkv_bias": False,
            "out_bias": True,
            "attn_drop": 0.0,
            "patch_embed_bias": True,
            "posenc_preserve_area": True,
            "timestep_mlp_bias": True,
            "attend_to_padding": False,
            "timestep_scale": 1000.0,
            "use_t5": True,
            "t5_feat_dim": 4096,
            "t5_token_length": 256,
            "rope_theta": 10000.0,
        },
    ),
)
