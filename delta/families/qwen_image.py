"""Qwen-Image, Edit, Layered, and models of its layout such as MageFlow."""

from __future__ import annotations

from .record import Family, HostModel, same

FAMILY = Family(
    "Qwen-Image",
    marks=("transformer_blocks.0.img_mod.1.weight", "transformer_blocks.0.attn.add_q_proj.weight", "txt_norm.weight"),
    lacks=("transformer_blocks.0.img_norm1.weight",),
    weights=(
        *same(
            "{img_in,proj_out,txt_in,txt_norm}",
            "norm_out.linear",
            "time_text_embed.addition_t_embedding",
            "time_text_embed.timestep_embedder.{linear_1,linear_2}",
            "transformer_blocks.#.attn.{add_k_proj,add_q_proj,add_v_proj,norm_added_k,norm_added_q,norm_k,norm_q,to_add_out,to_k,to_q,to_v}",
            "transformer_blocks.#.attn.to_out.0",
            "transformer_blocks.#.{img_mlp,txt_mlp}.net.0.proj",
            "transformer_blocks.#.{img_mlp,txt_mlp}.net.2",
            "transformer_blocks.#.{img_mod,txt_mod}.1",
        ),
    ),
    diffusers_prefix="transformer.",
    host=HostModel("QwenImage", {"image_model": "qwen_image", "in_channels": 64, "num_layers": 2}),
    variants=(HostModel("QwenImage", {"use_additional_t_cond": True, "default_ref_method": "negative_index"}),),
)
