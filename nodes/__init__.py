"""The nodes, one module per family."""

from comfy_api.latest import ComfyExtension, io

from . import host, lora_extract, lora_files, lora_merge, lora_stack, style_fit, style_network


class StyleDeltaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_model_folders()
        families = (style_network, lora_stack, lora_files, lora_merge, lora_extract, style_fit)
        return [node for family in families for node in family.NODES]
