"""LTX-Video."""

from __future__ import annotations

from .record import Family, HostModel, pairs

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
        *pairs(
            "",
            "",
            {
                "scale_shift_table": "scale_shift_table",
                "patchify_proj": "proj_in",
                "adaln_single.emb.timestep_embedder.linear_1": "time_embed.emb.timestep_embedder.linear_1",
                "adaln_single.emb.timestep_embedder.linear_2": "time_embed.emb.timestep_embedder.linear_2",
                "adaln_single.linear": "time_embed.linear",
                "caption_projection.linear_1": "caption_projection.linear_1",
                "caption_projection.linear_2": "caption_projection.linear_2",
                "proj_out": "proj_out",
            },
        ),
        *pairs(
            "transformer_blocks.#",
            "transformer_blocks.#",
            {
                "scale_shift_table": "scale_shift_table",
                "attn1.q_norm": "attn1.norm_q",
                "attn1.k_norm": "attn1.norm_k",
                "attn1.to_q": "attn1.to_q",
                "attn1.to_k": "attn1.to_k",
                "attn1.to_v": "attn1.to_v",
                "attn1.to_out.0": "attn1.to_out.0",
                "ff.net.0.proj": "ff.net.0.proj",
                "ff.net.2": "ff.net.2",
                "attn2.q_norm": "attn2.norm_q",
                "attn2.k_norm": "attn2.norm_k",
                "attn2.to_q": "attn2.to_q",
                "attn2.to_k": "attn2.to_k",
                "attn2.to_v": "attn2.to_v",
                "attn2.to_out.0": "attn2.to_out.0",
            },
        ),
    ),
    bare=(
        "scale_shift_table",
        "transformer_blocks.#.scale_shift_table",
    ),
    host=HostModel(
        "LTXV", {"image_model": "ltxv", "num_layers": 2, "attention_head_dim": 64, "cross_attention_dim": 2048}
    ),
)
