"""ControlNet files loaded by the host, and refused where they are something else or lack weights."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.controlnet
import comfyui_version
import torch

from ...delta.files.file_kinds import check_control_file
from ...delta.files.tensor_files import tensor_names
from . import folders
from .control_nets import describe_net

OTHER_NETS = "Try a newer ComfyUI; nets of other projects, such as ControlNet-XS, need their own node pack."
# What the host's loaders raise for a net that they do not know.
LOAD_ERRORS = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)


def load_net(name: str) -> tuple[Any, str]:
    """A file in models/controlnet as a CONTROL_NET, and what it is in words.

    Raises FileNotFoundError, or ValueError that says what the file is, and which node wants it, when it is no ControlNet.
    """
    return load_net_file(folders.file_path(folders.CONTROL_NETS, name), name)


def load_net_file(path: str, name: str = "") -> tuple[Any, str]:
    """The same of a file anywhere; name: what to call it."""
    name = name or os.path.basename(path)
    kind = check_control_file(name, tensor_names(path), comfyui_version.__version__)
    try:
        with _missing_weights() as missing:
            net = comfy.controlnet.load_controlnet(path)
    except LOAD_ERRORS as error:
        raise ValueError(
            f"{name} looks like {kind.what}, but ComfyUI cannot load it: {in_short(error)}. {OTHER_NETS}"
        ) from error
    if net is None:
        raise ValueError(f"{name} looks like {kind.what}, but ComfyUI cannot load it. {OTHER_NETS}")
    if missing:
        raise ValueError(
            f"{name} looks like {kind.what}, but the file lacks {len(missing)} weights that ComfyUI needs for it, "
            f"such as {missing[0]}. Download it again; if it is whole, it is for a newer ComfyUI or another node "
            "pack."
        )
    return net, describe_net(net)


def in_short(error: Exception) -> str:
    """The beginning of what a loader says: torch lists every tensor of a net that does not fit."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """The names of the parameters that the host finds in no file while this thread loads.

    The host only writes them to its log, and they hold whatever was in the memory.
    """
    missing: list[str] = []
    load, thread = torch.nn.Module.load_state_dict, threading.get_ident()

    def recorded(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        found = load(module, *args, **kwargs)
        if threading.get_ident() == thread:
            parameters = {name for name, _ in module.named_parameters()}
            missing.extend(name for name in found.missing_keys if name in parameters)
        return found

    torch.nn.Module.load_state_dict = recorded
    try:
        yield missing
    finally:
        torch.nn.Module.load_state_dict = load
