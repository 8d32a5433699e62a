"""Lumina 2. Three query heads share one key and value, so that its fused weights have other shares than those of Z-Image."""

from __future__ import annotations

from fractions import Fraction

from .record import Family, HostModel, fused, own, pairs

# A layer of any stack.
BLOCK = {
    "attention.out": "attn.to_out.0",
    "attention.q_norm": "attn.norm_q",
    "attention.k_norm": "attn.norm_k",
    "feed_forward.w1": "feed_forward.linear_1",
    "feed_forward.w2": "feed_forward.linear_2",
    "feed_forward.w3": "feed_forward.linear_3",
    "attention_norm2": "norm2",
    "ffn_norm1": "ffn_norm1",
    "ffn_norm2": "ffn_norm2",
}

FAMILY = Family(
    "Lumina 2",
    marks=("layers.0.adaLN_modulation.1.weight", "layers.0.attention_norm1.weight"),
    foreign=(
        "time_caption_embed.timestep_embedder.linear_1.weight",
        "layers.0.attn.to_q.weight",
        "layers.0.norm2.weight",
    ),
    weights=(
        fused(
            "layers.#.attention.qkv", "", ("layers.#.attn.to_q", "layers.#.attn.to_k", "layers.#.attn.to_v"), (3, 1, 1)
        ),
        fused(
            "noise_refiner.#.attention.qkv",
            "",
            ("noise_refiner.#.attn.to_q", "noise_refiner.#.attn.to_k", "noise_refiner.#.attn.to_v"),
            (3, 1, 1),
        ),
        fused(
            "context_refiner.#.attention.qkv",
            "",
            ("context_refiner.#.attn.to_q", "context_refiner.#.attn.to_k", "context_refiner.#.attn.to_v"),
            (3, 1, 1),
        ),
        *pairs(
            "layers.#",
            "layers.#",
            BLOCK | {"attention_norm1": "norm1.norm", "adaLN_modulation.1": "norm1.linear"},
        ),
        *pairs(
            "noise_refiner.#",
            "noise_refiner.#",
            BLOCK | {"attention_norm1": "norm1.norm", "adaLN_modulation.1": "norm1.linear"},
        ),
        *pairs(
            "context_refiner.#",
            "context_refiner.#",
            BLOCK | {"attention_norm1": "norm1"},
        ),
        *pairs(
            "",
            "",
            {
                "x_embedder": "x_embedder",
                "final_layer.linear": "norm_out.linear_2",
                "final_layer.adaLN_modulation.1": "norm_out.linear_1",
                "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
                "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
                "cap_embedder.0": "time_caption_embed.caption_embedder.0",
                "cap_embedder.1": "time_caption_embed.caption_embedder.1",
            },
        ),
        *own(
            "clip_text_pooled_proj.{0,1}",
            "norm_final",
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
    variants=(HostModel("Lumina2", {"clip_text_dim": 1024}),),
)
