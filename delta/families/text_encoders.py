"""Text encoders: the names that LoRA files give the layers of CLIP and T5, and ComfyUI's; and those of language models.

CLIP-L (or CLIP-H where it stands alone) is te1, CLIP-G te2 and T5 te3, whatever number a file gives it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .record import Family, flat, own, same

PREFIX = "text_encoders."
BEGINNINGS = (
    (r"lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.transformer\.", "te2"),
    (r"lora_te1?_|text_encoder\.|text_encoders\.clip_[lh]\.transformer\.", "te1"),
    (r"lora_te3_|text_encoder_3\.|text_encoders\.t5xxl\.transformer\.", "te3"),
)
# How names begin by convention.
WRITTEN = {
    "kohya": {"te1": "lora_te1_", "te2": "lora_te2_", "te3": "lora_te3_"},
    "ComfyUI": {
        "te1": "text_encoders.clip_l.transformer.",
        "te2": "text_encoders.clip_g.transformer.",
        "te3": "text_encoders.t5xxl.transformer.",
    },
    "diffusers": {"te1": "text_encoder.", "te2": "text_encoder_2."},
}
# Stable Diffusion 2 has a text encoder of this width, CLIP-H, where the others have CLIP-L.
CLIP_H_WIDTH = 1024
CLIP = "text_model.encoder.layers.#"
T5 = "encoder.block.#.layer"
# Only the layers that diffusers names too have names of kohya and diffusers that ComfyUI reads.
LAYERS = Family(
    "text encoder",
    weights=(
        *same(f"{CLIP}.self_attn.{{q_proj,k_proj,v_proj,out_proj}}", f"{CLIP}.mlp.{{fc1,fc2}}"),
        *own(f"{CLIP}.{{layer_norm1,layer_norm2}}", "text_model.final_layer_norm", "text_projection"),
        *own("text_model.embeddings.{token_embedding,position_embedding}"),
        *same(f"{T5}.0.SelfAttention.{{q,k,v,o}}", f"{T5}.1.DenseReluDense.{{wi_0,wi_1,wo}}"),
        *own(f"{T5}.{{0,1}}.layer_norm", f"{T5}.0.SelfAttention.relative_attention_bias"),
        *own("encoder.final_layer_norm", "shared"),
    ),
)


# A layer of a language model, such as Qwen or Gemma, in ComfyUI: the encoder's own name, then where it is in the model.
LANGUAGE_MODEL = re.compile(
    r"(?:text_encoders\.)?(?P<encoder>\w+)\.transformer\.(?P<body>model\.(?P<inner>layers\.\d+\..+))"
)
KOHYA_LANGUAGE_MODEL = re.compile(r"lora_te_layers_\d+_")


def language_model_names(weights: Iterable[str]) -> dict[str, str]:
    """More names of the layers of a language model, to ComfyUI's names of the weights, with `.weight`.

    Names of kohya (`lora_te_layers_0_...`) and ones without the encoder's own name, which newer versions of ComfyUI read,
    and those of PEFT. Empty where there is no language model, or more than one, so that they would be guesses.
    """
    found = [(name, match) for name in weights if (match := LANGUAGE_MODEL.fullmatch(name.removesuffix(".weight")))]
    if len({match["encoder"] for _, match in found}) != 1:
        return {}
    return {
        alias: name
        for name, match in found
        if name.endswith(".weight")
        for alias in (
            f"lora_te_{match['inner'].replace('.', '_')}",
            f"{PREFIX}transformer.{match['body']}",
            f"text_encoder.{match['body']}",
            f"text_encoder.{match['inner']}",
        )
    }


def same_language_model(names: Iterable[str]) -> dict[str, str]:
    """kohya's names of layers of a language model among these, to ComfyUI's, by the other names; empty where those are of no
    or of several encoders."""
    names = list(names)
    kohya = [name for name in names if KOHYA_LANGUAGE_MODEL.match(name)]
    encoders = {match["encoder"] for name in names if (match := LANGUAGE_MODEL.fullmatch(name))}
    if not kohya or len(encoders) != 1:
        return {}
    (encoder,) = encoders
    return {name: f"{PREFIX}{encoder}.transformer.model.{body}" for name in kohya if (body := _language_body(name))}


def _language_body(name: str) -> str | None:
    """`layers.0.self_attn.q_proj` of `lora_te_layers_0_self_attn_q_proj`; None for a module that is not known."""
    match = re.fullmatch(r"lora_te_layers_(\d+)_(?:(self_attn|mlp)_)?(\w+)", name)
    if match is None or not match[3].endswith(("_proj", "_norm", "layernorm")):
        return None
    return ".".join(filter(None, ("layers", match[1], match[2], match[3])))


class TextLayer(NamedTuple):
    """A layer's name in two pieces. encoder: te1, te2 or te3; body: the rest, with underscores for dots."""

    encoder: str
    body: str


def text_layer(name: str) -> TextLayer | None:
    """What a layer's name means of CLIP or T5; None where it is of no text encoder that is numbered."""
    for pattern, encoder in BEGINNINGS:
        if match := re.match(pattern, name):
            body = flat(name[match.end() :])
            return TextLayer("te3" if body.startswith("encoder_block_") else encoder, body)
    return None


def comfy_name(name: str, width: int | None = None) -> str | None:
    """ComfyUI's own name of a layer of CLIP or T5, None where it is not known.

    width: of the encoder, where it is known, which tells CLIP-H from CLIP-L.
    """
    if name.startswith(PREFIX):
        return name
    comfy = canonical(name)
    return comfy.replace("clip_l", "clip_h") if comfy and width == CLIP_H_WIDTH else comfy


def canonical(name: str) -> str | None:
    """ComfyUI's own name of a layer of CLIP or T5 by any of its names, that one included; None where there is no such layer."""
    layer = text_layer(name)
    place = layer and LAYERS.place(layer.body)
    if not place:
        return None
    clip_h = WRITTEN["ComfyUI"]["te1"].replace("clip_l", "clip_h")
    return (clip_h if name.startswith(clip_h) else WRITTEN["ComfyUI"][layer.encoder]) + place.weight.comfy


def has_first(names: Iterable[str]) -> bool:
    """Whether a layer of the first text encoder, CLIP-L or CLIP-H, is among these: ComfyUI counts the others from there."""
    return any(layer.encoder == "te1" for name in names if (layer := text_layer(name)))


def is_counted(name: str) -> bool:
    """Whether a name has the number of an encoder behind the first one."""
    layer = text_layer(name)
    return layer is not None and layer.encoder != "te1" and not name.startswith(PREFIX)


def written(comfy: str, naming: str, alone: bool = False) -> str | None:
    """The name of a layer of CLIP or T5 in a convention, None where it has none there.

    comfy: ComfyUI's own name; alone: whether the model has no other text encoder, so that kohya's has no number.
    """
    if naming == "ComfyUI":
        return comfy
    layer = text_layer(comfy)
    place = layer and LAYERS.place(layer.body)
    if not place:
        return None
    if not place.weight.parts:
        # Norms and embeddings have no kohya name; ComfyUI's own is the only one that is read.
        return comfy if naming == "kohya" else None
    beginning = WRITTEN[naming].get(layer.encoder)
    if beginning is None:
        return None
    if naming == "kohya":
        return ("lora_te_" if alone and layer.encoder == "te1" else beginning) + flat(place.weight.comfy)
    return beginning + place.weight.comfy
