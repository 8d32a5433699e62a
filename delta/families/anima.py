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
    host=HostModel(
        "Anima",
        {
            "image_model": "anima",
            "max_img_h": 240,
            "max_img_w": 240,
            "max_frames": 128,
            "in_channels": 16,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": 2048,
            "concat_padding_mask": True,
            "crossattn_emb_channels": 1024,
            "pos_emb_cls": "rope3d",
            "pos_emb_learnable": True,
            "pos_emb_interpolation": "crop",
            "min_fps": 1,
            "max_fps": 30,
            "use_adaln_lora": True,
            "adaln_lora_dim": 256,
            "num_blocks": 2,
            "num_heads": 16,
            "extra_per_block_abs_pos_emb": False,
            "rope_h_extrapolation_ratio": 4.0,
            "rope_w_extrapolation_ratio": 4.0,
            "rope_t_extrapolation_ratio": 1.0,
            "extra_h_extrapolation_ratio": 1.0,
            "extra_w_extrapolation_ratio": 1.0,
            "extra_t_extrapolation_ratio": 1.0,
            "rope_enable_fps_modulation": False,
        },
    ),
)
