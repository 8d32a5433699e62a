"""Model files in any layout, read one weight at a time under ComfyUI's names.

Single-file checkpoints, bare diffusion models and text encoders, and diffusers files and folders are told apart by the
names of their tensors. Only headers are read at first; a weight is mapped into memory when it is asked for, and copied.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .families.architectures import ARCHITECTURES, SCALE_NORMS, Architecture, flat
from .file_kinds import kind_of
from .linear_algebra.noise import rounding_variance
from .lora_names import is_adapter

DENOISER = "diffusion_model."
DENOISER_PREFIXES = ("model.diffusion_model.", DENOISER, "model.model.")
# How the names of a diffusion model without any prefix begin.
BARE_BEGINNINGS = (
    *("input_blocks.", "middle_block.", "output_blocks.", "double_blocks.", "single_blocks.", "joint_blocks."),
    *("blocks.", "layers.", "transformer_blocks.", "double_layers.", "single_layers.", "double_stream_blocks."),
)
# How names of text encoders begin in files, and in ComfyUI behind `text_encoders.`; {} is the kind of CLIP.
TEXT_BEGINNINGS = (
    ("cond_stage_model.transformer.text_model.", "clip_l.transformer.text_model."),
    ("cond_stage_model.transformer.", "clip_l.transformer.text_model."),
    ("conditioner.embedders.0.transformer.text_model.", "clip_l.transformer.text_model."),
    ("text_encoders.", ""),
    ("text_model.", "{}.transformer.text_model."),
    ("text_projection.", "{}.transformer.text_projection."),
    ("encoder.block.", "t5xxl.transformer.encoder.block."),
    ("encoder.final_layer_norm.", "t5xxl.transformer.encoder.final_layer_norm."),
    ("shared.", "t5xxl.transformer.shared."),
)
# The text encoder of transformers 5 leaves out the level `text_model.`; this name tells it.
FLAT_CLIP = "embeddings.token_embedding.weight"
CLIP_WIDTHS = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}
OPEN_CLIP_PREFIXES = ("cond_stage_model.model.", "conditioner.embedders.0.model.", "conditioner.embedders.1.model.")
OPEN_CLIP = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "text_projection.weight": "text_projection.weight",
}
OPEN_CLIP_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
QKV_PROJECTIONS = ("q_proj", "k_proj", "v_proj")

# Diffusers names of weights that carry no LoRA and are therefore not in the tables of architectures.
SD3 = "Stable Diffusion 3"
DIFFUSERS_NAMES = {
    SD3: (
        (r"transformer_blocks\.(\d+)\.(attn2?)\.norm_([qk])\.", r"joint_blocks.\1.x_block.\2.ln_\3."),
        (r"transformer_blocks\.(\d+)\.attn\.norm_added_([qk])\.", r"joint_blocks.\1.context_block.attn.ln_\2."),
        (r"transformer_blocks\.(\d+)\.norm1_context\.linear\.", r"joint_blocks.\1.context_block.adaLN_modulation.1."),
        (r"time_text_embed\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
        (r"time_text_embed\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
        (r"time_text_embed\.text_embedder\.linear_1\.", "y_embedder.mlp.0."),
        (r"time_text_embed\.text_embedder\.linear_2\.", "y_embedder.mlp.2."),
        (r"pos_embed\.pos_embed$", "pos_embed"),
        (r"pos_embed\.proj\.", "x_embedder.proj."),
        (r"(context_embedder\.)", r"\1"),
        (r"norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
        (r"proj_out\.", "final_layer.linear."),
    ),
    "Z-Image": (
        (r"(.+\.attention)\.norm_([qk])\.", r"\1.\2_norm."),
        (r"all_final_layer\.2-1\.", "final_layer."),
        (r"all_x_embedder\.2-1\.", "x_embedder."),
        (r"((layers|\w+_refiner)\.\d+\.(attention|ffn)_norm[12]\.)", r"\1"),
        (r"(cap_embedder\.|t_embedder\.|x_pad_token$|cap_pad_token$)", r"\1"),
    ),
}
# The share of a file's names that an architecture must know to be the file's.
MOSTLY = 0.6
# Layouts that ComfyUI does not load, or renames in ways that no table here holds.
FOREIGN = {
    "condition_embedder.": "Wan for diffusers",
    "context_embedder.token_refiner.": "HunyuanVideo for diffusers",
    "double_blocks.0.img_attn_qkv.": "HunyuanVideo by Tencent",
    "double_stream_modulation_img.linear.": "FLUX.2 for diffusers",
    "joint_transformer_blocks.": "AuraFlow for diffusers",
    "time_caption_embed.": "Lumina 2 for diffusers",
    "time_embed.emb.": "LTX-Video for diffusers",
}

COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
COMPONENT_STEMS = ("diffusion_pytorch_model", "model")
# The files of a component, full precision first.
COMPONENT_FILES = (
    *("{}.safetensors", "{}.safetensors.index.json", "{}.*.safetensors", "{}.safetensors.index.*.json"),
    "{}-*-of-*.safetensors",
)
SHARD = re.compile(r"(.+)-\d+-of-(\d+)\.safetensors")

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
}
INDEX_DTYPES = ("I64", "I32", "I16", "BOOL")
SCALE_DTYPES = ("F32", "F16", "BF16")
SCALES = ("scale_weight", "weight_scale")
# What stands beside a quantised weight.
SIDE_ENDINGS = (".scale_weight", ".weight_scale", ".weight_scale_2", ".scale_input", ".input_scale", ".comfy_quant")
SIDE_MARKER = "scaled_fp8"
# The formats of ComfyUI's own quantisation in which a number times its scale is the weight.
SCALED_FORMATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fn_rowwise", "int8_tensorwise")

AS_MODEL = "Load it in ComfyUI and extract from the MODEL, which ComfyUI dequantises."
CONVERT = (
    "is a pickle, which cannot be read one tensor at a time. Convert it to safetensors, or use that version of it."
)
PACKED = "is a GGUF file, whose weights are packed in blocks. Use the safetensors version of the model."
UNREADABLE = {".gguf": PACKED} | dict.fromkeys((".ckpt", ".pt", ".pth", ".bin"), CONVERT)
CHOOSE = "Choose a checkpoint, a diffusion model, a text encoder, or a folder of diffusers."
CHUNK = 1 << 24
# Below this share of common weights two models have nothing to do with each other.
NEARLY_NOTHING = 0.1


class StoredWeight(NamedTuple):
    """value: float32, in the shape that the file gives ComfyUI's weight; variance: the mean variance of the rounding of
    its storage, in the units of the value squared."""

    value: Tensor
    variance: float


class Common(NamedTuple):
    """The weights of a tuned model and its base. shared: of equal size; misfits: in both, but of different sizes."""

    shared: list[str]
    only_tuned: list[str]
    only_base: list[str]
    misfits: list[str]


class _Tensor(NamedTuple):
    """A tensor of a safetensors file by its header. start: of its bytes in the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


class _Target(NamedTuple):
    """The weight that a tensor holds, or the part of it; third: which third of the tensor's rows it takes."""

    name: str
    part: int = 0
    parts: int = 1
    third: int | None = None
    change: Callable[[Tensor], Tensor] | None = None


class _Piece(NamedTuple):
    """A tensor, or a third of its rows, with what stands beside it where it is quantised."""

    tensor: _Tensor
    third: int | None
    scale: _Tensor | None
    settings: _Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.tensor.shape
        return shape if self.third is None else (shape[0] // 3, *shape[1:])


class _Source(NamedTuple):
    """The pieces whose rows make up a weight, one after the other, and what is done to the whole."""

    pieces: list[_Piece]
    change: Callable[[Tensor], Tensor] | None

    @property
    def shape(self) -> tuple[int, ...]:
        shapes = [piece.shape for piece in self.pieces]
        if self.change is _transpose:
            return shapes[0][::-1]
        return shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *shapes[0][1:])


class Checkpoint:
    """A model file, or a diffusers folder, of which one weight at a time is read.

    name: of the file or folder; shapes: of every weight by its name in ComfyUI, `diffusion_model.…` or
    `text_encoders.…`; left_out: names of the tensors that are no weight of a diffusion model or text encoder, such as
    those of a VAE or of an EMA copy.
    """

    def __init__(self, path: str | Path):
        """Read the headers. path: a safetensors file, one shard, an index of shards, or a folder of diffusers.

        Raises FileNotFoundError for a file that is missing, and ValueError, with the remedy, for one that is damaged,
        cannot be read one tensor at a time, is packed in a way that only ComfyUI reads, or is no model.
        """
        path = Path(path)
        self.name = path.name
        self.left_out: list[str] = []
        components = _components(path)
        self._files = [file for files in components for file in files]
        headers = [{name: tensor for file in files for name, tensor in _header(file).items()} for files in components]
        names = [name for header in headers for name in header]
        self._refuse_other_files(names)
        self._sources: dict[str, _Source] = {}
        for header in headers:
            sources, left_out = _sources(header)
            self._sources |= sources
            self.left_out += left_out
        self._refuse_nothing(names)
        self.shapes: Mapping[str, tuple[int, ...]] = {name: source.shape for name, source in self._sources.items()}

    def read(self, name: str) -> StoredWeight:
        """One weight, as a copy. Raises KeyError for one that is not there, ValueError for NaN and infinite values."""
        source = self._sources[name]
        parts = [_read_piece(piece) for piece in source.pieces]
        value = parts[0].value if len(parts) == 1 else torch.cat([part.value for part in parts])
        variance = sum(part.variance * part.value.numel() for part in parts) / value.numel()
        return StoredWeight(value if source.change is None else source.change(value), variance)

    def fingerprint(self, on_step: Callable[[int, int], None] = lambda done, total: None) -> str:
        """The SHA-256 of the file, or of all files one after the other.

        on_step(bytes done, of all) is called now and then and may raise to cancel.
        """
        return sha256(self._files, on_step)

    @property
    def architecture(self) -> str | None:
        """The family of the diffusion model, None where there is none or it is not known."""
        found = _architecture([name.removeprefix(DENOISER) for name in _denoiser_names(self.shapes)])
        return found.name if found else None

    def _refuse_other_files(self, names: list[str]) -> None:
        kind = kind_of(names)
        if kind.is_control or is_adapter(names):
            raise ValueError(f"{self.name} is no model but {kind}. {CHOOSE}")

    def _refuse_nothing(self, names: list[str]) -> None:
        if not _denoiser_names(self._sources) and any(name.startswith("model_ema.") for name in names):
            raise ValueError(
                f"{self.name} holds only the EMA copy of a diffusion model. Use the normal or the pruned version of it."
            )
        if not self._sources:
            raise ValueError(f"{self.name} holds no model that is known here but {kind_of(names)}. {CHOOSE}")


class WeightFile:
    """A safetensors file of which one weight at a time is read under its own names, whatever it holds.

    name: of the file; shapes: of every weight, without those that are no numbers or empty.
    """

    def __init__(self, path: str | Path):
        """Read the header. Raises FileNotFoundError, or ValueError for a file that is damaged or packed."""
        path = Path(path)
        self.name, self._path = path.name, _shards(path)[0]
        header = _header(self._path)
        self.names = list(header)
        self._pieces = {
            name: _Piece(tensor, None, _scale_of(name, header), header.get(_beside(name, "comfy_quant")))
            for name, tensor in header.items()
            if not _stands_beside(name) and _is_weight(tensor, header)
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {name: piece.shape for name, piece in self._pieces.items()}

    def read(self, name: str) -> StoredWeight:
        """One weight, as a copy. Raises KeyError for one that is not there, ValueError for NaN and infinite values."""
        return _read_piece(self._pieces[name])

    def fingerprint(self, on_step: Callable[[int, int], None] = lambda done, total: None) -> str:
        """The SHA-256 of the file; see `sha256`."""
        return sha256([self._path], on_step)


def sha256(files: Sequence[Path], on_step: Callable[[int, int], None] = lambda done, total: None) -> str:
    """The SHA-256 of files, one after the other. on_step(bytes done, of all) may raise to cancel."""
    digest = hashlib.sha256()
    done, total = 0, sum(path.stat().st_size for path in files)
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                done += len(chunk)
                on_step(done, total)
    return digest.hexdigest()


def common(tuned: Checkpoint, base: Checkpoint) -> Common:
    """Which weights two models have in common, in the order of `tuned`.

    Raises ValueError for models of different architectures, and for those that have nothing or hardly anything alike.
    """
    both = [name for name in tuned.shapes if name in base.shapes]
    misfits = [name for name in both if math.prod(tuned.shapes[name]) != math.prod(base.shapes[name])]
    misfitting = set(misfits)
    shared = [name for name in both if name not in misfitting]
    _refuse_unlike(tuned, base, shared)
    return Common(
        shared,
        [name for name in tuned.shapes if name not in base.shapes],
        [name for name in base.shapes if name not in tuned.shapes],
        misfits,
    )


def _refuse_unlike(tuned: Checkpoint, base: Checkpoint, shared: list[str]) -> None:
    # A text encoder may be the same in models of different architectures: the diffusion models decide.
    counts = [len(_denoiser_names(names)) for names in (shared, tuned.shapes, base.shapes)]
    if not (counts[1] and counts[2]):
        counts = [len(shared), len(tuned.shapes), len(base.shapes)]
    alike, of_tuned, of_base = counts
    kinds = tuned.architecture, base.architecture
    different = None not in kinds and kinds[0] != kinds[1]
    if different or alike <= NEARLY_NOTHING * min(of_tuned, of_base):
        names = " against ".join(kind or "unknown" for kind in kinds)
        raise ValueError(
            f"{tuned.name} and {base.name} are different architectures or sizes: {names}. They share {alike} of {of_tuned} "
            f"and {of_base} weights. Choose two models of one kind, such as a model and what it was tuned from."
        )


def _denoiser_names(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(DENOISER)]


def _components(path: Path) -> list[list[Path]]:
    """The files of each component of a model."""
    if not path.is_dir():
        return [_shards(path)]
    folders = [path / name for name in COMPONENTS if (path / name).is_dir()]
    return [_shards(_component_file(folder)) for folder in folders or [path]]


def _component_file(folder: Path) -> Path:
    candidates = (
        file
        for pattern in COMPONENT_FILES
        for stem in COMPONENT_STEMS
        for file in sorted(folder.glob(pattern.format(stem)))
    )
    found = next(candidates, None)
    if found is not None:
        return found
    if pickles := sorted(folder.glob("*.bin")):
        raise ValueError(f"{folder.name}/{pickles[0].name} {CONVERT}")
    raise ValueError(
        f"{folder} is no folder of diffusers: it has neither {' nor '.join(COMPONENT_STEMS)} as safetensors. Choose "
        "the folder of a pipeline or of one of its models, or a file."
    )


def _shards(path: Path) -> list[Path]:
    """All files of a model, of which one shard or the index may be given."""
    if match := SHARD.fullmatch(path.name):
        stem, total = match.groups()
        files = [path.with_name(f"{stem}-{n:0{len(total)}}-of-{total}.safetensors") for n in range(1, int(total) + 1)]
    elif path.suffix == ".json" and path.is_file():
        files = [path.with_name(name) for name in _shard_names(path)]
    else:
        files = [path]
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"{', '.join(missing)} of {path.parent} does not exist. Check the name, or download the file again."
        )
    return files


def _shard_names(index: Path) -> list[str]:
    try:
        # No more than the name, so that an index cannot lead to other folders.
        return sorted({Path(name).name for name in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index.name} is no index of shards, or it is damaged. Download it again.") from error


def _header(path: Path) -> dict[str, _Tensor]:
    """The tensors of a file, which is checked to be whole."""
    from safetensors import SafetensorError, safe_open

    if remedy := UNREADABLE.get(path.suffix.lower()):
        raise ValueError(f"{path.name} {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a whole safetensors file ({error}). It is damaged, was cut short, or has the wrong "
            "extension; download or copy it again."
        ) from error
    if "convrot" in metadata.get("_quantization_metadata", ""):
        raise ValueError(f"{path.name} holds weights that are rotated before they are quantised. {AS_MODEL}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: _Tensor(path, name, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    }


def _sources(tensors: Mapping[str, _Tensor]) -> tuple[dict[str, _Source], list[str]]:
    """Where each weight of a component is found, and the names of the tensors that belong to none."""
    weights = {name: tensor for name, tensor in tensors.items() if not _stands_beside(name)}
    targets = _targets(weights)
    found: dict[str, dict[int, tuple[_Target, _Piece]]] = {}
    left_out = []
    for name, tensor in weights.items():
        if name not in targets or not _is_weight(tensor, tensors):
            left_out.append(name)
            continue
        scale = _scale_of(name, tensors)
        for target in targets[name]:
            piece = _Piece(tensor, target.third, scale, tensors.get(_beside(name, "comfy_quant")))
            found.setdefault(target.name, {})[target.part] = target, piece
    return {name: _assembled(name, parts) for name, parts in found.items()}, left_out


def _stands_beside(name: str) -> bool:
    return name.endswith(SIDE_ENDINGS) or name.rpartition(".")[2] == SIDE_MARKER


def _beside(name: str, ending: str) -> str | None:
    module, _, last = name.rpartition(".")
    return f"{module}.{ending}" if last == "weight" else None


def _scale_of(name: str, tensors: Mapping[str, _Tensor]) -> _Tensor | None:
    return next((tensors[side] for ending in SCALES if (side := _beside(name, ending)) in tensors), None)


def _is_weight(tensor: _Tensor, tensors: Mapping[str, _Tensor]) -> bool:
    """Whether a tensor that has a weight's name is one; raises ValueError for one that cannot be read."""
    if tensor.dtype in INDEX_DTYPES or tensor.name.endswith("position_ids") or 0 in tensor.shape:
        return False
    unscaled = tensor.dtype == "I8" and not any(_beside(tensor.name, ending) in tensors for ending in SCALES)
    if tensor.dtype == "U8" or tensor.dtype not in DTYPES or unscaled:
        if not tensor.name.endswith("weight"):
            return False
        raise ValueError(f"{tensor.file.name}: {tensor.name} is packed ({tensor.dtype}). {AS_MODEL}")
    return True


def _assembled(name: str, parts: Mapping[int, tuple[_Target, _Piece]]) -> _Source:
    target, piece = next(iter(parts.values()))
    if len(parts) < target.parts:
        raise ValueError(
            f"{piece.tensor.file.name} holds only {len(parts)} of the {target.parts} parts of {name}, such as "
            f"{piece.tensor.name}. Download it again, with all its shards."
        )
    return _Source([parts[index][1] for index in range(target.parts)], target.change)


def _targets(tensors: Mapping[str, _Tensor]) -> dict[str, list[_Target]]:
    """What the tensors of a component hold, by their names; those that hold nothing of a model are not in it."""
    level = "text_model." if FLAT_CLIP in tensors else ""
    targets = {name: found for name in tensors if (found := _text_targets(level + name, tensors))}
    rest = [name for name in tensors if name not in targets]
    prefix = next((prefix for prefix in DENOISER_PREFIXES if any(name.startswith(prefix) for name in rest)), "")
    bodies = {name.removeprefix(prefix): name for name in rest if name.startswith(prefix)}
    _refuse_foreign(bodies, tensors)
    for body, target in _denoiser_targets(list(bodies), known=bool(prefix)).items():
        targets[bodies[body]] = [target._replace(name=DENOISER + target.name)]
    return targets


def _text_targets(name: str, tensors: Mapping[str, _Tensor]) -> list[_Target]:
    for prefix in OPEN_CLIP_PREFIXES:
        if name.startswith(prefix):
            clip = _kind_of_clip(tensors.get(f"{prefix}ln_final.weight"), "clip_g")
            return _open_clip_targets(name.removeprefix(prefix), f"text_encoders.{clip}.transformer.")
    for theirs, ours in TEXT_BEGINNINGS:
        if name.startswith(theirs):
            norm = tensors.get("text_model.final_layer_norm.weight", tensors.get("final_layer_norm.weight"))
            ours = ours.format(_kind_of_clip(norm, "clip_l"))
            return [_Target(f"text_encoders.{ours}{name.removeprefix(theirs)}")]
    return []


def _kind_of_clip(last_norm: _Tensor | None, default: str) -> str:
    return default if last_norm is None else CLIP_WIDTHS.get(last_norm.shape[0], default)


def _open_clip_targets(name: str, prefix: str) -> list[_Target]:
    if name in OPEN_CLIP:
        return [_Target(prefix + OPEN_CLIP[name], change=_transpose if name == "text_projection" else None)]
    match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", name)
    if match is None:
        return []
    number, layer, ending = match.groups()
    block = f"{prefix}text_model.encoder.layers.{number}"
    if layer == "attn.in_proj":
        return [_Target(f"{block}.self_attn.{part}.{ending}", third=n) for n, part in enumerate(QKV_PROJECTIONS)]
    return [_Target(f"{block}.{OPEN_CLIP_LAYERS[layer]}.{ending}")] if layer in OPEN_CLIP_LAYERS else []


def _refuse_foreign(bodies: Mapping[str, str], tensors: Mapping[str, _Tensor]) -> None:
    for body, name in bodies.items():
        for mark, kind in FOREIGN.items():
            if body.startswith(mark):
                raise ValueError(
                    f"{tensors[name].file.name} is {kind}, whose names are not ComfyUI's. Use the version for ComfyUI."
                )


def _denoiser_targets(names: list[str], known: bool) -> dict[str, _Target]:
    """What the tensors of a diffusion model hold. known: whether that is what they are; otherwise the names tell."""
    architecture = _architecture(names)
    if architecture:
        targets = {name: target for name in names if (target := _target(architecture, name))}
        if any(target.name != name for name, target in targets.items()):
            return _with_halves_swapped(targets) if architecture.name == SD3 else targets
    if known or architecture or any(name.startswith(BARE_BEGINNINGS) for name in names):
        return {name: _Target(name) for name in names}
    return {}


def _architecture(names: list[str]) -> Architecture | None:
    """The architecture that knows most of these names of tensors; None where no one knows the better part."""
    hits = {each: sum(_target(each, name) is not None for name in names) for each in ARCHITECTURES}
    best = max(hits, key=hits.__getitem__)
    return best if names and hits[best] >= MOSTLY * len(names) else None


def _target(architecture: Architecture, name: str) -> _Target | None:
    """What a tensor under ComfyUI's or diffusers' name holds."""
    module, _, ending = name.rpartition(".")
    place = architecture.places.get(flat(module))
    if place is None:
        rules = DIFFUSERS_NAMES.get(architecture.name, ())
        renamed = (re.sub(f"^{theirs}", ours, name) for theirs, ours in rules if re.match(theirs, name))
        return next((_Target(new) for new in renamed), None)
    weight, part = place
    if part is None:
        return _Target(name)
    if ending == "weight" and weight.comfy.endswith(SCALE_NORMS):
        ending = "scale"
    return _Target(f"{weight.comfy}.{ending}", part, len(weight.parts), change=_swap_halves if weight.swapped else None)


def _with_halves_swapped(targets: dict[str, _Target]) -> dict[str, _Target]:
    """Stable Diffusion 3 has shift and scale the other way round in its last norms, as the last block has."""
    numbers = [int(match[1]) for name in targets if (match := re.match(r"transformer_blocks\.(\d+)\.", name))]
    swapped = ("norm_out.linear.", f"transformer_blocks.{max(numbers, default=0)}.norm1_context.linear.")
    return {
        name: target._replace(change=_swap_halves) if name.startswith(swapped) else target
        for name, target in targets.items()
    }


def _swap_halves(value: Tensor) -> Tensor:
    return torch.cat(value.chunk(2)[::-1])


def _transpose(value: Tensor) -> Tensor:
    return value.T.contiguous()


def _load(tensor: _Tensor) -> Tensor:
    """A tensor mapped into memory: safe_open would parse the whole header again for each."""
    dtype = DTYPES[tensor.dtype]
    size = math.prod(tensor.shape) * dtype.itemsize
    try:
        mapped = np.memmap(tensor.file, np.uint8, mode="c", offset=tensor.start, shape=(size,))
    except (OSError, ValueError) as error:
        raise ValueError(f"{tensor.file.name} has changed while it was read ({error}). Run the node again.") from error
    return torch.from_numpy(mapped).view(dtype).view(tensor.shape)


def _read_piece(piece: _Piece) -> StoredWeight:
    tensor = piece.tensor
    raw = _load(tensor)
    if piece.third is not None:
        raw = raw.chunk(3)[piece.third]
    value = raw.to(torch.float32, copy=True)
    kind = torch.float32 if raw.dtype == torch.float64 else raw.dtype
    if piece.scale is None:
        variance = rounding_variance(raw, kind)
    else:
        scale = _scale(piece)
        value.mul_(scale.view(-1, *[1] * (value.ndim - 1)))
        groups = raw if len(scale) > 1 else [raw]
        variances = [rounding_variance(group, kind) * factor**2 for group, factor in zip(groups, scale.tolist())]
        variance = sum(variances) / len(variances)
    if not torch.isfinite(value).all():
        raise ValueError(
            f"{tensor.file.name}: {tensor.name} holds NaN or infinite values. Use another copy of the file."
        )
    return StoredWeight(value, variance)


def _scale(piece: _Piece) -> Tensor:
    """The scale of a quantised weight [1], or those of its rows [m]."""
    tensor, shape = piece.tensor, piece.scale.shape
    fits = math.prod(shape) == 1 or (shape[:1] == tensor.shape[:1] and math.prod(shape) == shape[0])
    if piece.scale.dtype not in SCALE_DTYPES or not fits or not _is_plain(piece.settings):
        raise ValueError(f"{tensor.file.name}: {tensor.name} is quantised in blocks or rotated. {AS_MODEL}")
    return _load(piece.scale).flatten().float()


def _is_plain(settings: _Tensor | None) -> bool:
    """Whether ComfyUI's settings of a quantised weight, where it has any, ask for no more than a scale."""
    if settings is None:
        return True
    content = json.loads(bytes(_load(settings).tolist()))
    return content.get("format") in SCALED_FORMATS and not content.get("convrot")
