"""Anima: Cosmos Predict 2 with a text adapter."""

from __future__ import annotations

from .cosmos_predict2 import FAMILY as COSMOS
from .record import Family, HostModel, pairs

FAMILY = Family(
    "Anima",
    marks=("llm_adapter.out_proj.weight", "x_embedder.proj.1.weight"),
    weights=(
        *COSMOS.weights,
        *pairs(
            "",
            "",
            {
                "llm_adapter.embed": "text_conditioner:embed",
                "llm_adapter.blocks.#.norm_self_attn": "text_conditioner:blocks.#.norm_self_attn",
                "llm_adapter.blocks.#.self_attn.q_proj": "text_conditioner:blocks.#.self_attn.q_proj",
                "llm_adapter.blocks.#.self_attn.q_norm": "text_conditioner:blocks.#.self_attn.q_norm",
                "llm_adapter.blocks.#.self_attn.k_proj": "text_conditioner:blocks.#.self_attn.k_proj",
                "llm_adapter.blocks.#.self_attn.k_norm": "text_conditioner:blocks.#.self_attn.k_norm",
                "llm_adapter.blocks.#.self_attn.v_proj": "text_conditioner:blocks.#.self_attn.v_proj",
                "llm_adapter.blocks.#.self_attn.o_proj": "text_conditioner:blocks.#.self_attn.o_proj",
                "llm_adapter.blocks.#.norm_cross_attn": "text_conditioner:blocks.#.norm_cross_attn",
                "llm_adapter.blocks.#.cross_attn.q_proj": "text_conditioner:blocks.#.cross_attn.q_proj",
                "llm_adapter.blocks.#.cross_attn.q_norm": "text_conditioner:blocks.#.cross_attn.q_norm",
                "llm_adapter.blocks.#.cross_attn.k_proj": "text_conditioner:blocks.#.cross_attn.k_proj",
                "llm_adapter.blocks.#.cross_attn.k_norm": "text_conditioner:blocks.#.cross_attn.k_norm",
                "llm_adapter.blocks.#.cross_attn.v_proj": "text_conditioner:blocks.#.cross_attn.v_proj",
                "llm_adapter.blocks.#.cross_attn.o_proj": "text_conditioner:blocks.#.cross_attn.o_proj",
                "llm_adapter.blocks.#.norm_mlp": "text_conditioner:blocks.#.norm_mlp",
                "llm_adapter.blocks.#.mlp.0": "text_conditioner:blocks.#.mlp.0",
                "llm_adapter.blocks.#.mlp.2": "text_conditioner:blocks.#.mlp.2",
                "llm_adapter.out_proj": "text_conditioner:out_proj",
                "llm_adapter.norm": "text_conditioner:norm",
            },
        ),
    ),
    host=HostModel("Anima", {**COSMOS.host.config, "image_model": "anima"}),
)
