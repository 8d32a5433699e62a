"""The nodes, one module per family."""

from comfy_api.latest import ComfyExtension, io

from . import (
    adain,
    control_lora,
    control_stack,
    controlnet,
    hints,
    layer_swap,
    lora_extract,
    lora_files,
    lora_merge,
    lora_names,
    lora_stack,
    model_patch,
    norm_extract,
    norm_swap,
    norm_training,
    optimise_style,
    pose,
    pose_change,
    reference_adain,
    save_model,
    seg_painter,
    style_fit,
    style_library,
    style_network,
    style_network_training,
    style_palette,
    style_transfer,
    stylize,
)
from .aliases import with_aliases
from .errors import with_safe_errors
from .host import folders, lora_routes, palette

STYLE_NETWORKS = (
    style_network,
    stylize,
    style_palette,
    style_fit,
    style_network_training,
    style_transfer,
    optimise_style,
)
LORAS = (lora_stack, lora_files, lora_names, lora_merge, lora_extract, save_model)
NORMS = (norm_extract, norm_swap, norm_training, layer_swap, style_library)
STATISTICS = (adain, reference_adain)
CONTROLS = (controlnet, control_stack, control_lora, model_patch)
HINTS = (hints, seg_painter, pose, pose_change)


class StyleDeltaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register_model_folders()
        palette.register_routes()
        lora_routes.register_routes()
        families = (*STYLE_NETWORKS, *LORAS, *NORMS, *STATISTICS, *CONTROLS, *HINTS)
        return [with_aliases(with_safe_errors(node)) for family in families for node in family.NODES]
