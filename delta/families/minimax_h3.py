"""MiniMax-H3."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "MiniMax-H3",
    marks=("video_patch_proj.weight", "condition_proj.weight"),
    foreign=(
        "token_refiner.refiner_blocks.0.attn.to_q.weight",
        "transformer_blocks.0.adaln_proj.linear.weight",
    ),
    weights=(
        *own(
            "{audio_patch_proj,condition_proj,video_patch_proj}",
            "blocks.#.adaln_proj.linear",
            "blocks.#.attn.{k_norm,out_proj,q_norm,qkv_proj}",
            "blocks.#.mlp.{fc1,fc2}",
            "blocks.#.{norm1,norm2}",
            "final_layer.adaln_proj.linear",
            "final_layer.{audio_out,norm,video_out}",
            "time_embedder.{proj_in,proj_out}",
            "token_refiner.blocks.#.attn.{k_norm,out_proj,q_norm,qkv_proj}",
            "token_refiner.blocks.#.mlp.{fc1,fc2}",
            "token_refiner.blocks.#.{norm1,norm2}",
            "token_refiner.final_norm",
        ),
    ),
    host=HostModel("MiniMaxH3", {"image_model": "minimax_h3", "num_layers": 2, "token_refiner_num_layers": 2}),
)
