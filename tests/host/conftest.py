import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).resolve().parents[1] / "harness"
CHECKPOINT = "styledelta_demo_sd15.safetensors"
sys.path.insert(0, str(HARNESS))

from host_process import Host, start
from server_fixtures import base_dir, host_dir, server


@pytest.fixture(scope="session")
def host(host_dir: Path, base_dir: Path) -> Host:
    """ComfyUI in this process; see Host."""
    return start(host_dir, base_dir)


@pytest.fixture(scope="module")
def checkpoint(host: Host) -> tuple:
    """The MODEL and CLIP of the demo's checkpoint."""
    model, clip, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    return model, clip
