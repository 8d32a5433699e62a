"""What other programs call the layers of HunyuanVideo and its kin."""

from __future__ import annotations

from .record import Weight, alternatives


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
