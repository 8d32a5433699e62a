"""A loaded model with its patches as a file, under the names that the host itself saves it by."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_base
import comfy.model_detection
import comfy.model_sampling
import torch
from comfy.cli_args import args

from ...delta.families.registry import DENOISER
from ...delta.model_file.expression import Expression, Traced, evaluate, leaf, leaves, origin
from ...delta.model_file.formats import Plain, encoded, refuse_not_finite, rounding_charts
from ...delta.model_file.report import file_metadata, file_report
from ...delta.model_file.source import TensorFile
from ...delta.model_file.writer import Entry, Made, Part, Written, digest, write_model
from .file_patches import patched_value
from .loaded_tensors import LoadedTensors
from .merge_file import FORMATS, Saved, copied_part, named, refuse_smoothed
from .model_file import traced_as_loaded
from .quantised import LAYERS, is_side
from .weights import SMOOTHING


class Parts(NamedTuple):
    """What a file is to hold."""

    model: Any
    clip: Any | None = None
    vae: Any | None = None


def save_model(
    parts: Parts, format_: str, path: str, workflow: Mapping[str, Any], step: Callable[[int, int], None]
) -> Saved:
    """Write a MODEL with all its patches, a CLIP and a VAE, if given, as a new file; read it back as the host does.

    format_: one of `FORMATS`; workflow: what the metadata is to hold of the graph. Raises ValueError for what no file can hold, for
    NaN and infinite values, and as `writer.write_model` does.
    """
    dtype, loaded = FORMATS[format_], LoadedTensors(parts.model, parts.clip)
    if dtype is None and loaded.packed:
        raise ValueError(
            f"{next(iter(loaded.packed))} is packed as {loaded.kinds()} of GGUF, which is not written. Choose float16 or bfloat16 as "
            "the format."
        )
    outputs, extra = _outputs(parts, loaded, dtype)
    metadata = file_metadata({}, "save model", [{"name": type(parts.model.model).__name__}], format_) | extra
    if not args.disable_metadata:
        metadata |= {name: json.dumps(value) for name, value in workflow.items()}
    written_parts = list(_file_parts(loaded, outputs, dtype))
    proofs: list[str] = []
    check = _read_as_the_host(parts, loaded, outputs, proofs)
    written = write_model(path, written_parts, metadata, step, check)
    return Saved(
        file_report(path, written, proofs[0], _notes(parts, loaded, outputs)), rounding_charts(written.roundings)
    )


def _outputs(
    parts: Parts, loaded: LoadedTensors, dtype: torch.dtype | None
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What the host would save, by its names in files: expressions of the loaded tensors, or tensors; and metadata."""
    kept = {name: _leaf(loaded, name, dtype) for name in loaded.tensors if dtype is None or not is_side(name)}
    unet = {name.removeprefix(DENOISER): value for name, value in kept.items() if name.startswith(DENOISER)}
    clip = None
    if parts.clip is not None:
        clip = {name: value for name, value in kept.items() if not name.startswith(DENOISER)}
        clip |= parts.clip.tokenizer.state_dict()
    vae = None if parts.vae is None else parts.vae.get_sd()
    with Traced():
        found = _for_saving(parts.model.model, unet, clip, vae)
    found |= _sampling_keys(parts.model)
    if dtype is not None:
        found = {name: value for name, value in found.items() if not is_side(name)}
    settings = {name: value for name, value in found.items() if not isinstance(value, torch.Tensor)}
    # The one that there is, of older hosts: which layers are quantised.
    metadata = {LAYERS: json.dumps(next(iter(settings.values())))} if settings and dtype is None else {}
    return {name: value for name, value in found.items() if name not in settings}, metadata


def _leaf(loaded: LoadedTensors, name: str, dtype: torch.dtype | None) -> Expression:
    own, shape = loaded.stored.types[name]
    if dtype is None or name not in loaded.owners or not loaded.is_numbers(name):
        return leaf(name, own, shape)
    return leaf(name, dtype, loaded.shape(name))


def _for_saving(model: Any, unet: dict, clip: dict | None, vae: dict | None) -> dict[str, Any]:
    """The host's names in files. Older hosts ask the network for its tensors themselves."""
    if "unet_state_dict" in inspect.signature(model.state_dict_for_saving).parameters:
        return model.state_dict_for_saving(unet, clip_state_dict=clip, vae_state_dict=vae)
    network = model.diffusion_model
    network.state_dict = lambda: unet
    try:
        return model.state_dict_for_saving(clip, vae)
    finally:
        del network.state_dict


def _sampling_keys(model: Any) -> dict[str, torch.Tensor]:
    """The tensors by which files tell how a model is sampled, as core's own Save Checkpoint writes them."""
    sampling, found = model.get_model_object("model_sampling"), {}
    is_v = isinstance(sampling, comfy.model_sampling.V_PREDICTION)
    if is_v and isinstance(sampling, comfy.model_sampling.ModelSamplingContinuousEDM):
        found["edm_vpred.sigma_max"] = torch.tensor(sampling.sigma_max).float()
        found["edm_vpred.sigma_min"] = torch.tensor(sampling.sigma_min).float()
    if model.model.model_type == comfy.model_base.ModelType.V_PREDICTION:
        found["v_pred"] = torch.tensor([])
        if getattr(sampling, "zsnr", False):
            found["ztsnr"] = torch.tensor([])
    return found


def _file_parts(
    loaded: LoadedTensors, outputs: Mapping[str, torch.Tensor], dtype: torch.dtype | None
) -> Iterator[Part]:
    places = {own: name for name, value in outputs.items() if (own := _origin(value)) is not None}
    for name, value in outputs.items():
        own = _origin(value)
        if not isinstance(value, Expression):
            yield _given_part(name, value)
        elif own is None:
            yield _composed_part(loaded, name, value, dtype)
        elif own in loaded.owners:
            yield _weight_part(loaded, own, places, dtype)
        elif not _stands_by_a_weight(loaded, own):
            yield copied_part(loaded.stored, [own], {own: name})


def _origin(value: torch.Tensor) -> str | None:
    return origin(value) if isinstance(value, Expression) else None


def _stands_by_a_weight(loaded: LoadedTensors, side: str) -> bool:
    weight = f"{side.rpartition('.')[0]}.weight"
    return weight in loaded.owners and side in loaded.stored.sides(weight).values()


def _given_part(name: str, value: torch.Tensor) -> Part:
    def make() -> Made:
        refuse_not_finite(name, value)
        return Made({name: value})

    return Part([Entry(name, value.dtype, tuple(value.shape))], make)


def _stored_anew(loaded: LoadedTensors, name: str, dtype: torch.dtype | None) -> tuple[dict[str, torch.Tensor], list]:
    """A weight with its patches: its tensors by the loaded names, and what rounding cost."""
    patches, stored = loaded.patches(name), loaded.stored
    if dtype is None and not patches:
        found = {each: stored.read(each) for each in (name, *stored.sides(name).values())}
        refuse_not_finite(name, found[name])
        return found, []
    if patches:
        refuse_smoothed(stored, name)
    packed = loaded.packed.get(name)
    format_ = Plain(dtype) if packed else stored.format(name, loaded.shape(name))
    before = packed.unpack() if packed else format_.decode(stored.tensors(name))
    after = patched_value(name, patches, before) if patches else before
    made, rounding = encoded(name, format_ if dtype is None else Plain(dtype), after, before if patches else None)
    return named(stored, name, made, keep_sides=dtype is None), [rounding]


def _weight_part(loaded: LoadedTensors, name: str, places: Mapping[str, str], dtype: torch.dtype | None) -> Part:
    stored = loaded.stored
    if dtype is None:
        entries = [Entry(places[each], *stored.types[each]) for each in (name, *stored.sides(name).values())]
    elif SMOOTHING in stored.sides(name):
        raise ValueError(
            f"{name} is smoothed by a {SMOOTHING}, which no float weight has. Choose the model's own format."
        )
    else:
        kind = _leaf(loaded, name, dtype)
        entries = [Entry(places[name], kind.dtype, tuple(kind.shape))]

    def make() -> Made:
        tensors, roundings = _stored_anew(loaded, name, dtype if loaded.is_numbers(name) else None)
        return Made({places[own]: tensor for own, tensor in tensors.items()}, roundings)

    return Part(entries, make)


def _composed_part(loaded: LoadedTensors, name: str, value: Expression, dtype: torch.dtype | None) -> Part:
    """A tensor that the host makes of one or several weights, such as the fused ones of a text encoder."""
    own = leaves(value)
    if quantised := next((each for each in own if dtype is None and loaded.stored.sides(each)), None):
        raise ValueError(
            f"ComfyUI saves {quantised} fused, which a quantised weight cannot be. Choose a float type as the format."
        )

    def make() -> Made:
        tensors: dict[str, torch.Tensor] = {}
        roundings = []
        for each in own:
            made, rounding = _stored_anew(loaded, each, dtype)
            tensors |= made
            roundings += rounding
        return Made(
            {name: evaluate(value, tensors).contiguous()}, roundings, {each: digest(tensors[each]) for each in own}
        )

    return Part([Entry(name, value.dtype, tuple(value.shape))], make)


def _read_as_the_host(
    parts: Parts, loaded: LoadedTensors, outputs: Mapping[str, torch.Tensor], proofs: list[str]
) -> Callable[[Path, Written], None]:
    """A check that the host's own reading of the new file gives every weight as it was meant, bit for bit."""
    saved = {name: value for name, value in outputs.items() if isinstance(value, Expression)}

    def check(path: Path, written: Written) -> None:
        file, config = TensorFile(path), parts.model.model.model_config
        expressions = {name: leaf(name, file.dtype(name), tensor.shape) for name, tensor in file.tensors.items()}
        prefix = comfy.model_detection.unet_prefix_from_state_dict(expressions)
        read = traced_as_loaded(config, expressions, prefix, parts.clip is not None)
        for name, value in saved.items():
            for own in leaves(value):
                expected = written.meant.get(own) or written.digests[name]
                if own not in read or _digest(read[own], file, written) != expected:
                    raise ValueError(f"ComfyUI would not read {own} in the new file as it was saved. Nothing was kept.")
        count = len({own for value in saved.values() for own in leaves(value)})
        proofs.append(f"read back as ComfyUI loads it: all {count} tensors of the model match, bit for bit")
        proofs[-1] += _recognised(file, config, prefix)

    return check


def _digest(expression: Expression, file: TensorFile, written: Written) -> str:
    own = origin(expression)
    if own is not None:
        return written.digests[own]
    return digest(evaluate(expression, {name: file.read(name) for name in leaves(expression)}).contiguous())


def _recognised(file: TensorFile, config: Any, prefix: str) -> str:
    found = comfy.model_detection.model_config_from_unet(file.sketch(), prefix, metadata=dict(file.metadata))
    if type(found) is type(config):
        return f"; it recognises the file as {type(config).__name__}"
    taken = "recognises no model in the file" if found is None else f"recognises the file as {type(found).__name__}"
    return f"; but ComfyUI {taken}, not {type(config).__name__}: only nodes with a setting for the kind of model can load it"


def _notes(parts: Parts, loaded: LoadedTensors, outputs: Mapping[str, torch.Tensor]) -> list[str]:
    patched = [name for name in loaded.owners if loaded.patches(name)]
    text = sum(not name.startswith(DENOISER) for name in patched)
    lines = [f"patches merged into {len(patched) - text} weights of the diffusion model and {text} of the text encoder"]
    if parts.clip is None:
        lines.append("no CLIP was connected: a diffusion model, for models/diffusion_models")
    if loaded.packed:
        lines.append(f"unpacked from {loaded.kinds()} of GGUF: {len(loaded.packed)} weights")
    if never := loaded.never_applied():
        lines.append(
            f"{len(never)} weights have patches that ComfyUI never applies, such as {never[0]}: they are not in the file"
        )
    saved = {own for value in outputs.values() if isinstance(value, Expression) for own in leaves(value)}
    left = [name for name in loaded.owners if name not in saved]
    if left:
        lines.append(
            f"left out, as ComfyUI does when it saves: {', '.join(left[:3])}" + (", ..." if len(left) > 3 else "")
        )
    other = [name for name, value in parts.model.object_patches.items() if not isinstance(value, torch.nn.Parameter)]
    if other:
        lines.append(f"not weights, so not in the file: {', '.join(other)}")
    return lines
