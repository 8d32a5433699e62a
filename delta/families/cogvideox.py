"""CogVideoX."""

from __future__ import annotations

from .record import Family, HostModel, own, pairs

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
        *pairs(
            "blocks.#",
            "transformer_blocks.#",
            {
                "q": "attn1.to_q",
                "k": "attn1.to_k",
                "v": "attn1.to_v",
                "attn_out": "attn1.to_out.0",
                "norm_q": "attn1.norm_q",
                "norm_k": "attn1.norm_k",
                "norm1.linear": "norm1.linear",
                "norm1.norm": "norm1.norm",
                "norm2.linear": "norm2.linear",
                "norm2.norm": "norm2.norm",
                "ff_proj": "ff.net.0.proj",
                "ff_out": "ff.net.2",
            },
        ),
        *pairs(
            "",
            "",
            {
                "patch_embed.proj": "patch_embed.proj",
                "patch_embed.text_proj": "patch_embed.text_proj",
                "time_embedding_linear_1": "time_embedding.linear_1",
                "time_embedding_linear_2": "time_embedding.linear_2",
                "norm_final": "norm_final",
                "norm_out.linear": "norm_out.linear",
                "norm_out.norm": "norm_out.norm",
                "proj_out": "proj_out",
            },
        ),
        *own(
            "{ofs_embedding_linear_1,ofs_embedding_linear_2}",
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
    variants=(HostModel("CogVideoX_I2V", {"in_channels": 32, "patch_size_t": 2, "ofs_embed_dim": 512}),),
)
