"""Which parameters of a diffusion model are norm parameters, per architecture.

They come in three tiers. `norms`: gain and bias of a normalisation layer, what conditional instance normalisation swaps
(arXiv 1610.07629). `modulation`: the constant part of what a time embedding adds before or after a norm, which takes
that place in models whose norms have no parameters: the bias of a modulation layer, or a table per block (AdaLN, arXiv
2212.09748). `qk_norms`: the gain of the norms of query and key, which sets how sharp attention is.

Names are ComfyUI's, behind `diffusion_model.`. Written from the module trees; the host tests compare every row with them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import NamedTuple

NORMS, MODULATION, QK_NORMS = TIERS = ("norms", "modulation", "qk_norms")
PREFIX = "diffusion_model."


class Family(NamedTuple):
    """Models whose norm parameters have the same names.

    marker: a name that only they have, without the prefix; patterns: by tier, what the names match from their beginning to
    their end. The last tier that matches counts.
    """

    name: str
    marker: str
    patterns: dict[str, tuple[str, ...]]


# Layers whose gain is called `scale` by older hosts and `weight` by newer ones.
RENAMED = re.compile(r"\.(?:query|key)_norm$|\.distilled_guidance_layer\.norms\.\d+$")
AFFINE = r"\.(?:weight|bias)"
GAIN = r"\.(?:weight|scale)"
FLUX_QK = (
    rf"double_blocks\.\d+\.(?:img|txt)_attn\.norm\.(?:query|key)_norm{GAIN}",
    rf"single_blocks\.\d+\.norm\.(?:query|key)_norm{GAIN}",
)
FLUX_MODULATION = (
    r"double_blocks\.\d+\.(?:img|txt)_mod\.lin\.bias",
    r"single_blocks\.\d+\.modulation\.lin\.bias",
    r"final_layer\.adaLN_modulation\.1\.bias",
)
# The first family whose marker a model has is its family.
FAMILIES = (
    Family(
        "U-Net of Stable Diffusion",
        "input_blocks.0.0.weight",
        {
            NORMS: (
                rf"(?:.*_blocks?\..*)\.(?:in_layers\.0|out_layers\.0|norm[123]?){AFFINE}",
                rf"out\.0{AFFINE}",
            ),
            MODULATION: (r".*\.emb_layers\.1\.bias",),
        },
    ),
    Family(
        "Stable Diffusion 3",
        "joint_blocks.0.context_block.attn.qkv.weight",
        {
            MODULATION: (
                r"joint_blocks\.\d+\.(?:x|context)_block\.adaLN_modulation\.1\.bias",
                r"final_layer\.adaLN_modulation\.1\.bias",
            ),
            QK_NORMS: (rf"joint_blocks\.\d+\.(?:x|context)_block\.attn2?\.ln_[qk]{AFFINE}",),
        },
    ),
    Family(
        "Chroma",
        "distilled_guidance_layer.out_proj.bias",
        {
            # The embedder makes the modulation of all blocks: its norms and its last bias are of this tier.
            MODULATION: (
                rf"distilled_guidance_layer\.norms\.\d+{GAIN}",
                r"distilled_guidance_layer\.out_proj\.bias",
            ),
            QK_NORMS: FLUX_QK,
        },
    ),
    Family(
        "FLUX.2",
        "double_stream_modulation_img.lin.weight",
        {QK_NORMS: FLUX_QK},
    ),
    Family(
        "HunyuanVideo",
        "txt_in.individual_token_refiner.blocks.0.norm1.weight",
        {
            NORMS: (rf"txt_in\.individual_token_refiner\.blocks\.\d+\.norm[12]{AFFINE}",),
            MODULATION: (
                *FLUX_MODULATION,
                r"txt_in\.individual_token_refiner\.blocks\.\d+\.adaLN_modulation\.1\.bias",
            ),
            QK_NORMS: FLUX_QK,
        },
    ),
    Family("Flux", "double_blocks.0.img_mod.lin.bias", {MODULATION: FLUX_MODULATION, QK_NORMS: FLUX_QK}),
    Family(
        "Wan",
        "blocks.0.modulation",
        {
            NORMS: (rf"blocks\.\d+\.norm3{AFFINE}", rf"img_emb\.proj\.[04]{AFFINE}"),
            MODULATION: (r"blocks\.\d+\.modulation", r"head\.modulation", r"time_projection\.1\.bias"),
            QK_NORMS: (r"blocks\.\d+\.(?:self|cross)_attn\.norm_(?:q|k|k_img)\.weight",),
        },
    ),
    Family(
        "Qwen-Image",
        "transformer_blocks.0.img_mod.1.bias",
        {
            NORMS: (r"txt_norm\.weight",),
            MODULATION: (r"transformer_blocks\.\d+\.(?:img|txt)_mod\.1\.bias", r"norm_out\.linear\.bias"),
            QK_NORMS: (r"transformer_blocks\.\d+\.attn\.norm_(?:added_)?[qk]\.weight",),
        },
    ),
    Family(
        "LTX-Video",
        "transformer_blocks.0.scale_shift_table",
        {
            MODULATION: (r"(?:.*[._])?scale_shift_table\w*",),
            QK_NORMS: (r"transformer_blocks\.\d+\.\w+\.[qk]_norm\.weight",),
        },
    ),
    Family(
        "Lumina 2 or Z-Image",
        "layers.0.attention_norm1.weight",
        {
            NORMS: (
                r"(?:layers|\w+_refiner)\.\d+\.(?:attention|ffn)_norm[12]\.weight",
                r"cap_embedder\.0\.weight",
                r"norm_final\.weight",
            ),
            MODULATION: (
                r"(?:layers|\w+_refiner)\.\d+\.adaLN_modulation\.[01]\.bias",
                r"final_layer\.adaLN_modulation\.1\.bias",
            ),
            QK_NORMS: (r"(?:layers|\w+_refiner)\.\d+\.attention\.[qk]_norm\.weight",),
        },
    ),
)


class NormSites(NamedTuple):
    """family: what the model is, None where it is not known; tiers: the tier of each norm parameter by the model's name."""

    family: str | None
    tiers: dict[str, str]

    def of(self, tiers: Container[str]) -> list[str]:
        """The names of these tiers. Raises ValueError, naming the tiers that there are, where there is none."""
        found = [name for name, tier in self.tiers.items() if tier in tiers]
        if found:
            return found
        if self.family is None:
            raise ValueError(
                "The model is of no architecture whose norm parameters are known here. Known: "
                f"{', '.join(family.name for family in FAMILIES)}."
            )
        there = [tier for tier in TIERS if tier in self.tiers.values()]
        raise ValueError(
            f"{self.family} has no parameters in the tiers that are switched on. "
            + (f"It has: {', '.join(there)}. Switch one of them on." if there else "It has none at all.")
        )


def find_sites(names: Iterable[str]) -> NormSites:
    """The norm parameters among the names of a model's weights. Names without the prefix `diffusion_model.` are ignored."""
    bare = {name.removeprefix(PREFIX): name for name in names if name.startswith(PREFIX)}
    family = next((family for family in FAMILIES if family.marker in bare), None)
    if family is None:
        return NormSites(None, {})
    rules = [(tier, re.compile("|".join(patterns))) for tier, patterns in family.patterns.items()]
    tiers = {}
    for short, name in bare.items():
        for tier, pattern in rules:
            if pattern.fullmatch(short):
                tiers[name] = tier
    return NormSites(family.name, tiers)


def canonical(name: str) -> str:
    """The newest host's name of a parameter: of some norms whose gain older hosts call `scale`."""
    layer, _, ending = name.rpartition(".")
    return f"{layer}.weight" if ending == "scale" and RENAMED.search(layer) else name


def resolve(name: str, names: Container[str]) -> str | None:
    """Which of a model's names stands for this parameter, by this name or another one that a host gives it."""
    candidates = (name, *(f"{layer}.weight" for layer in lora_names(name)[:1]), *lora_names(name)[1:])
    return next((candidate for candidate in candidates if candidate in names), None)


def lora_names(name: str) -> tuple[str, ...]:
    """The layer names by which LoRA files of any host version mean this parameter, if it has several."""
    layer = canonical(name).removesuffix(".weight")
    return (layer, f"{layer}.scale") if RENAMED.search(layer) else ()
