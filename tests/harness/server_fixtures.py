"""Fixtures for suites that talk to a running ComfyUI: its folders and the server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer

HARNESS = Path(__file__).resolve().parent


def folder_from_env(name: str) -> Path:
    if name not in os.environ:
        pytest.exit(f"{name} is not set: run these tests by `python dev.py test`.", returncode=1)
    return Path(os.environ[name])


@pytest.fixture(scope="session")
def host_dir() -> Path:
    """The ComfyUI folder."""
    return folder_from_env("STYLEDELTA_HOST_DIR")


@pytest.fixture(scope="session")
def base_dir(worker_id: str) -> Path:
    """ComfyUI's base directory, with all models and pictures in it; one for each of the processes that run tests at a time."""
    folder = folder_from_env("STYLEDELTA_BASE_DIR")
    if worker_id != "master":
        folder = folder.with_name(f"{folder.name}-{worker_id}")
    subprocess.run([sys.executable, HARNESS / "fill_base.py", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def server(host_dir: Path, base_dir: Path) -> Iterator[ComfyServer]:
    """A running ComfyUI with the pack, and with the front end that STYLEDELTA_FRONT_END names, else its own."""
    front_end = os.environ.get("STYLEDELTA_FRONT_END")
    arguments = ["--front-end-root", front_end] if front_end else []
    with ComfyServer(host_dir, base_dir, base_dir / "test-server.log", arguments) as running:
        yield running
