import asyncio
import sys
from pathlib import Path
from types import ModuleType

import pytest

HARNESS = Path(__file__).resolve().parents[1] / "harness"
CHECKPOINT = "styledelta_demo_sd15.safetensors"
PACK_NAME = "ComfyUI-StyleDelta"
sys.path.insert(0, str(HARNESS))

from launch_host import has_gpu, prepare_torchvision
from server_fixtures import base_dir, host_dir, server


class Host:
    """ComfyUI inside this process, with the pack loaded by the host's own loader."""

    def __init__(self, nodes: ModuleType):
        self.nodes = nodes

    def node(self, node_id: str) -> type:
        """Return a node's class, of the pack or of ComfyUI; raise KeyError for an unknown id."""
        return self.nodes.NODE_CLASS_MAPPINGS[node_id]


@pytest.fixture(scope="session")
def host(host_dir: Path, base_dir: Path) -> Host:
    """ComfyUI in this process; see Host."""
    arguments = ["main.py", "--base-directory", str(base_dir)]
    if not has_gpu():
        arguments.append("--cpu")
        prepare_torchvision()
    sys.path.insert(0, str(host_dir))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401

    # First, as in ComfyUI's main.py: importing nodes puts comfy/, which has another utils, in front on sys.path.
    import utils.extra_config  # noqa: F401

    import nodes

    asyncio.run(load(nodes, base_dir / "custom_nodes" / PACK_NAME))
    return Host(nodes)


@pytest.fixture(scope="module")
def checkpoint(host: Host) -> tuple:
    """The MODEL and CLIP of the demo's checkpoint."""
    model, clip, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    return model, clip


async def load(nodes: ModuleType, pack: Path) -> None:
    """Load ComfyUI's extra nodes and the pack; raise RuntimeError when the loader refuses the pack."""
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    if not await nodes.load_custom_node(str(pack), set(nodes.NODE_CLASS_MAPPINGS), module_parent="custom_nodes"):
        raise RuntimeError("ComfyUI could not load the pack; its reason is in the captured log.")
