"""LTX-Video."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "LTX-Video",
    marks=("adaln_single.linear.weight", "patchify_proj.weight", "transformer_blocks.0.attn2.to_q.weight"),
    lacks=("audio_proj_out.weight", "lyric_proj.weight"),
    foreign=(
        "proj_in.weight",
        "time_embed.emb.timestep_embedder.linear_1.weight",
        "caption_projection.linear_1.weight",
        "transformer_blocks.0.attn1.norm_q.weight",
    ),
    weights=(
        *own(
            "adaln_single.emb.timestep_embedder.{linear_1,linear_2}",
            "adaln_single.linear",
            "caption_projection.{linear_1,linear_2}",
            "{patchify_proj,proj_out,scale_shift_table}",
            "transformer_blocks.#.{attn1,attn2}.{k_norm,q_norm,to_k,to_q,to_v}",
            "transformer_blocks.#.{attn1,attn2}.to_out.0",
            "transformer_blocks.#.ff.net.0.proj",
            "transformer_blocks.#.ff.net.2",
            "transformer_blocks.#.scale_shift_table",
        ),
    ),
    host=HostModel(
        "LTXV", {"image_model": "ltxv", "num_layers": 2, "attention_head_dim": 64, "cross_attention_dim": 2048}
    ),
)
