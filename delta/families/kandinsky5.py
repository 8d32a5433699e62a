"""Kandinsky 5, video and image."""

from __future__ import annotations

from .record import Family, HostModel, same

FAMILY = Family(
    "Kandinsky 5",
    marks=("out_layer.out_layer.weight", "time_embeddings.in_layer.weight"),
    weights=(
        *same(
            "out_layer.modulation.out_layer",
            "out_layer.out_layer",
            "{pooled_text_embeddings,text_embeddings}.{in_layer,norm}",
            "{text_transformer_blocks,visual_transformer_blocks}.#.feed_forward.{in_layer,out_layer}",
            "text_transformer_blocks.#.self_attention.{key_norm,out_layer,query_norm,to_key,to_query,to_value}",
            "text_transformer_blocks.#.text_modulation.out_layer",
            "time_embeddings.{in_layer,out_layer}",
            "visual_embeddings.in_layer",
            "visual_transformer_blocks.#.{cross_attention,self_attention}.{key_norm,out_layer,query_norm,to_key,to_query,to_value}",
            "visual_transformer_blocks.#.visual_modulation.out_layer",
        ),
    ),
    diffusers_prefix="transformer.",
    host=HostModel(
        "Kandinsky5",
        {
            "image_model": "kandinsky5",
            "model_dim": 1792,
            "axes_dims": [16, 24, 24],
            "time_dim": 512,
            "ff_dim": 7168,
            "visual_embed_dim": 132,
            "num_text_blocks": 2,
            "num_visual_blocks": 2,
        },
    ),
)
