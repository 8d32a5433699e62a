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
    # No rows of diffusers: what it calls norm2 and norm3 is ComfyUI's norm3 and norm2, and names do not tell which is meant.
    weights=own(
        "blocks.#.attn1.{Wqkv,out_proj,q_norm,k_norm}",
        "blocks.#.attn2.{q_proj,kv_proj,out_proj,q_norm,k_norm}",
        "blocks.#.default_modulation.1",
        "blocks.#.{norm1,norm2,norm3,skip_norm,skip_linear}",
        "blocks.#.mlp.{fc1,fc2}",
        "mlp_t5.{0,2}",
        "pooler.{k_proj,q_proj,v_proj,c_proj,positional_embedding}",
        "x_embedder.proj",
        "t_embedder.mlp.{0,2}",
        "extra_embedder.{0,2}",
        "final_layer.{linear,adaLN_modulation.1}",
        "{style_embedder,text_embedding_padding}",
    ),
    bare=(
        "pooler.positional_embedding",
        "text_embedding_padding",
    ),
    host=HostModel("HunyuanDiT", {"image_model": "hydit", "depth": 4, "hidden_size": 1408, "mlp_ratio": 4.3637}),
    variants=(HostModel("HunyuanDiT1", {"image_model": "hydit1", "size_cond": True, "use_style_cond": True}),),
)
