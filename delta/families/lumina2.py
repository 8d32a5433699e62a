"""Lumina 2. Three query heads share one key and value, so that its fused weights have other shares than those of Z-Image."""

from __future__ import annotations

from fractions import Fraction

from .record import Family, HostModel, own

FAMILY = Family(
    "Lumina 2",
    marks=("layers.0.adaLN_modulation.1.weight", "layers.0.attention_norm1.weight"),
    foreign=(
        "time_caption_embed.timestep_embedder.linear_1.weight",
        "layers.0.attn.to_q.weight",
        "layers.0.norm2.weight",
    ),
    weights=(
        *own(
            "{cap_embedder,clip_text_pooled_proj}.{0,1}",
            "{context_refiner,layers,noise_refiner}.#.attention.{k_norm,out,q_norm,qkv}",
            "{context_refiner,layers,noise_refiner}.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}",
            "{context_refiner,layers,noise_refiner}.#.feed_forward.{w1,w2,w3}",
            "final_layer.adaLN_modulation.1",
            "final_layer.linear",
            "{layers,noise_refiner}.#.adaLN_modulation.1",
            "{norm_final,x_embedder}",
            "t_embedder.mlp.{0,2}",
            "time_text_embed.1",
        ),
    ),
    proportions={
        f"{stack}.#.attention.qkv": Fraction(5, 3) for stack in ("layers", "context_refiner", "noise_refiner")
    },
    host=HostModel(
        "Lumina2",
        {
            "image_model": "lumina2",
            "patch_size": 2,
            "in_channels": 16,
            "dim": 2304,
            "cap_feat_dim": 2304,
            "n_layers": 2,
            "qk_norm": True,
            "n_heads": 24,
            "n_kv_heads": 8,
            "axes_dims": [32, 32, 32],
            "axes_lens": [300, 512, 512],
            "rope_theta": 10000.0,
            "ffn_dim_multiplier": 4.0,
        },
    ),
)
