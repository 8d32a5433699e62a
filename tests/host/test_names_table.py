"""The table of docs/LIMITS.md against this host: it reads no fewer names than the table says."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def names(host) -> ModuleType:
    """The pack's module that asks the host about names."""
    return next(module for name, module in sys.modules.items() if name.endswith(".nodes.host.names"))


@pytest.fixture(scope="module")
def families(names) -> list[Any]:
    """The records whose layers this host's models have."""
    registry = sys.modules[names.families_of_layers.__module__]
    return [family for family in registry.families() if family.weights and names._family_names(family.name)]


def read(names: ModuleType, family: Any, beginning: str, paths: list[str]) -> list[str]:
    """Those of the paths, of any block, whose names the host reads behind a beginning."""
    key_map = names._family_names(family.name).key_map
    flat = beginning.endswith("_")
    found = []
    for path in paths:
        bodies = family.in_blocks(path.replace("#", "0"), names.BLOCKS)
        written = (beginning + (body.replace(".", "_") if flat else body) for body in bodies)
        if any(name in key_map for name in written):
            found.append(path)
    return found


def test_own_and_kohya_names_of_every_family_are_read(names, families):
    assert len(families) > 15
    differ = {}
    for family in families:
        paths = [weight.comfy for weight in family.weights if not family.is_bare(weight.comfy.replace("#", "0"))]
        own, kohya = (set(read(names, family, beginning, paths)) for beginning in ("diffusion_model.", "lora_unet_"))
        assert own, family.name
        if own != kohya:
            differ[family.name] = own ^ kohya
    assert not differ


def test_diffusers_names_are_read_where_the_table_says(names, families):
    for family in families:
        parts = [part for weight in family.weights for part in weight.parts]
        beginning = family.diffusers_prefix or "transformer."
        found = read(names, family, beginning, parts)
        if family.diffusers_prefix is None:
            assert len(found) < len(parts) or not parts, family.name
        else:
            assert found, family.name
