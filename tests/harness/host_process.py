"""ComfyUI inside this process, with the pack loaded by the host's own loader."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

from launch_host import has_gpu, prepare_torchvision

PACK_NAME = "ComfyUI-StyleDelta"


class Host:
    """ComfyUI inside this process."""

    def __init__(self, nodes: ModuleType):
        self.nodes = nodes

    def node(self, node_id: str) -> type:
        """Return a node's class, of the pack or of ComfyUI; raise KeyError for an unknown id."""
        return self.nodes.NODE_CLASS_MAPPINGS[node_id]


def start(host_dir: Path, base_dir: Path) -> Host:
    """Start ComfyUI with its extra nodes and the pack; raise RuntimeError when its loader refuses the pack."""
    arguments = ["main.py", "--base-directory", str(base_dir)]
    if not has_gpu():
        arguments.append("--cpu")
        prepare_torchvision()
    sys.path.insert(0, str(host_dir))
    with mock.patch.object(sys, "argv", arguments):
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401

    # First, as in ComfyUI's main.py: importing nodes puts comfy/, which has another utils, in front on sys.path.
    import utils.extra_config  # noqa: F401

    import nodes

    asyncio.run(_load(nodes, base_dir / "custom_nodes" / PACK_NAME))
    return Host(nodes)


async def _load(nodes: ModuleType, pack: Path) -> None:
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    if not await nodes.load_custom_node(str(pack), set(nodes.NODE_CLASS_MAPPINGS), module_parent="custom_nodes"):
        raise RuntimeError("ComfyUI could not load the pack; its reason is in the captured log.")
