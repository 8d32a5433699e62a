"""Which of a user's own models take the places of those that an example workflow names."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Families are told by the pack's own records.
sys.path.append(str(ROOT))

from delta.control_lora.format import context_width  # noqa: E402
from delta.files.headers import read_header  # noqa: E402
from delta.files.prefixes import family_in_file  # noqa: E402
from dev import model_files  # noqa: E402

Prompt = dict[str, dict[str, Any]]

# The folders of ComfyUI's models that workflows take from.
FOLDERS = {"checkpoints": ("checkpoints",), "loras": ("loras",), "controlnet": ("controlnet", "t2i_adapter")}
# The workflows' fine-tune, whose place the user's checkpoint takes where a workflow has a base as well.
FINE_TUNE = "dreamshaper_8.safetensors"
# What workflows save for each other begins so.
SAVED = "styledelta_"
# The words by which files of ControlNets tell what they read, for those that workflows name.
KINDS = ("canny", "scribble", "softedge", "lineart", "openpose")
# Sides of a picture in pixels by the width of the text that a model reads; others draw 1024.
SIDES = {768: 512, 1024: 768}
LARGE = 1024
PHOTOS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.png")


class MissingModel(Exception):
    """A workflow needs a model that the user does not have; says which."""


@dataclass(frozen=True)
class OwnModels:
    """Names as ComfyUI lists them. relatives: other checkpoints of the same family; nets: ControlNets for it."""

    checkpoint: str
    relatives: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    nets: tuple[str, ...] = ()
    side: int = 512


def own_models(folder: Path, checkpoint: str, loras: Sequence[str] = ()) -> OwnModels:
    """What a ComfyUI models folder has for one of its checkpoints."""
    kind = _family_and_width(folder / "checkpoints" / checkpoint)
    width = kind[1]
    names = [name for name in model_files(folder / "checkpoints") if name != checkpoint and any(kind)]
    relatives = [name for name in names if _family_and_width(folder / "checkpoints" / name) == kind]
    nets = [
        name
        for place in FOLDERS["controlnet"]
        for name in model_files(folder / place)
        if width and _family_and_width(folder / place / name)[1] == width
    ]
    return OwnModels(checkpoint, tuple(relatives), tuple(loras), tuple(nets), SIDES.get(width, LARGE))


def _family_and_width(path: Path) -> tuple[str | None, int | None]:
    """The family of the diffusion model in a file, and how wide its text is; None for what a header does not tell."""
    try:
        header = read_header(path)
    except (OSError, ValueError):
        return None, None
    family = family_in_file(header)
    return family and family.name, context_width({name: tensor.shape for name, tensor in header.items()})


def extra_model_paths(folder: Path) -> str:
    """ComfyUI's extra_model_paths.yaml for a models folder, of which nothing but these folders is read."""
    # JSON is YAML; without a base_path ComfyUI expands no variables in the names.
    places = {
        kind: "\n".join(str(folder / name) for name in names if (folder / name).is_dir())
        for kind, names in FOLDERS.items()
    }
    return json.dumps({"own": {kind: lines for kind, lines in places.items() if lines}})


def with_own(prompt: Prompt, twin: Prompt, own: OwnModels) -> Prompt:
    """A workflow's prompt with the user's models and with photos. Raises MissingModel where one is wanting.

    twin: the same prompt for the demo's own models, which says what its pictures are.
    """
    if any("unet_name" in node["inputs"] for node in prompt.values()):
        raise MissingModel(
            "it needs the two diffusion models of Wan 2.2, and --checkpoint names one file with everything"
        )
    prompt = copy.deepcopy(prompt)
    places = list(_places(prompt))
    names = {kind: list(dict.fromkeys(name for found, name, _ in places if found == kind)) for kind in FOLDERS}
    new = _checkpoints(names["checkpoints"], own) | _loras(names["loras"], own) | _nets(names["controlnet"], own)
    for _, name, put in places:
        put(new[name])
    _set_pictures(prompt, twin)
    for node in prompt.values():
        if node["class_type"] == "EmptyLatentImage":
            node["inputs"] |= {"width": own.side, "height": own.side}
        if node["class_type"] == "StyleDeltaStyleLibrary":
            if isinstance(node["inputs"].get("index"), list):
                raise MissingModel("it paints with every file of a folder of styles, and --loras names single LoRAs")
            node["inputs"]["name"] = _loras([""], own)[""]
    return prompt


def _places(prompt: Prompt) -> Iterator[tuple[str, str, Callable[[str], None]]]:
    """Each name of a model in a prompt: its kind, the name, and what puts another in its place."""
    kinds = {"ckpt_name": "checkpoints", "lora_name": "loras"}
    kinds |= dict.fromkeys(("control_net_name", "control_net", "control_lora"), "controlnet")
    for node in prompt.values():
        inputs = node["inputs"]
        for key, value in list(inputs.items()):
            if not isinstance(value, str):
                continue
            # Rows have names of several parts.
            if (kind := kinds.get(key.rpartition(".")[2])) is not None:
                yield kind, value, lambda new, inputs=inputs, key=key: inputs.update({key: new})
            elif key in ("tuned", "base"):
                folder, _, name = value.partition("/")
                yield folder, name, lambda new, inputs=inputs, key=key: inputs.update({key: f"checkpoints/{new}"})
            elif key in ("rows", "palette"):
                yield from _listed(inputs, key)


def _listed(inputs: dict[str, Any], key: str) -> Iterator[tuple[str, str, Callable[[str], None]]]:
    """The files in the text of a list of LoRAs or of a palette of norm styles."""
    listed = json.loads(inputs[key])
    rows, name = (listed, "name") if key == "rows" else (listed["styles"], "style")

    def put(row: dict[str, Any], new: str) -> None:
        row[name] = new
        inputs[key] = json.dumps(listed)

    for row in rows:
        # Styles of a style network have numbers.
        if isinstance(row[name], str):
            yield "loras", row[name], lambda new, row=row: put(row, new)


def _checkpoints(names: Sequence[str], own: OwnModels) -> dict[str, str]:
    """The user's checkpoint for the fine-tune of a workflow, or its only model; relatives of it for the others."""
    if not names:
        return {}
    first = FINE_TUNE if FINE_TUNE in names else names[0]
    others = [name for name in names if name != first]
    kept = {name: name for name in others if name in own.relatives}
    free = [name for name in own.relatives if name not in kept]
    wanting = [name for name in others if name not in kept]
    if len(wanting) > len(free):
        had = 1 + len(own.relatives)
        raise MissingModel(
            f"it needs {len(names)} safetensors checkpoints of one family, and of that of {own.checkpoint} there "
            f"{'is' if had == 1 else 'are'} {had}"
        )
    return {first: own.checkpoint} | kept | dict(zip(wanting, free))


def _loras(names: Sequence[str], own: OwnModels) -> dict[str, str]:
    """The user's LoRAs in the order in which a workflow names its own."""
    if saved := [name for name in names if name.startswith(SAVED)]:
        raise MissingModel(f"it needs {saved[0]}, which another workflow saves for this model")
    if len(names) > len(own.loras):
        wanted = "a LoRA" if len(names) == 1 else f"{len(names)} LoRAs"
        raise MissingModel(f"it needs {wanted}, and --loras names {len(own.loras)}")
    return dict(zip(names, own.loras))


def _nets(names: Sequence[str], own: OwnModels) -> dict[str, str]:
    """For each net of a workflow the user's first that reads the same hint by its name."""
    return {name: _net(name, own) for name in names}


def _net(name: str, own: OwnModels) -> str:
    kind = next(kind for kind in KINDS if kind in name)
    plain = {net: net.lower().replace("_", "").replace("-", "") for net in own.nets}
    if found := next((net for net, letters in plain.items() if kind in letters), None):
        return found
    raise MissingModel(f"it needs a ControlNet for {own.checkpoint} with {kind} in its name")


def _set_pictures(prompt: Prompt, twin: Prompt) -> None:
    """The pictures of the twin, but photos for the drawings that are made for the demo's small models."""
    drawings = [
        twin[node]["inputs"]["image"]
        for node in prompt
        if prompt[node]["class_type"] == "LoadImage" and twin[node]["inputs"]["image"].startswith("drawn_")
    ]
    photos = dict(zip(dict.fromkeys(drawings), PHOTOS)) | {"painting_small.png": "painting.png"}
    for node_id, node in prompt.items():
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            image = twin[node_id]["inputs"]["image"]
            node["inputs"]["image"] = photos.get(image, image)
