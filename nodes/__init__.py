"""The nodes, one module per family."""

from comfy_api.latest import ComfyExtension, io

from . import host, lora_files, lora_merge, lora_stack, style_network


class StyleDeltaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_model_folders()
        return [*style_network.NODES, *lora_stack.NODES, *lora_files.NODES, *lora_merge.NODES]
