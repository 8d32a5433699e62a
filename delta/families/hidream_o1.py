"""HiDream-O1."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "HiDream-O1",
    marks=("x_embedder.proj1.weight", "t_embedder1.mlp.0.weight"),
    weights=(
        *own(
            "final_layer2.linear",
            "language_model.{embed_tokens,norm}",
            "language_model.layers.#.{input_layernorm,post_attention_layernorm}",
            "language_model.layers.#.mlp.{down_proj,gate_proj,up_proj}",
            "language_model.layers.#.self_attn.{k_norm,k_proj,o_proj,q_norm,q_proj,v_proj}",
            "t_embedder1.mlp.{0,2}",
            "visual.blocks.#.attn.{proj,qkv}",
            "visual.blocks.#.mlp.{linear_fc1,linear_fc2}",
            "visual.blocks.#.{norm1,norm2}",
            "visual.merger.{linear_fc1,linear_fc2,norm}",
            "visual.patch_embed.proj",
            "visual.pos_embed",
            "x_embedder.{proj1,proj2}",
        ),
    ),
    host=HostModel(
        "HiDreamO1",
        {
            "image_model": "hidream_o1",
            "text_config_overrides": {"num_hidden_layers": 2},
            "vision_config_overrides": {"num_hidden_layers": 2, "depth": 2},
        },
    ),
)
