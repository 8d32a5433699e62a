"""The table of small models against the host: whether it is complete, and whether every layout is built."""

import pytest

from . import layouts

PREFIX = "diffusion_model."
SMALL = [layout for layout in layouts.TABLE if layout.only_meta is None]


def by_name(layout: layouts.Layout) -> str:
    return layout.name


def skip_where_missing(layout: layouts.Layout) -> None:
    if not layouts.has(layout):
        assert layout.since, f"This host has no {layout.class_name} for {layout.name}, or none with {layout.needs}."
        pytest.skip(layout.since)


def test_no_name_is_there_twice():
    assert len(layouts.LAYOUTS) == len(layouts.TABLE)


def test_every_model_class_of_the_host_is_in_the_table(host):
    from comfy import supported_models
    from comfyui_version import __version__

    classes = {model.__name__ for model in supported_models.models}
    unknown = classes - {layout.class_name for layout in layouts.TABLE} - layouts.NOT_BUILT.keys()
    assert not unknown, (
        f"ComfyUI {__version__} has classes of models that tests/host/layouts.py does not know: "
        f"{', '.join(sorted(unknown))}. Give each a small configuration in TABLE, or a reason in NOT_BUILT."
    )
    listed = {layout.class_name for layout in layouts.available()}
    assert listed <= classes, f"ComfyUI {__version__} no longer lists {', '.join(sorted(listed - classes))}."
    assert not layouts.NOT_BUILT.keys() & {layout.class_name for layout in layouts.TABLE}


# The host makes tensors of tensors for its upscaler.
@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning", "ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("layout", layouts.TABLE, ids=by_name)
def test_every_layout_is_built_without_memory_for_its_weights(host, layout):
    skip_where_missing(layout)
    weights = dict(layouts.meta(layout).diffusion_model.named_parameters())
    assert weights
    assert all(weight.is_meta for weight in weights.values())


@pytest.mark.parametrize("layout", SMALL, ids=by_name)
def test_every_weight_of_a_small_model_is_in_the_hosts_key_map(host, layout):
    import comfy.lora

    skip_where_missing(layout)
    patcher = layouts.build(layout, description=layouts.describe(layout, channels=32))
    names = comfy.lora.model_lora_keys_unet(patcher.model, {})
    for name, weight in patcher.model.diffusion_model.named_parameters():
        assert names[PREFIX + name.removesuffix(".weight")] == PREFIX + name
        assert weight.isfinite().all(), name
    size = sum(weight.numel() for weight in patcher.model.diffusion_model.parameters())
    # The U-Nets are the largest.
    assert size < (16e6 if "num_res_blocks" in layout.config else 6e6)


def test_the_numbers_of_a_model_depend_on_the_seed_alone(host):
    layout = layouts.LAYOUTS["sd3"]
    first, again, other = (dict(layouts.build(layout, seed=seed).model.named_parameters()) for seed in (0, 0, 1))
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not any(weight.equal(other[name]) for name, weight in first.items())


def test_a_layout_that_needs_an_unknown_field_is_not_available(host):
    import dataclasses

    layout = layouts.LAYOUTS["flux"]
    assert layouts.has(layout)
    assert not layouts.has(dataclasses.replace(layout, needs=("no_such_field",)))
    assert not layouts.has(dataclasses.replace(layout, class_name="NoSuchClass"))
