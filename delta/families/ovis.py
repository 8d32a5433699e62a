"""Ovis-Image: Flux with a gated MLP and a norm of the text."""

from __future__ import annotations

from .flux import (
    CONFIG,
    DOUBLE,
    DOUBLE_BLOCK,
    DOUBLE_QKV,
    LAST_NORM,
    OUTSIDE,
    QK_NORMS,
    SINGLE,
    SINGLE_BLOCK,
    SINGLE_QK_NORMS,
)
from .record import Family, HostModel, own, pairs

ATTENTION_AND_MODULATION = {ours: theirs for ours, theirs in DOUBLE.items() if "_mlp." not in ours}

FAMILY = Family(
    "Ovis-Image",
    marks=("double_blocks.0.img_mod.lin.weight", "single_blocks.0.modulation.lin.weight", "txt_norm.weight"),
    lacks=("txt_in.individual_token_refiner.blocks.0.norm1.weight",),
    foreign=(
        "context_embedder_norm.weight",
        "timestep_embedder.linear_1.weight",
    ),
    weights=(
        *DOUBLE_QKV,
        *pairs(*DOUBLE_BLOCK, ATTENTION_AND_MODULATION | QK_NORMS),
        *pairs(*SINGLE_BLOCK, SINGLE | SINGLE_QK_NORMS),
        *pairs("", "", OUTSIDE),
        LAST_NORM,
        # ComfyUI reads half of what diffusers calls proj_mlp here: linear1 has no names of diffusers.
        *own("single_blocks.#.linear1", "txt_norm", "double_blocks.#.{img,txt}_mlp.{gate_proj,up_proj,down_proj}"),
    ),
    diffusers_prefix="transformer.",
    proportions={"single_blocks.#.linear1": 11},
    host=HostModel(
        "FluxSchnell",
        CONFIG
        | {"vec_in_dim": None, "guidance_embed": False, "txt_ids_dims": [1, 2], "yak_mlp": True, "txt_norm": True},
    ),
)
