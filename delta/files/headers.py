"""Which files a model has, and their headers, read without the weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ..progress import Step
from .file_errors import missing
from .gguf_header import read_gguf_header
from .json_text import read_json
from .safetensors_header import read_safetensors_header
from .stored_tensor import StoredTensor

COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
COMPONENT_STEMS = ("diffusion_pytorch_model", "model")
# The files of a component, full precision first.
COMPONENT_FILES = (
    *("{}.safetensors", "{}.safetensors.index.json", "{}.*.safetensors", "{}.safetensors.index.*.json"),
    "{}-*-of-*.safetensors",
)
SHARD = re.compile(r"(.+)-\d+-of-(\d+)(\.safetensors|\.gguf)", re.IGNORECASE)

AS_MODEL = "Load it in ComfyUI and extract from the MODEL, which ComfyUI dequantises."
CONVERT = (
    "is a pickle, which cannot be read one tensor at a time. Convert it to safetensors, or use a safetensors version."
)
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
GGUF = ".gguf"
CHUNK = 1 << 24


def sha256(files: Sequence[Path], on_step: Step = lambda done, total: None) -> str:
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


def files_by_component(path: Path) -> list[list[Path]]:
    """The files of each component of a model."""
    if not path.is_dir():
        return [shards(path)]
    folders = [path / name for name in COMPONENTS if (path / name).is_dir()]
    return [shards(_component_file(folder)) for folder in folders or [path]]


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
        f"{folder} is not a diffusers folder: it contains neither {' nor '.join(COMPONENT_STEMS)} as safetensors. "
        "Choose the folder of a pipeline or of one of its models, or a file."
    )


def shards(path: Path) -> list[Path]:
    """All files of a model, of which one shard or the index may be given."""
    if match := SHARD.fullmatch(path.name):
        stem, total, ending = match.groups()
        files = [path.with_name(f"{stem}-{n:0{len(total)}}-of-{total}{ending}") for n in range(1, int(total) + 1)]
    elif path.suffix.lower() == ".json" and path.is_file():
        files = [path.with_name(name) for name in _shard_names(path)]
    else:
        files = [path]
    if lacking := [file.name for file in files if not file.is_file()]:
        raise missing(f"{', '.join(lacking)} of {path.parent}")
    return files


def _shard_names(index: Path) -> list[str]:
    try:
        # No more than the name, so that an index cannot lead to other folders.
        return sorted({Path(name).name for name in read_json(index.read_text("utf-8"))["weight_map"].values()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index.name} is not a shard index, or it is damaged. Download it again.") from error


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, which is checked to be whole."""
    if path.suffix.lower() in PICKLES:
        raise ValueError(f"{path.name} {CONVERT}")
    if path.suffix.lower() == GGUF:
        return read_gguf_header(path)
    header = read_safetensors_header(path)
    if "convrot" in header.metadata.get("_quantization_metadata", ""):
        raise ValueError(f"{path.name} holds weights that are rotated before they are quantised. {AS_MODEL}")
    return header.tensors
