"""HunyuanDiT."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "HunyuanDiT",
    marks=("mlp_t5.0.weight", "pooler.q_proj.weight"),
    foreign=(
        "time_extra_emb.timestep_embedder.linear_1.weight",
        "text_embedder.linear_1.weight",
        "blocks.0.attn1.to_q.weight",
    ),
    weights=(
        *own(
            "blocks.#.attn1.{Wqkv,k_norm,out_proj,q_norm}",
            "blocks.#.attn2.{k_norm,kv_proj,out_proj,q_norm,q_proj}",
            "blocks.#.default_modulation.1",
            "blocks.#.mlp.{fc1,fc2}",
            "blocks.#.{norm1,norm2,norm3,skip_linear,skip_norm}",
            "{extra_embedder,mlp_t5}.{0,2}",
            "final_layer.adaLN_modulation.1",
            "final_layer.linear",
            "pooler.{c_proj,k_proj,positional_embedding,q_proj,v_proj}",
            "{style_embedder,text_embedding_padding}",
            "t_embedder.mlp.{0,2}",
            "x_embedder.proj",
        ),
    ),
    host=HostModel("HunyuanDiT", {"image_model": "hydit", "depth": 4, "hidden_size": 1408, "mlp_ratio": 4.3637}),
)
