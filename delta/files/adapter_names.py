"""What a state dict is, told from the names of its tensors: for errors that help."""

from __future__ import annotations

from collections.abc import Iterable

ADAPTER_MARKS = (
    ".lora_up.",
    ".lora_down.",
    ".lora_A",
    ".lora_B",
    "_lora.up.",
    ".lora.up.",
    ".lora_linear_layer.",
    ".hada_w1_a",
    ".lokr_w",
    ".oft_blocks",
    ".oft_diag",
    ".a1.weight",
)
ADAPTER_ENDINGS = (".diff", ".diff_b", ".w_norm", ".b_norm", ".set_weight")
TEXT_ENCODER_PREFIXES = ("lora_te", "text_encoder", "te1.", "te2.", "lora_prior_te")

# (a part of a name that only this architecture has, the architecture), most telling first.
ARCHITECTURE_MARKS = (
    ("single_transformer_blocks", "Flux"),
    ("double_blocks", "Flux or HunyuanVideo"),
    ("single_blocks", "Flux or HunyuanVideo"),
    ("joint_blocks", "Stable Diffusion 3"),
    ("noise_refiner", "Lumina 2 or Z-Image"),
    ("context_refiner", "Lumina 2 or Z-Image"),
    ("cross_attn_k_img", "Wan image-to-video"),
    ("blocks_0_self_attn", "Wan"),
    ("blocks.0.self_attn", "Wan"),
    ("lora_te2_", "SDXL"),
    ("text_encoder_2", "SDXL"),
    ("input_blocks_8_1_transformer_blocks_9", "SDXL"),
    ("down_blocks_2_attentions_1_transformer_blocks_9", "SDXL"),
    ("down_blocks.2.attentions.1.transformer_blocks.9", "SDXL"),
    ("input_blocks", "SDXL or Stable Diffusion 1.5/2"),
    ("down_blocks", "Stable Diffusion 1.5/2 or SDXL"),
    ("transformer_blocks", "Qwen-Image, LTX or another transformer"),
    ("img_mod", "Qwen-Image"),
)


def is_adapter(names: Iterable[str]) -> bool:
    """Whether any name is one of a LoRA or another adapter."""
    return any(name.endswith(ADAPTER_ENDINGS) or any(mark in name for mark in ADAPTER_MARKS) for name in names)


def is_text_encoder_name(name: str) -> bool:
    """Whether a LoRA tensor belongs to a text encoder."""
    return name.startswith(TEXT_ENCODER_PREFIXES)


def naming(names: Iterable[str]) -> str:
    """The naming convention of an adapter file, and the architecture that its names point to."""
    names = list(names)
    if any(name.startswith("lora_unet_") for name in names):
        convention = "kohya names (lora_unet_...)"
    elif any(name.startswith("lycoris_") for name in names):
        convention = "LyCORIS names (lycoris_...)"
    elif any(name.startswith("diffusion_model.") for name in names):
        convention = "ComfyUI names (diffusion_model....)"
    elif any(".lora_A" in name or ".lora_B" in name for name in names):
        convention = "diffusers/PEFT names (....lora_A)"
    else:
        convention = f"names such as {names[0]}" if names else "no tensors"
    # The second text encoder tells SDXL; the other names of text encoders tell nothing.
    telling = [name for name in names if not is_text_encoder_name(name) or "te2_" in name or "encoder_2" in name]
    architecture = next((label for mark, label in ARCHITECTURE_MARKS if any(mark in name for name in telling)), None)
    return f"{convention}, as for {architecture}" if architecture else convention
