"""Ideogram 4."""

from __future__ import annotations

from .record import Family, HostModel, fused, own

# As trainers name what ComfyUI has fused.
SPLIT = (fused("layers.#.attention.qkv", "layers.#.attention", ("to_q", "to_k", "to_v")),)

FAMILY = Family(
    "Ideogram 4",
    marks=("adaln_proj.weight", "llm_cond_proj.weight"),
    foreign=(
        "layers.0.attention.to_q.weight",
        "adaln_proj.weight",
        "llm_cond_proj.weight",
    ),
    weights=(
        *own(
            "{adaln_proj,embed_image_indicator,input_proj,llm_cond_norm,llm_cond_proj}",
            "final_layer.{adaln_modulation,linear}",
            "layers.#.{adaln_modulation,attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}",
            "layers.#.attention.{norm_k,norm_q,o,qkv}",
            "layers.#.feed_forward.{w1,w2,w3}",
            "t_embedding.{mlp_in,mlp_out}",
        ),
    ),
    aliases=SPLIT,
    host=HostModel("Ideogram4", {"image_model": "ideogram4", "in_channels": 128, "num_layers": 2}),
)
