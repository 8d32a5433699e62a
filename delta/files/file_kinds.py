"""What a file of tensors is and which node wants it, told from the names of its tensors: for errors that help."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .adapter_names import is_adapter, naming
from .prefixes import family_in_file

LOAD_CONTROL = "load it with Load ControlNet Model"
LOAD_PATCH = (
    "put it in models/model_patches and load it with ModelPatchLoader, Load Model Patch in newer versions of ComfyUI"
)


class Needs(NamedTuple):
    """Which versions of ComfyUI read a kind of file, in words, and the first that may; for hosts before it the words hold."""

    words: str
    first: tuple[int, ...]


class FileKind(NamedTuple):
    """what: a file of this kind in a few words; use: what to do with it; is_control: whether it gives a CONTROL_NET;
    is_addition: whether it belongs to a model and is none itself; needs: where old versions of ComfyUI do not read it."""

    what: str
    use: str = ""
    is_control: bool = False
    is_addition: bool = False
    needs: Needs | None = None

    def too_new_for(self, version: str) -> str:
        """A sentence where this version of ComfyUI, such as `0.3.75`, does not read the file; else empty."""
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        if self.needs is None or not numbers or numbers >= self.needs.first:
            return ""
        return f" That needs ComfyUI {self.needs.words}; this is {version}, so update it."

    def __str__(self) -> str:
        return f"{self.what} ({self.use})" if self.use else self.what


class _Mark(NamedTuple):
    """Names that only files of one kind have: any of whole ones, beginnings and parts, or all of `together`."""

    kind: FileKind
    names: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    together: tuple[str, ...] = ()

    def is_in(self, names: Sequence[str]) -> bool:
        return (bool(self.together) and set(self.together).issubset(names)) or any(
            name in self.names
            or (self.starts and name.startswith(self.starts))
            or any(part in name for part in self.parts)
            for name in names
        )


def _patch(what: str, needs: Needs | None = None) -> FileKind:
    return FileKind(f"{what}, which is a model patch", LOAD_PATCH, is_addition=True, needs=needs)


def _since(*version: int) -> Needs:
    return Needs(f"{'.'.join(map(str, version))} or newer", version)


def _control(what: str, use: str = LOAD_CONTROL) -> FileKind:
    return FileKind(what, use, is_control=True, is_addition=True)


def _of_other_packs(what: str, pack: str) -> FileKind:
    return FileKind(what, f"it needs {pack}", is_addition=True)


# By the release notes and sources of ComfyUI.
AFTER_0_33 = Needs("newer than 0.33.1", (0, 33, 2))
DIFFUSION_MODEL = FileKind("a diffusion model", "load it with Load Diffusion Model")


# Most telling first: model patches have names of ControlNets, and those have names of diffusion models.
BEFORE_ADAPTERS = (
    _Mark(_patch("an Anima LLLite", _since(0, 29, 0)), starts=("lllite_conditioning1.", "lllite_dit_")),
    _Mark(
        _of_other_packs("a ControlNet-LLLite", "the node pack ControlNet-LLLite-ComfyUI by kohya"), starts=("lllite_",)
    ),
    _Mark(_control("a Control-LoRA"), names=("lora_controlnet",)),
    # Those for faces hold LoRAs too.
    _Mark(
        _of_other_packs("an IP-Adapter", "a node pack for IP-Adapters"),
        names=("ip_adapter", "image_proj"),
        starts=("ip_adapter.", "image_proj.", "ip_adapter_proj_model."),
    ),
)
ADDITIONS = (
    _Mark(_patch("a Qwen-Image DiffSynth ControlNet"), names=("controlnet_blocks.0.y_rms.weight",)),
    _Mark(_patch("a Qwen-Image 2.1 Fun ControlNet", AFTER_0_33), names=("control_blocks.0.img_mlp.out.weight",)),
    _Mark(
        _patch("a MiniMax-H3 Fun ControlNet", AFTER_0_33),
        together=("control_proj_in.weight", "control_blocks.0.after_proj.weight"),
    ),
    _Mark(
        _of_other_packs("a FLUX.2 Fun ControlNet", "the node pack comfyui-flux2fun-controlnet"),
        together=("control_img_in.weight", "control_transformer_blocks.0.after_proj.weight"),
    ),
    _Mark(_patch("a Z-Image Fun ControlNet", _since(0, 4, 0)), names=("control_all_x_embedder.2-1.weight",)),
    _Mark(_patch("a Wan Uni3C ControlNet", _since(0, 29, 0)), names=("controlnet_patch_embedding.weight",)),
    _Mark(
        _patch("a Wan MultiTalk audio model", _since(0, 11, 0)),
        together=("audio_proj.proj1.weight", "blocks.0.audio_cross_attn.proj.weight"),
    ),
    _Mark(_patch("an LTX duration head"), parts=("attention_pooler.query_tokens",)),
    _Mark(_patch("a USO style projector"), starts=("feature_embedder.",)),
    _Mark(_patch("a SUPIR model", _since(0, 20, 0)), parts=("project_modules.",)),
    _Mark(
        FileKind(
            "the difference of a ControlNet from its base model",
            "load it with DiffControlNetLoader, Load ControlNet Model (diff), and connect the base model",
            is_addition=True,
        ),
        names=("difference",),
    ),
    _Mark(
        _of_other_packs("a SparseCtrl for AnimateDiff", "the node pack Advanced-ControlNet"),
        parts=("motion_modules.",),
    ),
    _Mark(
        _of_other_packs("a ControlNet for Stable Video Diffusion", "the node pack Advanced-ControlNet"),
        together=("controlnet_cond_embedding.conv_in.weight", "mid_block.resnets.0.spatial_res_block.conv1.weight"),
    ),
    _Mark(
        _control("a union ControlNet", f"{LOAD_CONTROL}, then choose its type with Union Type"),
        names=("task_embedding", "controlnet_mode_embedder.weight"),
        starts=("control_add_embedding.",),
    ),
    _Mark(
        _control("a ControlNet"),
        names=("after_proj_list.18.bias", "control_img_in.weight"),
        starts=("control_model.", "zero_convs.", "input_hint_block.", "controlnet_"),
    ),
    _Mark(
        _control("a T2I-Adapter"),
        names=("body.0.in_conv.weight", "body.0.block2.weight", "adapter.body.0.resnets.0.block1.weight"),
    ),
    _Mark(_control("a Stable Cascade ControlNet"), names=("backbone.0.0.weight", "backbone.10.blocks.0.weight")),
)
CHECKPOINT = _Mark(FileKind("a full checkpoint", "load it with Load Checkpoint"), starts=("model.diffusion_model.",))
MODELS = (
    _Mark(
        FileKind("a VAE", "load it with Load VAE"),
        names=("decoder.conv_in.weight", "decoder.conv_in.conv.weight", "decoder.conv1.weight"),
        starts=(
            "encoder.down.",
            "decoder.up.",
            "first_stage_model.",
            "taesd_",
            "encoder.down_blocks.",
            "decoder.up_blocks.",
        ),
    ),
    _Mark(FileKind("an image encoder", "load it with Load CLIP Vision"), starts=("vision_model.", "visual.")),
    _Mark(
        FileKind("a text encoder", "load it with Load CLIP"),
        names=("model.embed_tokens.weight", "embed_tokens.weight", "model.language_model.embed_tokens.weight"),
        starts=("text_model.", "shared.", "encoder.block."),
    ),
    _Mark(
        DIFFUSION_MODEL,
        starts=(
            *(
                "input_blocks.",
                "middle_block.",
                "output_blocks.",
                "blocks.",
                "layers.",
                "double_layers.",
                "single_layers.",
            ),
        ),
        parts=(".attn", "_blocks."),
    ),
)


def kind_of(names: Iterable[str]) -> FileKind:
    """What kind of file has tensors of these names."""
    names = list(names)
    if kind := _marked(BEFORE_ADAPTERS, names):
        return kind
    if is_adapter(names):
        return FileKind(f"a LoRA with {naming(names)}", is_addition=True)
    if kind := _marked((*ADDITIONS, CHECKPOINT), names):
        return kind
    # Its names may be those of other models too.
    if family_in_file(names):
        return DIFFUSION_MODEL
    return _marked(MODELS, names) or FileKind(f"a file of {len(names)} tensors such as {', '.join(sorted(names)[:2])}")


def _marked(marks: Iterable[_Mark], names: Sequence[str]) -> FileKind | None:
    return next((mark.kind for mark in marks if mark.is_in(names)), None)


def check_control_file(name: str, names: Iterable[str], version: str = "") -> FileKind:
    """What a file that is to be loaded as a ControlNet is. version: of ComfyUI.

    Raises ValueError that says what to do with another kind of file, and whether this version reads it.
    """
    kind = kind_of(names)
    if not kind.is_control:
        remedy = f"To use it: {kind.use}." if kind.use else "Choose a ControlNet, a Control-LoRA or a T2I-Adapter."
        if kind.what.startswith("a LoRA"):
            remedy = "To use it: put it in models/loras and load it with Load LoRA or Add LoRA."
        raise ValueError(f"{name} is not a ControlNet; it is {kind.what}. {remedy}{kind.too_new_for(version)}")
    return kind
