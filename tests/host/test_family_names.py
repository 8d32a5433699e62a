"""The records of the families against ComfyUI's own key maps, without any weights."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any

import pytest

from . import layouts

PREFIX = "diffusion_model."
NAMES_OF_FLUX2 = r".*(ff(_context)?[._]linear_(in|out)|single_transformer_blocks.*attn[._]to_(qkv_mlp_proj|out))"
# Names that the host reads and a record leaves to the connected model, by family. Records without rows leave all to it.
LEFT_OUT = {
    # Of the upscaler by its own layout, whose label embedding is a table.
    "Stable Diffusion 1 or 2": r".*label_emb",
    # The host uses one table of diffusers' names for Flux.1, FLUX.2, Chroma and Ovis-Image.
    "Flux.1": NAMES_OF_FLUX2,
    "FLUX.2": r"(?!lora_unet_|diffusion_model\.).*|diffusion_model\.single_blocks\.\d+\.linear1_qkv",
    "Chroma": rf"{NAMES_OF_FLUX2}|diffusion_model\.single_blocks\.\d+\.linear1_qkv",
    "Ovis-Image": r".*(single_transformer_blocks|ff(_context)?[._]).*|diffusion_model\.single_blocks\.\d+\.linear1_qkv",
    # Turned round in the last block, which names do not tell.
    "Stable Diffusion 3": r".*norm1_context[._]linear",
    # Names of Z-Image, whose table the host uses for both.
    "Lumina 2": r"(?!lora_unet_).*(attention.*to_(q|k|v|out_0|out\.0)|norm_[qk]|(all_x_embedder|all_final_layer).*)",
}


@pytest.fixture(scope="module")
def families(host) -> str:
    """The name of the package of the records, as the host has loaded it."""
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return f"{pack}.delta.families"


@pytest.fixture(scope="module")
def registry(families) -> ModuleType:
    return importlib.import_module(f"{families}.registry")


def key_map(model: Any) -> dict[str, Any]:
    """What the host makes of the name of every layer of a LoRA: a weight, or some of its rows."""
    import comfy.lora

    weights = {name for name in model.state_dict() if name.startswith(PREFIX)}
    keys = comfy.lora.model_lora_keys_unet(model, {})
    return {name: key for name, key in keys.items() if (key if isinstance(key, str) else key[0]) in weights}


# The host makes tensors of tensors for its upscaler.
pytestmark = pytest.mark.filterwarnings(
    "ignore:To copy construct:UserWarning", "ignore:__array_wrap__:DeprecationWarning"
)


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_every_name_that_the_host_reads_is_the_same_weight_here(host, registry, name):
    layout = layouts.LAYOUTS[name]
    if not layouts.has(layout):
        pytest.skip(layout.since)
    model = layouts.meta(layout)
    weights = model.state_dict()
    family = registry.family_of(name for name in weights if name.startswith(PREFIX))
    left_out = re.compile(LEFT_OUT.get(family.name, "") if family.weights else ".*")
    wrong, missing = {}, set()
    for spelled, key in key_map(model).items():
        weight, *rest = (key,) if isinstance(key, str) else key
        if not weight.endswith(".weight") and not family.is_bare(weight.removeprefix(PREFIX)):
            continue
        place = registry.place_of(spelled, family)
        theirs = (weight.removesuffix(".weight"), *map(plain, rest))
        if place is None:
            missing.add(spelled)
        elif meaning(place, next(iter(weights[weight].shape), 1)) != theirs:
            wrong[spelled] = (place, key)
    assert not wrong
    assert not [spelled for spelled in missing if not left_out.fullmatch(spelled)]


def plain(rest: Any) -> Any:
    """Rows as the host gives them; for a function that swaps their halves, that there is one."""
    return tuple(rest) if isinstance(rest, tuple | list) else rest is not None


def meaning(place: Any, rows: int) -> tuple:
    """A place in the host's terms."""
    weight, part = place
    if part is None or (len(weight.parts) == 1 and not weight.swapped):
        return (PREFIX + weight.comfy,)
    if weight.swapped:
        return (PREFIX + weight.comfy, False, True)
    unit = rows // sum(weight.shares)
    return (PREFIX + weight.comfy, (0, unit * sum(weight.shares[:part]), unit * weight.shares[part]))


def test_text_encoder_names_are_the_hosts(host, families):
    import comfy.lora

    for weight in importlib.import_module(f"{families}.text_encoders").LAYERS.weights:
        layer = weight.comfy.split(".", 4)[-1]
        if weight.comfy.startswith("text_model.encoder"):
            assert bool(weight.parts) == (layer in comfy.lora.LORA_CLIP_MAP), weight.comfy
