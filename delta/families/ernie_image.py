"""ERNIE-Image."""

from __future__ import annotations

from .record import Family, HostModel, same

FAMILY = Family(
    "ERNIE-Image",
    marks=("text_proj.weight", "layers.0.mlp.up_proj.weight"),
    weights=(
        *same(
            "adaLN_modulation.1",
            "{final_linear,text_proj}",
            "final_norm.linear",
            "layers.#.{adaLN_mlp_ln,adaLN_sa_ln}",
            "layers.#.mlp.{gate_proj,linear_fc2,up_proj}",
            "layers.#.self_attention.{norm_k,norm_q,to_k,to_q,to_v}",
            "layers.#.self_attention.to_out.0",
            "time_embedding.{linear_1,linear_2}",
            "x_embedder.proj",
        ),
    ),
    diffusers_prefix="transformer.",
    host=HostModel("ErnieImage", {"image_model": "ernie", "num_layers": 2}),
)
