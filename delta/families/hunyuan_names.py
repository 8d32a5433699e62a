"""The layers that HunyuanVideo and its kin have in common, and what other programs call them."""

from __future__ import annotations

from .record import Weight, alternatives, fused, pairs


def _renamed(comfy: str, theirs: str) -> list[Weight]:
    return [Weight(ours, (other,)) for ours, other in zip(alternatives(comfy), alternatives(theirs))]


# As Tencent's code, and diffusion-pipe with it, names them.
DIFFUSION_PIPE = (
    *_renamed("double_blocks.#.{img,txt}_mod.lin", "double_blocks.#.{img,txt}_mod.linear"),
    *_renamed("double_blocks.#.{img,txt}_attn.qkv", "double_blocks.#.{img,txt}_attn_qkv"),
    *_renamed("double_blocks.#.{img,txt}_attn.proj", "double_blocks.#.{img,txt}_attn_proj"),
    *_renamed("double_blocks.#.{img,txt}_mlp.{0,2}", "double_blocks.#.{img,txt}_mlp.{fc1,fc2}"),
    *_renamed("single_blocks.#.modulation.lin", "single_blocks.#.modulation.linear"),
    *_renamed(
        "txt_in.individual_token_refiner.blocks.#.mlp.{0,2}", "txt_in.individual_token_refiner.blocks.#.mlp.{fc1,fc2}"
    ),
    *_renamed(
        "txt_in.individual_token_refiner.blocks.#.self_attn.{qkv,proj}",
        "txt_in.individual_token_refiner.blocks.#.self_attn_{qkv,proj}",
    ),
)
# The rest of the names in Tencent's files, which ComfyUI renames as it loads them.
TENCENT = (
    *_renamed(
        "double_blocks.#.{img,txt}_attn.norm.{query_norm,key_norm}", "double_blocks.#.{img,txt}_attn_{q_norm,k_norm}"
    ),
    *_renamed("single_blocks.#.norm.{query_norm,key_norm}", "single_blocks.#.{q_norm,k_norm}"),
    *_renamed("txt_in.t_embedder.{in_layer,out_layer}", "txt_in.t_embedder.mlp.{0,2}"),
    *_renamed("txt_in.c_embedder.{in_layer,out_layer}", "txt_in.c_embedder.{linear_1,linear_2}"),
    *_renamed("{time_in,guidance_in}.{in_layer,out_layer}", "{time_in,guidance_in}.mlp.{0,2}"),
)
# musubi-tuner's HunyuanVideo 1.5 has query, key and value apart.
MUSUBI = tuple(
    Weight(
        f"double_blocks.#.{stream}_attn.qkv",
        tuple(f"double_blocks.#.{stream}_attn_{part}" for part in "qkv"),
        (1, 1, 1),
    )
    for stream in ("img", "txt")
)

# By ComfyUI's path and by the modules of diffusers.
COMMON = (
    Weight("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    fused(
        "txt_in.individual_token_refiner.blocks.#.self_attn.qkv",
        "context_embedder.token_refiner.refiner_blocks.#.attn",
        ("to_q", "to_k", "to_v"),
    ),
    fused("double_blocks.#.img_attn.qkv", "transformer_blocks.#.attn", ("to_q", "to_k", "to_v")),
    fused("double_blocks.#.txt_attn.qkv", "transformer_blocks.#.attn", ("add_q_proj", "add_k_proj", "add_v_proj")),
    *pairs(
        "",
        "",
        {
            "img_in.proj": "x_embedder.proj",
            "final_layer.linear": "proj_out",
            "txt_in.input_embedder": "context_embedder.proj_in",
            "txt_in.t_embedder.in_layer": "context_embedder.time_text_embed.timestep_embedder.linear_1",
            "txt_in.t_embedder.out_layer": "context_embedder.time_text_embed.timestep_embedder.linear_2",
            "txt_in.c_embedder.in_layer": "context_embedder.time_text_embed.text_embedder.linear_1",
            "txt_in.c_embedder.out_layer": "context_embedder.time_text_embed.text_embedder.linear_2",
        },
    ),
    *pairs(
        "txt_in.individual_token_refiner.blocks.#",
        "context_embedder.token_refiner.refiner_blocks.#",
        {
            "self_attn.proj": "attn.to_out.0",
            "norm1": "norm1",
            "norm2": "norm2",
            "mlp.0": "ff.net.0.proj",
            "mlp.2": "ff.net.2",
            "adaLN_modulation.1": "norm_out.linear",
        },
    ),
    *pairs(
        "double_blocks.#",
        "transformer_blocks.#",
        {
            "img_attn.proj": "attn.to_out.0",
            "txt_attn.proj": "attn.to_add_out",
            "img_attn.norm.query_norm": "attn.norm_q",
            "img_attn.norm.key_norm": "attn.norm_k",
            "txt_attn.norm.query_norm": "attn.norm_added_q",
            "txt_attn.norm.key_norm": "attn.norm_added_k",
            "img_mlp.0": "ff.net.0.proj",
            "img_mlp.2": "ff.net.2",
            "txt_mlp.0": "ff_context.net.0.proj",
            "txt_mlp.2": "ff_context.net.2",
            "img_mod.lin": "norm1.linear",
            "txt_mod.lin": "norm1_context.linear",
        },
    ),
)
