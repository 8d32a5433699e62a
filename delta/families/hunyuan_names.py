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
# musubi-tuner's HunyuanVideo 1.5 has query, key and value apart.
MUSUBI = tuple(
    Weight(
        f"double_blocks.#.{stream}_attn.qkv",
        tuple(f"double_blocks.#.{stream}_attn_{part}" for part in "qkv"),
        (1, 1, 1),
    )
    for stream in ("img", "txt")
)
