"""What the host's control nets are: the blocks behind their outputs, the models they are made for, their union types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.cldm.cldm
import comfy.cldm.dit_embedder
import comfy.cldm.mmdit
import comfy.controlnet
import comfy.ldm.cascade.controlnet
import comfy.ldm.flux.controlnet
import comfy.ldm.hydit.controlnet
import comfy.ldm.qwen_image.controlnet

from ...delta.control.union import UnionFamily, flux_union, sdxl_union
from ...delta.control.weights import (
    ControlBlock,
    ControlLayout,
    ControlWeights,
    all_repeated,
    each_repeated,
    names_in_short,
)
from ...delta.control_lora.format import ControlLora, parse_control_lora
from .control_fit import Adapters, QwenFun, architecture_of_net, unet_name, width_of_text

Cascade = comfy.ldm.cascade.controlnet.ControlNet
KNOWN = "ControlNets of SD 1.x, SD 2.x, SDXL, SD3, SD3.5, Flux, Qwen-Image and HunyuanDiT, Control-LoRAs, T2I-Adapters, Cascade"


def control_lora_of(net: Any) -> ControlLora:
    """The tensors of a CONTROL_NET that is a Control-LoRA. Raises ValueError for another kind."""
    if not isinstance(net, comfy.controlnet.ControlLora):
        raise ValueError(
            f"The connected net is not a Control-LoRA; its kind is {kind_of_net(net)}. Connect a Control-LoRA, or "
            "choose its file."
        )
    return parse_control_lora("the connected Control-LoRA", net.control_weights)


def kind_of_net(net: Any) -> str:
    """A CONTROL_NET in a few words."""
    try:
        return layout_of(net).net
    except ValueError:
        return _class_of(net)


def block_factors(net: Any | None, weights: ControlWeights) -> dict[str, float]:
    """The factor of every block of a CONTROL_NET. Raises ValueError without one, and for rules that do not fit it."""
    if net is None:
        raise ValueError(
            "Weights are connected without a control net. Connect control_net too, so that its blocks are known."
        )
    return weights.resolve(layout_of(net))


def describe_net(net: Any) -> str:
    """What a CONTROL_NET is: its kind, the model it is for, its blocks, its union types, and whether it needs a VAE."""
    try:
        layout = layout_of(net)
    except ValueError:
        return f"{_class_of(net)}; its blocks are unknown, so block weights do not work"
    lines = []
    if architecture := architecture_of_net(net):
        lines.append(f"for {architecture}")
    lines.append(f"{len(layout.blocks)} blocks: {', '.join(names_in_short([block.name for block in layout.blocks]))}")
    if family := union_family(net):
        lines.append(f"union types: {', '.join(family.numbers)}")
    if net.latent_format is not None:
        lines.append("needs the VAE of the model")
    if net.concat_mask:
        lines.append("made for inpainting: apply it with ControlNetInpaintingAliMamaApply")
    return "\n".join([layout.net, *lines])


def union_family(net: Any) -> UnionFamily | None:
    """The family of a union CONTROL_NET, None for other nets."""
    model = getattr(net, "control_model", None)
    if getattr(model, "control_add_embedding", None) is not None:
        return sdxl_union(model.num_control_type)
    modes = getattr(model, "num_union_modes", 0)
    return flux_union(modes) if modes else None


def with_union_type(net: Any, numbers: list[int]) -> Any:
    """A copy of a union CONTROL_NET that is told the numbers of its control types."""
    copied = net.copy()
    copied.set_extra_arg("control_type", numbers)
    return copied


def layout_of(net: Any) -> ControlLayout:
    """The blocks of a CONTROL_NET. Raises ValueError for a kind that is not known: its weights would be guesses."""
    if isinstance(net, comfy.controlnet.ControlLora):
        weights = net.control_weights
        count = sum(name.startswith("zero_convs.") and name.endswith(".0.weight") for name in weights)
        return _unet_layout(f"{unet_name(width_of_text(weights))} Control-LoRA", count)
    model = getattr(net, "control_model", None)
    if isinstance(model, comfy.cldm.cldm.ControlNet):
        return _unet_layout(architecture_of_net(net).name + " ControlNet", len(model.zero_convs))
    if isinstance(model, comfy.ldm.flux.controlnet.ControlNetFlux):
        return _flux_layout(model)
    if isinstance(model, comfy.cldm.mmdit.ControlNet):
        count = len(model.joint_blocks)
        each = model.depth // count
        # The model's last block has no output to add to.
        return _tokens_layout("SD3 ControlNet", "output", "joint", "joint_blocks", count, each, count * each - 1)
    if isinstance(model, comfy.cldm.dit_embedder.ControlNetEmbedder):
        count = len(model.transformer_blocks)
        each = math.ceil(model.main_model_double / count)
        return _tokens_layout(
            "SD3.5 ControlNet", "output", "transformer", "transformer_blocks", count, each, each * count
        )
    if isinstance(model, QwenFun):
        return _qwen_fun_layout(model)
    if isinstance(model, comfy.ldm.qwen_image.controlnet.QwenImageControlNetModel):
        count = len(model.transformer_blocks)
        each, most = math.ceil(model.main_model_double / count), model.main_model_double
        return _tokens_layout("Qwen-Image ControlNet", "input", "transformer", "transformer_blocks", count, each, most)
    if isinstance(model, comfy.ldm.hydit.controlnet.HunYuanControlNet):
        count = len(model.after_proj_list)
        return _tokens_layout("HunyuanDiT ControlNet", "output", "block", "blocks", count, 1, count)
    adapter = getattr(net, "t2i_model", None)
    if isinstance(adapter, Adapters):
        return _adapter_layout(adapter)
    if isinstance(adapter, Cascade):
        blocks = [
            ControlBlock(f"projection.{i}", f"projections.{i}", f"block {place}")
            for i, place in enumerate(adapter.proj_blocks)
        ]
        return ControlLayout(
            "Stable Cascade ControlNet", tuple(blocks), {"input": tuple(b.name for b in reversed(blocks))}
        )
    raise ValueError(
        f"Block weights are not supported for a {_class_of(net)}. They work for {KNOWN}. Disconnect the weights to "
        "use this net."
    )


def _class_of(net: Any) -> str:
    inner = getattr(net, "control_model", None) or getattr(net, "t2i_model", None)
    return type(net).__name__ + (f" with {type(inner).__name__}" if inner is not None else "")


def _unet_layout(net: str, zero_convs: int) -> ControlLayout:
    blocks = [ControlBlock(f"input.{i}", f"zero_convs.{i}", f"skip of input block {i}") for i in range(zero_convs)]
    blocks.append(ControlBlock("middle", "middle_block_out", "middle block"))
    names = tuple(block.name for block in blocks)
    return ControlLayout(net, tuple(blocks), {"output": names[:-1], "middle": names[-1:]})


def _tokens_layout(net: str, slot: str, kind: str, module: str, count: int, each: int, most: int) -> ControlLayout:
    """Blocks whose output goes to `each` neighbours among the `most` blocks of the model."""
    names = [f"{kind}.{i}" for i in range(count)]
    slots = each_repeated(names, each, most)
    return ControlLayout(net, _blocks_of_slots(names, module, slots), {slot: slots})


def _blocks_of_slots(
    names: Sequence[str], module: str, slots: Sequence[str], kind: str = ""
) -> tuple[ControlBlock, ...]:
    """Blocks with the places at which their output is added to the model."""
    places: dict[str, list[int]] = {name: [] for name in names}
    for place, name in enumerate(slots):
        places[name].append(place)
    return tuple(
        ControlBlock(name, f"{module}.{i}", f"{kind}block {_places(places[name])}") for i, name in enumerate(names)
    )


def _places(places: list[int]) -> str:
    """Neighbours as a range, others as a list, as far as there is room."""
    if not places:
        return "none"
    if places == list(range(places[0], places[-1] + 1)):
        return f"{places[0]}" if len(places) == 1 else f"{places[0]} to {places[-1]}"
    return ", ".join(map(str, places[:4])) + (" ..." if len(places) > 4 else "")


def _flux_layout(model: Any) -> ControlLayout:
    """Nets that encode the hint with the VAE (InstantX, Shakker) repeat each output; XLabs's and Mistoline take turns."""
    repeated = each_repeated if model.latent_input else all_repeated
    blocks, slots = [], {}
    for slot, kind, count, total in (
        ("input", "double", len(model.controlnet_blocks), model.main_model_double),
        ("output", "single", len(model.controlnet_single_blocks), model.main_model_single),
    ):
        if count:
            names = [f"{kind}.{i}" for i in range(count)]
            slots[slot] = repeated(names, math.ceil(total / count), total)
            blocks += _blocks_of_slots(names, f"{kind}_blocks", slots[slot], f"{kind} ")
    return ControlLayout("Flux ControlNet", tuple(blocks), slots)


def _qwen_fun_layout(model: Any) -> ControlLayout:
    blocks = tuple(
        ControlBlock(f"control.{i}", f"control_blocks.{i}", f"block {place}")
        for i, place in enumerate(model.injection_layers)
    )
    return ControlLayout("Qwen-Image Fun ControlNet", blocks, {"input": tuple(block.name for block in blocks)})


def _adapter_layout(adapter: Any) -> ControlLayout:
    """Four levels from fine to coarse; the host hands them on coarsest first, and SDXL's coarsest to the middle."""
    levels = len(adapter.channels)
    each = len(adapter.body) // levels
    names = [f"level.{i}" for i in range(levels)]
    modules = [f"body.{i * each}" + (f" to body.{(i + 1) * each - 1}" if each > 1 else "") for i in range(levels)]
    targets = [f"encoder level {i}" for i in range(levels)]
    deepest = names[::-1]
    slots = {"input": tuple(deepest)}
    if adapter.xl:
        slots, targets[-1] = {"input": tuple(deepest[1:]), "middle": tuple(deepest[:1])}, "middle block"
    blocks = tuple(map(ControlBlock, names, modules, targets))
    return ControlLayout("SDXL T2I-Adapter" if adapter.xl else "SD 1.x T2I-Adapter", blocks, slots)
