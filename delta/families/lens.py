"""Lens."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "Lens",
    marks=("transformer_blocks.0.txt_norm1.weight", "transformer_blocks.0.img_norm1.weight"),
    weights=(
        *own(
            "{img_in,proj_out,txt_in}",
            "norm_out.linear",
            "time_text_embed.timestep_embedder.{linear_1,linear_2}",
            "transformer_blocks.#.attn.{img_qkv,norm_added_k,norm_added_q,norm_k,norm_q,to_add_out,txt_qkv}",
            "transformer_blocks.#.attn.to_out.0",
            "transformer_blocks.#.{img_mlp,txt_mlp}.{w1,w2,w3}",
            "transformer_blocks.#.{img_mod,txt_mod}.1",
            "transformer_blocks.#.{img_norm1,img_norm2,txt_norm1,txt_norm2}",
            "txt_norm",
            "txt_norm.{0,1,2,3}",
        ),
    ),
    host=HostModel(
        "Lens",
        {
            "image_model": "lens",
            "in_channels": 128,
            "out_channels": 32,
            "num_layers": 2,
            "num_attention_heads": 24,
            "enc_hidden_dim": 2880,
            "multi_layer_encoder_feature": True,
            "selected_layer_index": [0, 1, 2, 3],
        },
    ),
    variants=(HostModel("Lens", {"multi_layer_encoder_feature": False, "selected_layer_index": [0]}),),
)
