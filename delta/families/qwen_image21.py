"""Qwen-Image 2.1, whose blocks share one modulation. ComfyUI fuses two layers of the feed-forward part when it loads a file;
where it leaves them apart, the family is not known, and only the connected model tells the names."""

from __future__ import annotations

from .record import Family, HostModel, fused, same

FAMILY = Family(
    "Qwen-Image 2.1",
    marks=("modulation.1.weight", "txt_in.in_layer.weight", "transformer_blocks.0.img_mlp.gate_up.weight"),
    weights=(
        *same(
            "{img_in,proj_out}",
            "modulation.1",
            "norm_out.linear",
            "time_text_embed.timestep_embedder.{linear_1,linear_2}",
            "transformer_blocks.#.attn.{norm_k,norm_q,to_k,to_q,to_v}",
            "transformer_blocks.#.attn.to_out.0",
            "transformer_blocks.#.img_mlp.out",
            "txt_in.{in_layer,out_layer,text_norm}",
        ),
        fused("transformer_blocks.#.img_mlp.gate_up", "transformer_blocks.#.img_mlp", ("gate_layer", "proj")),
    ),
    diffusers_prefix="transformer.",
    host=HostModel("QwenImage21", {"image_model": "qwen_image21", "num_layers": 2}),
)
