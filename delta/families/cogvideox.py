"""CogVideoX."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "CogVideoX",
    marks=("blocks.0.q.weight", "blocks.0.ff_proj.weight"),
    foreign=(
        "patch_embed.text_proj.weight",
        "time_embedding.linear_1.weight",
        "transformer_blocks.0.attn1.to_q.weight",
        "norm_final.weight",
    ),
    weights=(
        *own(
            "blocks.#.{attn_out,ff_out,ff_proj,k,norm_k,norm_q,q,v}",
            "blocks.#.{norm1,norm2}.{linear,norm}",
            "{norm_final,ofs_embedding_linear_1,ofs_embedding_linear_2,proj_out,time_embedding_linear_1,time_embedding_linear_2}",
            "norm_out.{linear,norm}",
            "patch_embed.{proj,text_proj}",
        ),
    ),
    host=HostModel(
        "CogVideoX_T2V",
        {
            "image_model": "cogvideox",
            "num_attention_heads": 48,
            "attention_head_dim": 64,
            "time_embed_dim": 512,
            "num_layers": 2,
            "in_channels": 16,
            "patch_size": 2,
            "text_embed_dim": 4096,
            "use_learned_positional_embeddings": False,
            "use_rotary_positional_embeddings": True,
        },
    ),
)
