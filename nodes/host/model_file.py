"""A model's file as this host reads it: the model that it would build, and of which tensors each weight is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_detection
import comfy.ops
import torch

from ...delta.families.registry import DENOISER
from ...delta.files.adapter_names import is_adapter
from ...delta.files.file_kinds import kind_of
from ...delta.files.json_text import json_object
from ...delta.model_file.expression import Expression, Traced, leaf
from ...delta.model_file.expression import leaves as leaves_of
from ...delta.model_file.source import TensorFile
from .names import lora_key_map
from .quantised import LAYERS, StoredTensors, is_side
from .weights import PatchKey

CHOOSE = "Choose a checkpoint or a diffusion model under ComfyUI's names."


class ModelFile:
    """A checkpoint or diffusion model, of which the host builds the model without memory for its weights.

    weights: by the host's names, of which tensors of the file each is made; shapes: of the same in the model; text: the names
    among them of text encoders; stored: the file's tensors; key_map: see `names.lora_key_map`.
    """

    def __init__(self, path: str | Path):
        """Raises FileNotFoundError, and ValueError, with the remedy, for what this host takes for no diffusion model."""
        if Path(path).suffix.lower() == ".gguf":
            raise ValueError(
                f"{Path(path).name} is a GGUF file, and GGUF cannot be written. Use the safetensors version of the "
                "model."
            )
        self.file = TensorFile(path)
        self.name, names = self.file.name, list(self.file.tensors)
        kind = kind_of(names)
        if kind.is_addition or is_adapter(names):
            raise ValueError(f"{self.name} is not a model; it is {kind}. {CHOOSE}")
        metadata = self.file.metadata
        layers = (json_object(metadata.get(LAYERS)) or {}).get("layers")
        layers = (
            {name: layer for name, layer in layers.items() if isinstance(layer, dict)}
            if isinstance(layers, dict)
            else {}
        )
        types = {name: (self.file.dtype(name), tensor.shape) for name, tensor in self.file.tensors.items()}
        self.stored = StoredTensors(self.name, types, self.file.read, layers)
        self._build(names, metadata, str(kind))

    @property
    def kind(self) -> str:
        """The host's class of the model."""
        return type(self.config).__name__

    def _build(self, names: list[str], metadata: Mapping[str, str], kind: str) -> None:
        tensors = self.file.sketch()
        prefix = comfy.model_detection.unet_prefix_from_state_dict(tensors)
        self.prefix = prefix if any(name.startswith(prefix) for name in names) else ""
        # The host takes some tensors and metadata out of what it is given.
        self.config = comfy.model_detection.model_config_from_unet(dict(tensors), self.prefix, metadata=dict(metadata))
        if self.config is None:
            raise ValueError(f"{self.name} is {kind}, from which this ComfyUI cannot build a diffusion model. {CHOOSE}")
        # Plain layers, because those of quantised formats have no weights until they are loaded.
        self.config.custom_operations = comfy.ops.disable_weight_init
        self.config.set_inference_dtype(torch.float32, None)
        model = self.config.get_model(dict(tensors), self.prefix, device=torch.device("meta"))
        clip = self._text_encoder(tensors)
        self.key_map: dict[PatchKey, Any] = lora_key_map(
            SimpleNamespace(model=model), None if clip is None else SimpleNamespace(cond_stage_model=clip)
        )
        self.model_weights = _named(model, DENOISER)
        self.clip_weights = {} if clip is None else clip.state_dict()
        self.weights = self._traced(self.config)
        self.shapes = {name: tuple(value.shape) for name, value in (self.model_weights | self.clip_weights).items()}
        self.text = self.clip_weights.keys() & self.weights.keys()
        self._refuse_other_sizes()

    def _text_encoder(self, tensors: Mapping[str, torch.Tensor]) -> Any | None:
        """The host's text encoder of a checkpoint; None where there is none in the file."""
        target = self.config.clip_target(state_dict=dict(tensors))
        if target is None or not self.config.process_clip_state_dict(dict(tensors)):
            return None
        device = torch.device("meta")
        return target.clip(device=device, dtype=torch.float32, model_options={}, **target.params)

    def _traced(self, config: Any) -> dict[str, Expression]:
        """Of which tensors of the file the host makes each weight."""
        leaves = {name: leaf(name, self.file.dtype(name), tensor.shape) for name, tensor in self.file.tensors.items()}
        found = traced_as_loaded(config, leaves, self.prefix, bool(self.clip_weights))
        known = self.model_weights.keys() | self.clip_weights.keys()
        return {name: expression for name, expression in found.items() if name in known}

    def _refuse_other_sizes(self) -> None:
        for name, expression in self.weights.items():
            is_packed = expression.of is not None and self.stored.sides(expression.of)
            if tuple(expression.shape) != self.shapes[name] and not is_packed:
                raise ValueError(
                    f"{self.name}: {name} is {tuple(expression.shape)}, but ComfyUI recognises the file as "
                    f"{self.kind}, where it is {self.shapes[name]}. {CHOOSE}"
                )


def traced_as_loaded(config: Any, leaves: Mapping[str, Any], prefix: str, with_text: bool = True) -> dict[str, Any]:
    """What the host makes of the tensors of a file: by its names of the weights, those of text encoders without a prefix."""
    bare = {name[len(prefix) :]: value for name, value in leaves.items() if name.startswith(prefix)}
    try:
        with Traced():
            denoiser = config.process_unet_state_dict(bare)
            text = config.process_clip_state_dict(dict(leaves)) if with_text else {}
    except NotImplementedError as error:
        raise ValueError(
            f"How ComfyUI maps the names of a {type(config).__name__} cannot be traced ({error}). Load the model "
            "and use Save Patched Model."
        ) from error
    found = {DENOISER + name: value for name, value in denoiser.items()} | dict(text)
    # What the host makes of no tensor of the file, such as positions.
    return {name: value for name, value in found.items() if leaves_of(value)}


def _named(model: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith(prefix)}


def is_model_weight(name: str, tensor: torch.Tensor) -> bool:
    """Whether a tensor of a model holds numbers of it, and nothing beside them."""
    return tensor.is_floating_point() and not is_side(name)
