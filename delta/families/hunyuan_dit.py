"""HunyuanDiT."""

from __future__ import annotations

from .record import Family, HostModel, Weight, fused, own, pairs

FAMILY = Family(
    "HunyuanDiT",
    marks=("mlp_t5.0.weight", "pooler.q_proj.weight"),
    foreign=(
        "time_extra_emb.timestep_embedder.linear_1.weight",
        "text_embedder.linear_1.weight",
        "blocks.0.attn1.to_q.weight",
    ),
    weights=(
        fused("blocks.#.attn1.Wqkv", "", ("blocks.#.attn1.to_q", "blocks.#.attn1.to_k", "blocks.#.attn1.to_v")),
        fused("blocks.#.attn2.kv_proj", "", ("blocks.#.attn2.to_k", "blocks.#.attn2.to_v")),
        Weight("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
        *pairs(
            "blocks.#",
            "blocks.#",
            {
                "attn1.out_proj": "attn1.to_out.0",
                "attn1.q_norm": "attn1.norm_q",
                "attn1.k_norm": "attn1.norm_k",
                "attn2.q_proj": "attn2.to_q",
                "attn2.out_proj": "attn2.to_out.0",
                "attn2.q_norm": "attn2.norm_q",
                "attn2.k_norm": "attn2.norm_k",
                "default_modulation.1": "norm1.linear",
                "norm1": "norm1.norm",
                "norm2": "norm3",
                "norm3": "norm2",
                "mlp.fc1": "ff.net.0.proj",
                "mlp.fc2": "ff.net.2",
                "skip_norm": "skip_norm",
                "skip_linear": "skip_linear",
            },
        ),
        *pairs(
            "",
            "",
            {
                "mlp_t5.0": "text_embedder.linear_1",
                "mlp_t5.2": "text_embedder.linear_2",
                "pooler.k_proj": "time_extra_emb.pooler.k_proj",
                "pooler.q_proj": "time_extra_emb.pooler.q_proj",
                "pooler.v_proj": "time_extra_emb.pooler.v_proj",
                "pooler.c_proj": "time_extra_emb.pooler.c_proj",
                "x_embedder.proj": "pos_embed.proj",
                "t_embedder.mlp.0": "time_extra_emb.timestep_embedder.linear_1",
                "t_embedder.mlp.2": "time_extra_emb.timestep_embedder.linear_2",
                "extra_embedder.0": "time_extra_emb.extra_embedder.linear_1",
                "extra_embedder.2": "time_extra_emb.extra_embedder.linear_2",
                "final_layer.linear": "proj_out",
            },
        ),
        *own(
            "pooler.positional_embedding",
            "{style_embedder,text_embedding_padding}",
        ),
    ),
    bare=(
        "pooler.positional_embedding",
        "text_embedding_padding",
    ),
    host=HostModel("HunyuanDiT", {"image_model": "hydit", "depth": 4, "hidden_size": 1408, "mlp_ratio": 4.3637}),
    variants=(HostModel("HunyuanDiT1", {"image_model": "hydit1", "size_cond": True, "use_style_cond": True}),),
)
