"""Krea 2."""

from __future__ import annotations

from .record import Family, HostModel, own, pairs

# A block of the picture or of the text fusion.
BLOCK = {
    "attn.wq": "attn.to_q",
    "attn.wk": "attn.to_k",
    "attn.wv": "attn.to_v",
    "attn.gate": "attn.to_gate",
    "attn.wo": "attn.to_out.0",
    "mlp.gate": "ff.gate",
    "mlp.up": "ff.up",
    "mlp.down": "ff.down",
}

FAMILY = Family(
    "Krea 2",
    marks=("tmlp.2.weight", "txtfusion.projector.weight"),
    foreign=(
        "text_fusion.projector.weight",
        "time_mod_proj.weight",
    ),
    weights=(
        *pairs(
            "blocks.#",
            "transformer_blocks.#",
            BLOCK,
        ),
        *pairs(
            "txtfusion.layerwise_blocks.#",
            "text_fusion.layerwise_blocks.#",
            BLOCK,
        ),
        *pairs(
            "txtfusion.refiner_blocks.#",
            "text_fusion.refiner_blocks.#",
            BLOCK,
        ),
        *pairs(
            "",
            "",
            {
                "first": "img_in",
                "tmlp.0": "time_embed.linear_1",
                "tmlp.2": "time_embed.linear_2",
                "tproj.1": "time_mod_proj",
                "txtmlp.1": "txt_in.linear_1",
                "txtmlp.3": "txt_in.linear_2",
                "txtfusion.projector": "text_fusion.projector",
                "last.linear": "final_layer.linear",
            },
        ),
        *own(
            "blocks.#.attn.qknorm.{knorm,qnorm}.scale",
            "blocks.#.mod.lin",
            "blocks.#.{postnorm,prenorm}.scale",
            "last.modulation.lin",
            "last.norm.scale",
            "txtfusion.layerwise_blocks.#.attn.qknorm.{knorm,qnorm}.scale",
            "txtfusion.{layerwise_blocks,refiner_blocks}.#.{postnorm,prenorm}.scale",
            "txtfusion.refiner_blocks.#.attn.qknorm.{knorm,qnorm}.scale",
            "txtmlp.0.scale",
        ),
    ),
    bare=(
        "blocks.#.attn.qknorm.{knorm,qnorm}.scale",
        "blocks.#.mod.lin",
        "blocks.#.{postnorm,prenorm}.scale",
        "last.modulation.lin",
        "last.norm.scale",
        "txtfusion.layerwise_blocks.#.attn.qknorm.{knorm,qnorm}.scale",
        "txtfusion.{layerwise_blocks,refiner_blocks}.#.{postnorm,prenorm}.scale",
        "txtfusion.refiner_blocks.#.attn.qknorm.{knorm,qnorm}.scale",
        "txtmlp.0.scale",
    ),
    diffusers_prefix="transformer.",
    behind_own=True,
    host=HostModel(
        "Krea2",
        {
            "image_model": "krea2",
            "features": 6144,
            "channels": 16,
            "patch": 2,
            "layers": 2,
            "heads": 48,
            "kvheads": 12,
            "txtlayers": 12,
            "txtdim": 2560,
        },
    ),
)
