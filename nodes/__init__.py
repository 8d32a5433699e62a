"""The nodes, one module per family."""

from comfy_api.latest import ComfyExtension, io

from . import (
    host,
    layer_swap,
    lora_extract,
    lora_files,
    lora_merge,
    lora_stack,
    norm_swap,
    style_library,
    style_network,
)


class StyleDeltaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_model_folders()
        loras = (lora_stack, lora_files, lora_merge, lora_extract)
        families = (style_network, *loras, norm_swap, layer_swap, style_library)
        return [node for family in families for node in family.NODES]
