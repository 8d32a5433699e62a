"""What a file of tensors is and which node wants it, told from the names of its tensors: for errors that help."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .adapter_names import is_adapter, naming

LOAD_CONTROL = "load it with Load ControlNet Model"
LOAD_PATCH = (
    "put it in models/model_patches and load it with ModelPatchLoader, Load Model Patch in newer versions of ComfyUI"
)


class FileKind(NamedTuple):
    """what: a file of this kind in a few words; use: what to do with it; is_control: whether it gives a CONTROL_NET."""

    what: str
    use: str = ""
    is_control: bool = False

    def __str__(self) -> str:
        return f"{self.what} ({self.use})" if self.use else self.what


class _Mark(NamedTuple):
    """Names that only files of one kind have: whole ones, beginnings, and parts."""

    kind: FileKind
    names: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def is_in(self, names: list[str]) -> bool:
        return any(
            name in self.names
            or (self.starts and name.startswith(self.starts))
            or any(part in name for part in self.parts)
            for name in names
        )


# Most telling first: model patches have names of ControlNets, and those have names of diffusion models.
BEFORE_ADAPTERS = (
    _Mark(
        FileKind("an Anima LLLite, which is a model patch", LOAD_PATCH), starts=("lllite_conditioning1.", "lllite_dit_")
    ),
    _Mark(
        FileKind("a ControlNet-LLLite", "it needs the node pack ControlNet-LLLite-ComfyUI by kohya"),
        starts=("lllite_",),
    ),
    _Mark(FileKind("a Control-LoRA", LOAD_CONTROL, True), names=("lora_controlnet",)),
    # Those for faces hold LoRAs too.
    _Mark(
        FileKind("an IP-Adapter", "it needs a node pack for IP-Adapters"),
        names=("ip_adapter", "image_proj"),
        starts=("ip_adapter.", "image_proj.", "ip_adapter_proj_model."),
    ),
)
MARKS = (
    _Mark(
        FileKind("a Qwen-Image DiffSynth ControlNet, which is a model patch", LOAD_PATCH),
        names=("controlnet_blocks.0.y_rms.weight",),
    ),
    _Mark(
        FileKind("a Z-Image Fun ControlNet, which is a model patch", LOAD_PATCH),
        names=("control_all_x_embedder.2-1.weight",),
    ),
    _Mark(
        FileKind("a Wan Uni3C ControlNet, which is a model patch", LOAD_PATCH),
        names=("controlnet_patch_embedding.weight",),
    ),
    _Mark(FileKind("a USO style projector, which is a model patch", LOAD_PATCH), starts=("feature_embedder.",)),
    _Mark(FileKind("a SUPIR model, which is a model patch", LOAD_PATCH), parts=("project_modules.",)),
    _Mark(
        FileKind(
            "the difference of a ControlNet from its base model",
            "load it with DiffControlNetLoader, Load ControlNet Model (diff), and connect the base model",
        ),
        names=("difference",),
    ),
    _Mark(
        FileKind("a SparseCtrl for AnimateDiff", "it needs the node pack Advanced-ControlNet"),
        parts=("motion_modules.",),
    ),
    _Mark(
        FileKind("a ControlNet for Stable Video Diffusion", "it needs the node pack Advanced-ControlNet"),
        parts=(".spatial_res_block.", ".temporal_res_block."),
    ),
    _Mark(
        FileKind("a union ControlNet", f"{LOAD_CONTROL}, then choose its type with Union Type", True),
        names=("task_embedding", "controlnet_mode_embedder.weight"),
        starts=("control_add_embedding.",),
    ),
    _Mark(
        FileKind("a ControlNet", LOAD_CONTROL, True),
        names=("after_proj_list.18.bias", "control_img_in.weight"),
        starts=("control_model.", "zero_convs.", "input_hint_block.", "controlnet_"),
    ),
    _Mark(
        FileKind("a T2I-Adapter", LOAD_CONTROL, True),
        names=("body.0.in_conv.weight", "body.0.block2.weight", "adapter.body.0.resnets.0.block1.weight"),
    ),
    _Mark(
        FileKind("a Stable Cascade ControlNet", LOAD_CONTROL, True),
        names=("backbone.0.0.weight", "backbone.10.blocks.0.weight"),
    ),
    _Mark(FileKind("a full checkpoint", "load it with Load Checkpoint"), starts=("model.diffusion_model.",)),
    _Mark(FileKind("a VAE", "load it with Load VAE"), starts=("encoder.down.", "decoder.up.", "first_stage_model.")),
    _Mark(FileKind("an image encoder", "load it with Load CLIP Vision"), starts=("vision_model.", "visual.")),
    _Mark(FileKind("a text encoder", "load it with Load CLIP"), starts=("text_model.", "shared.", "encoder.block.")),
    _Mark(FileKind("a diffusion model", "load it with Load Diffusion Model"), parts=(".attn", "_blocks.")),
)


def kind_of(names: Iterable[str]) -> FileKind:
    """What kind of file has tensors of these names."""
    names = list(names)
    if mark := next((mark for mark in BEFORE_ADAPTERS if mark.is_in(names)), None):
        return mark.kind
    if is_adapter(names):
        return FileKind(f"a LoRA with {naming(names)}")
    if mark := next((mark for mark in MARKS if mark.is_in(names)), None):
        return mark.kind
    return FileKind(f"a file of {len(names)} tensors such as {', '.join(sorted(names)[:2])}")


def check_control_file(name: str, names: Iterable[str]) -> FileKind:
    """What a file that is to be loaded as a ControlNet is. Raises ValueError that says what to do with another kind of file."""
    kind = kind_of(names)
    if not kind.is_control:
        remedy = f"To use it: {kind.use}." if kind.use else "Choose a ControlNet, a Control-LoRA or a T2I-Adapter."
        if kind.what.startswith("a LoRA"):
            remedy = "To use it: put it in models/loras and load it with Load LoRA or Add LoRA."
        raise ValueError(f"{name} is no ControlNet but {kind.what}. {remedy}")
    return kind
