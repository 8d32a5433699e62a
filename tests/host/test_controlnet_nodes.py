"""ControlNet nodes beside the sampler's main road: files, union types, stacks, schedules, hints and masks of other shapes, and
what goes wrong."""

from __future__ import annotations

import functools
import os

import pytest
import torch
from safetensors.torch import save_file

from . import tiny_controls, tiny_models
from .tiny_controls import calls, tiny_net, tiny_vae

DEMO_NET = "styledelta_demo_controlnet.safetensors"


@functools.cache
def model(layout: str):
    return tiny_models.tiny_model(layout)


@functools.cache
def net(kind: str):
    return tiny_net(kind)


@functools.cache
def vae(kind: str):
    return tiny_vae(kind)


@pytest.fixture(scope="module", autouse=True)
def caches():
    """The models and nets of this file; the host cannot take them apart after its own end."""
    yield
    for cached in (model, net, vae):
        cached.cache_clear()


def pair(layout: str = "sd15") -> tuple[list, list]:
    return tiny_models.conditioning(layout), tiny_models.conditioning(layout, "negative")


def apply(
    host, kind: str = "sd15", strength=1.0, start=0.0, end=1.0, image=None, fit="crop", before=None, **more
) -> tuple:
    layout = tiny_controls.KINDS[kind]
    image = tiny_controls.hint(layout) if image is None else image
    arguments = {"vae": vae(kind)} | more
    node = host.node("StyleDeltaControlNetApply")
    return node.execute(*(before or pair(layout)), net(kind), image, strength, start, end, fit, **arguments).args


def outputs(kind: str, conditionings: tuple, **more) -> list[torch.Tensor]:
    """What the net gives the model in one step."""
    layout = tiny_controls.KINDS[kind]
    (call,) = calls(model(layout), layout, *conditionings, steps=1, **more)
    return [x for listed in call.control.values() for x in listed if x is not None]


def control(conditionings: tuple):
    return conditionings[0][0][1]["control"]


# Files


@pytest.fixture
def control_folder(host, tmp_path, monkeypatch):
    """A folder of ControlNet files in which a test may write."""
    import folder_paths

    folders, extensions = folder_paths.folder_names_and_paths["controlnet"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "controlnet", ([str(tmp_path), *folders], extensions))
    return tmp_path


def load(host, name: str):
    return host.node("StyleDeltaLoadControlNet").execute(name).args


def test_a_controlnet_loads_and_tells_what_it_is(host):
    loaded, report = load(host, DEMO_NET)
    assert type(loaded).__name__ == "ControlNet"
    assert report.splitlines() == [
        "SD 1.x ControlNet",
        "",
        "- for SD 1.x (text 768 wide)",
        "- 5 blocks: input.0-3, middle",
    ]


def test_a_control_lora_and_a_pickle_load(host, control_folder):
    save_file(
        tiny_controls._control_lora("sd15", 1) | {"lora_controlnet": torch.zeros(1)},
        control_folder / "small.safetensors",
    )
    assert load(host, "small.safetensors")[1].splitlines()[0] == "U-Net Control-LoRA"
    import comfy.utils
    import folder_paths

    path = folder_paths.get_full_path_or_raise("controlnet", DEMO_NET)
    torch.save(comfy.utils.load_torch_file(path, safe_load=True), control_folder / "net.pth")
    assert load(host, "net.pth")[1] == load(host, DEMO_NET)[1]


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["lora_unet_a.lora_up.weight", "lora_unet_a.lora_down.weight"], "a LoRA .* models/loras"),
        (["lllite_unet_input_blocks_4.down.0.weight"], "ControlNet-LLLite.* by kohya"),
        (["controlnet_blocks.0.y_rms.weight"], "DiffSynth ControlNet, which is a model patch.*models/model_patches"),
        (
            ["control_blocks.0.img_mlp.out.weight", "control_img_in.weight"],
            "a Qwen-Image 2.1 Fun ControlNet, which is a model patch.*models/model_patches",
        ),
        (
            ["control_proj_in.weight", "control_blocks.0.after_proj.weight"],
            "a MiniMax-H3 Fun ControlNet, which is a model patch.*models/model_patches",
        ),
        (["model.diffusion_model.out.0.weight"], "a full checkpoint.*Load Checkpoint"),
    ],
)
def test_another_kind_of_file_is_named_with_the_node_that_wants_it(host, control_folder, names, what):
    save_file({name: torch.zeros(1) for name in names}, control_folder / "wrong.safetensors")
    with pytest.raises(ValueError, match=f"wrong.safetensors is not a ControlNet; it is .*{what}"):
        load(host, "wrong.safetensors")


@pytest.mark.parametrize(
    ("tensor", "needs", "node"),
    [
        ("control_all_x_embedder.2-1.weight", "0.4.0 or newer", "ZImageFunControlnet"),
        ("controlnet_patch_embedding.weight", "0.29.0 or newer", "WanUni3CControlnetApply"),
        ("lllite_conditioning1.conv1.weight", "0.29.0 or newer", "AnimaLLLiteApply"),
        ("project_modules.0.weight", "0.20.0 or newer", "SUPIRApply"),
        ("controlnet_blocks.0.y_rms.weight", "", "QwenImageDiffsynthControlnet"),
    ],
)
def test_a_model_patch_that_this_host_cannot_read_says_which_can(host, control_folder, tensor, needs, node):
    """A host that has the node reads the file."""
    save_file({tensor: torch.zeros(1)}, control_folder / "patch.safetensors")
    with pytest.raises(ValueError, match="which is a model patch.*models/model_patches") as refusal:
        load(host, "patch.safetensors")
    is_old = node not in host.nodes.NODE_CLASS_MAPPINGS
    assert (f"That needs ComfyUI {needs}; this is" in str(refusal.value)) == is_old
    assert ("That needs" in str(refusal.value)) == is_old


def test_damaged_and_missing_files_are_named(host, control_folder):
    (control_folder / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(ValueError, match="cut.safetensors is not a complete safetensors file"):
        load(host, "cut.safetensors")
    (control_folder / "cut.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cut.pth cannot be read safely"):
        load(host, "cut.pth")
    with pytest.raises(FileNotFoundError, match="gone.safetensors is not in .*Put the file there"):
        load(host, "gone.safetensors")


def test_a_net_that_the_host_cannot_load_says_so(host, control_folder):
    save_file({"controlnet_cond_embedding.conv_in.weight": torch.zeros(1)}, control_folder / "odd.safetensors")
    with pytest.raises(ValueError, match="odd.safetensors looks like a ControlNet, but ComfyUI cannot load it"):
        load(host, "odd.safetensors")


def test_a_net_that_lacks_weights_is_refused(host, control_folder):
    """The host writes "missing controlnet keys" to its log, and takes what is in the memory for them."""
    import comfy.utils
    import folder_paths

    weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("controlnet", DEMO_NET), safe_load=True)
    for name in ("zero_convs.1.0.weight", "middle_block_out.0.bias"):
        del weights[next(key for key in weights if key.endswith(name))]
    save_file(weights, control_folder / "lacks.safetensors")
    with pytest.raises(
        ValueError,
        match="lacks.safetensors looks like a ControlNet, but the file lacks 2 weights .* zero_convs.1.0.weight",
    ):
        load(host, "lacks.safetensors")


def test_a_union_file_in_the_lora_loader_is_named(host, tmp_path, monkeypatch):
    import folder_paths

    folders, extensions = folder_paths.folder_names_and_paths["loras"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path), *folders], extensions))
    save_file(
        {"task_embedding": torch.zeros(1), "zero_convs.0.0.weight": torch.zeros(1)}, tmp_path / "union.safetensors"
    )
    with pytest.raises(ValueError, match="not a LoRA; it is a union ControlNet .load it with Load ControlNet Model"):
        host.node("StyleDeltaLoadLora").execute("union.safetensors")


# Union types


def union_net(kind: str, modes: int):
    """A union net: a true one for Flux; of SDXL's only what tells its types, since its own layers are 320 wide."""
    import comfy.controlnet
    import comfy.latent_formats

    if kind == "flux":
        network = tiny_controls._filled(tiny_controls._network("flux_instantx", num_union_modes=modes), 5)
        form = comfy.latent_formats.Flux()
        return comfy.controlnet.ControlNet(
            network,
            compression_ratio=1,
            latent_format=form,
            load_device=torch.device("cpu"),
            extra_conds=["y", "guidance"],
        )
    network = tiny_controls._network("sdxl", union_controlnet_num_control_type=modes)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def set_type(host, given, name: str):
    return host.node("StyleDeltaUnionType").execute(given, name).args[0]


def test_a_type_is_the_number_of_the_nets_own_family(host):
    flux, sdxl = union_net("flux", 10), union_net("sdxl", 8)
    for name, flux_number, sdxl_number in (("canny", 0, 3), ("depth", 2, 1), ("tile", 1, 6), ("pose", 4, 0)):
        assert set_type(host, flux, name).extra_args["control_type"] == [flux_number]
        assert set_type(host, sdxl, name).extra_args["control_type"] == [sdxl_number]
    assert set_type(host, flux, "auto").extra_args["control_type"] == [] and "control_type" not in flux.extra_args


def test_a_flux_union_net_reads_the_type_that_was_chosen(host):
    flux, results = union_net("flux", 10), {}
    for name in ("canny", "depth"):
        typed = set_type(host, flux, name)
        node = host.node("StyleDeltaControlNetApply")
        given = node.execute(
            *pair("flux"), typed, tiny_controls.hint("flux"), 1.0, 0.0, 1.0, "crop", vae=vae("flux_instantx")
        ).args
        results[name] = outputs("flux_instantx", given)
        core = host.node("SetUnionControlNetType").execute(flux, "auto").args[0]
        core.set_extra_arg("control_type", typed.extra_args["control_type"])
        expected = host.node("ControlNetApplyAdvanced")().apply_controlnet(
            *pair("flux"), core, tiny_controls.hint("flux"), 1.0, 0.0, 1.0, vae=vae("flux_instantx")
        )
        torch.testing.assert_close(results[name], outputs("flux_instantx", expected), rtol=0, atol=0)
    assert not torch.equal(results["canny"][0], results["depth"][0])


def test_types_that_a_net_does_not_have_are_refused_with_those_it_has(host):
    with pytest.raises(
        ValueError, match="Flux union ControlNet has no type `normal`. It has: auto, canny, tile, depth"
    ):
        set_type(host, union_net("flux", 10), "normal")
    with pytest.raises(ValueError, match="with 6 types has no type `tile`.*ProMax"):
        set_type(host, union_net("sdxl", 6), "tile")
    with pytest.raises(ValueError, match="has no types.*Set type to auto"):
        set_type(host, net("sd15"), "canny")


@pytest.mark.parametrize("kind", ["sd15", "flux_instantx", "qwen", "t2i", "control_lora"])
def test_auto_leaves_nets_without_types_as_they_are(host, kind):
    """Flux Union-Pro 2.0 and the Qwen-Image union net have no table of types."""
    given = net(kind)
    assert set_type(host, given, "auto") is given


# Stacks


def row(host, kind="sd15", enabled=True, strength=1.0, previous=None, **more):
    image = tiny_controls.hint("sd15")
    node = host.node("StyleDeltaControlStack")
    return node.execute(enabled, net(kind), image, strength, 0.0, 1.0, "crop", previous=previous, **more).args[0]


def apply_stack(host, stack, before=None, **more) -> tuple:
    return host.node("StyleDeltaApplyControlStack").execute(*(before or pair()), stack, **more).args


def test_a_stack_is_its_rows_one_after_the_other(host):
    mask = torch.zeros(1, 16, 16)
    mask[..., 8:] = 1
    weights = host.node("StyleDeltaControlWeights").execute(net("sd15"), "middle=0.5", 1.0, 1.0).args[0]
    stack = row(host, "t2i", strength=0.3, previous=row(host, strength=0.5, mask=mask, weights=weights))
    *stacked, report = apply_stack(host, stack)
    chained = apply(host, "t2i", 0.3, before=apply(host, "sd15", 0.5, mask=mask, weights=weights))
    assert all(map(torch.equal, outputs("sd15", stacked), outputs("sd15", chained)))
    assert report.splitlines() == [
        "1. U-Net ControlNet: strength 0.5 from 0 to 1, mask, weights",
        "2. SD 1.x T2I-Adapter: strength 0.3 from 0 to 1",
    ]


def test_rows_are_strict_5_tuples_and_given_stacks_stay(host):
    first = row(host)
    second = row(host, previous=first)
    assert len(first) == 1 and len(second) == 2 and second[0] is first[0]
    assert all(isinstance(entry, tuple) and len(entry) == 5 for entry in second)
    off = row(host, enabled=False, previous=first)
    assert off == first and off is not first
    before = list(second)
    apply_stack(host, second)
    assert all(a is b for a, b in zip(second, before)) and len(second) == 2


def test_stacks_of_other_packs_are_taken(host):
    image = tiny_controls.hint("sd15")
    foreign = [(net("sd15"), image, 0.5, 0.0, 1.0), ("None", 1.0, 0.0, 1.0, 1.0, None, True), (None, image, 1, 0, 1)]
    expected = outputs("sd15", apply(host, "sd15", 0.5))
    assert all(map(torch.equal, outputs("sd15", apply_stack(host, foreign)[:2]), expected))
    # Easy-Use: a file's name first, the falloff of soft weights fifth, the image sixth.
    stack = [(DEMO_NET, 0.5, 0.1, 0.9, 0.825, image, True)]
    positive, _, report = apply_stack(host, stack)
    settings = positive[0][1]["control"].settings
    assert (settings.strength, settings.start, settings.end, settings.weights.falloff) == (0.5, 0.1, 0.9, 0.825)
    assert report == "1. SD 1.x ControlNet: strength 0.5 from 0.1 to 0.9, weights"


@pytest.mark.parametrize("stack", [None, [], [("None", 1.0, 0.0, 1.0, 1.0, None, True)]])
def test_an_empty_stack_changes_nothing(host, stack):
    given = pair()
    positive, negative, report = apply_stack(host, stack, given)
    assert positive is given[0] and negative is given[1] and "nothing was applied" in report


def test_broken_rows_are_named(host):
    image = tiny_controls.hint("sd15")
    assert apply_stack(host, [("gone.safetensors", None, 0.0, 0.0, 1.0)])[2] == "1. left out: strength 0"
    for stack, what in (
        ([(net("sd15"), image, 1.0)], "Row 1 of the control stack has 3 values"),
        ([(net("sd15"), image, 1.0, 0.0, 1.0), (net("sd15"), image, "much", 0.0, 1.0)], "Row 2 .*cannot be read"),
        ([(net("sd15"), image, float("nan"), 0.0, 1.0)], "Row 1 .*not finite"),
        ([(DEMO_NET, 1.0, 0.0, 1.0, 1.0, None, True)], "Row 1 of the control stack has no image"),
    ):
        with pytest.raises(ValueError, match=what):
            apply_stack(host, stack)


@pytest.mark.parametrize("span", [(0.0, 0.0), (0.5, 0.5), (0.8, 0.2)])
def test_a_row_without_a_span_of_steps_is_off_and_says_so(host, span):
    """Easy-Use, Comfyroll and core take it as off; it needs neither image nor file."""
    image, given = tiny_controls.hint("sd15"), pair()
    off = [(net("sd15"), image, 1.0, *span), ("gone.safetensors", None, 1.0, *span)]
    positive, negative, report = apply_stack(host, off, given)
    assert positive is given[0] and negative is given[1]
    told = f"left out: its range from {span[0]:g} to {span[1]:g} is empty"
    assert report.splitlines() == [f"1. {told}", f"2. {told}"]
    mixed = apply_stack(host, [*off, (net("sd15"), image, 0.5, 0.0, 1.0)])[:2]
    assert all(map(torch.equal, outputs("sd15", mixed), outputs("sd15", apply(host, "sd15", 0.5))))


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_start_at_the_end_controls_nothing_as_in_core(host, place):
    given = pair()
    assert tuple(apply(host, start=place, end=place, before=given)) == tuple(given)


def test_a_single_row_in_the_place_of_a_stack_is_named(host):
    bare = (net("sd15"), tiny_controls.hint("sd15"), 1.0, 0.0, 1.0)
    for call in (lambda: apply_stack(host, bare), lambda: row(host, previous=bare)):
        with pytest.raises(ValueError, match="must be a list of rows .* a single row of 5 values"):
            call()
    with pytest.raises(ValueError, match="it is a ControlNet"):
        apply_stack(host, net("sd15"))


def test_a_stack_gives_its_vae_to_rows_without_one(host):
    image, layout = tiny_controls.hint("flux"), "flux"
    stack = [(net("flux_instantx"), image, 1.0, 0.0, 1.0)]
    with pytest.raises(ValueError, match="Row 1 of the control stack: .* Connect the model's VAE"):
        apply_stack(host, stack, pair(layout))
    found = outputs("flux_instantx", apply_stack(host, stack, pair(layout), vae=vae("flux_instantx"))[:2])
    assert all(map(torch.equal, found, outputs("flux_instantx", apply(host, "flux_instantx"))))


# Schedules


def schedule(
    host, text="", interpolation="linear", shape="fade out", start=0.2, end=0.8, strength=2.0, steps=10, **more
):
    node = host.node("StyleDeltaControlSchedule")
    return node.execute(text, interpolation, shape, start, end, strength, steps, **more).args


def test_a_schedule_shows_what_it_does(host):
    plan, plot, report = schedule(host, "1@0, 0@1")
    assert plan.strength(0.25) == 0.75 and plot.dim() == 4 and plot.shape[-1] == 3 and 0 <= plot.min() < plot.max() <= 1
    rows = [line.replace("|", " ").split() for line in report.splitlines()]
    assert rows[0] == ["step", "progress", "strength"] and rows[4] == ["3", "0.200", "1.600"] and len(rows) == 12
    shaped = schedule(host)[0]
    assert [shaped.strength(p) for p in (0.1, 0.2, 0.5, 0.9)] == pytest.approx([0, 1, 0.5, 0])


def test_sigmas_tell_where_the_steps_truly_are(host):
    import comfy.samplers

    sigmas = comfy.samplers.calculate_sigmas(model("sd15").get_model_object("model_sampling"), "karras", 6)
    report = schedule(host, "1@0, 0@1", sigmas=sigmas, model=model("sd15"))[2]
    progresses = [float(line.split("|")[2]) for line in report.splitlines()[2:]]
    assert len(progresses) == 6 and progresses == sorted(progresses) and progresses[0] == 0
    assert progresses != pytest.approx([i / 6 for i in range(6)], abs=0.01)
    with pytest.raises(ValueError, match="Connect model too"):
        schedule(host, "1@0", sigmas=sigmas)
    with pytest.raises(ValueError, match="contain no step"):
        schedule(host, "1@0", sigmas=sigmas[:1], model=model("sd15"))


def test_block_weights_have_their_curves(host):
    weights = host.node("StyleDeltaControlWeights").execute(net("sd15"), "", 0.825, 1.0).args[0]
    plain = schedule(host, "1@0, 0@1")[1]
    plot = schedule(host, "1@0, 0@1", weights=weights, control_net=net("sd15"))[1]
    assert plot.shape[1] * plot.shape[2] > plain.shape[1] * plain.shape[2]
    with pytest.raises(ValueError, match="Connect control_net too"):
        schedule(host, "1@0", weights=weights)


# Hints and masks of other shapes


@pytest.mark.parametrize("kind", ["sd15", "t2i", "flux_xlabs", "flux_instantx", "control_lora"])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_a_hint_of_another_shape_is_fitted(host, kind, fit):
    white = torch.ones(1, 64, 256, 3)
    given = apply(host, kind, image=white, fit=fit)
    assert outputs(kind, given)
    fitted = control(given).net.cond_hint_original
    height, width = fitted.shape[-2:]
    assert height == width and fitted.shape[:2] == (1, 3)
    if fit == "stretch":
        assert (fitted == 1).all()
    else:
        quarter = height // 4
        assert (fitted[:, :, quarter * 3 // 2 : quarter * 5 // 2] == 1).all()
        assert fitted[:, :, : quarter * 3 // 2].max() == 0 and fitted[:, :, quarter * 5 // 2 :].max() == 0


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (128, 128), (50, 300)])
def test_hints_and_masks_of_any_size_act(host, fit, size):
    image = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(1))
    found = outputs("sd15", apply(host, image=image, mask=0.5 + 0.5 * image[..., 0], fit=fit))
    assert all(torch.isfinite(x).all() and x.abs().max() > 0 for x in found)


def test_transparent_and_grey_hints_are_taken(host):
    image = tiny_controls.hint("sd15")
    expected = outputs("sd15", apply(host, image=image))
    clear = torch.cat([image, torch.rand(*image.shape[:3], 1)], dim=-1)
    assert all(map(torch.equal, outputs("sd15", apply(host, image=clear)), expected))
    grey = image[..., :1]
    three = outputs("sd15", apply(host, image=grey.repeat(1, 1, 1, 3)))
    assert all(map(torch.equal, outputs("sd15", apply(host, image=grey)), three))


@pytest.mark.parametrize("kind", ["sd15", "flux_instantx", "sd3", "qwen"])
def test_odd_latents_take_masks(host, kind):
    size, mask = (9, 7), torch.zeros(1, 72, 56)
    mask[:, :40] = 1
    full = outputs(kind, apply(host, kind), size=size)
    half = outputs(kind, apply(host, kind, mask=mask), size=size)
    for x, y in zip(half, full):
        if x.dim() == 3:
            rows = [part.reshape(len(part), 5, 4, -1) for part in (x, y)]
            # Rows of tokens 0 and 1 lie within the first 5 rows of the latent, 3 and 4 outside.
            assert torch.equal(rows[0][:, :2], rows[1][:, :2]) and rows[0][:, 3:].abs().max() == 0
        elif x.shape[-2] > 2:
            assert torch.equal(x[:, :, 0], y[:, :, 0]) and x[:, :, -1].abs().max() == 0
    white = outputs(kind, apply(host, kind, mask=torch.ones(1, 72, 56)), size=size)
    assert all(map(torch.equal, white, full))


# The wrapper as the host uses it


def test_copies_and_models_are_those_of_the_net(host):
    import comfy.controlnet

    given = control(apply(host, mask=torch.rand(1, 8, 8)))
    assert isinstance(given, comfy.controlnet.ControlBase)
    assert given.get_models() == [net("sd15").control_model_wrapped]
    chained = control(apply(host, "t2i", before=apply(host)))
    assert chained.get_models() == given.get_models()
    copied = given.copy()
    assert copied is not given and copied.net is not given.net and copied.previous_controlnet is None
    assert copied.settings == given.settings and copied.net.control_model is given.net.control_model
    given.cleanup()
    control(apply(host, "control_lora")).cleanup()


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("kind", ["sd15", "flux_instantx", "t2i"])
def test_tiled_samplers_can_give_a_copy_another_hint(host, kind, fit):
    """As Ultimate SD Upscale does for each tile."""
    tile = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    given = apply(host, kind, fit=fit, image=torch.rand(1, 40, 80, 3))
    outputs(kind, given)
    copied = control(given).copy()
    copied.cond_hint_original = tile
    assert copied.cond_hint_original is tile and control(given).cond_hint_original is not tile
    assert copied.compression_ratio == copied.net.compression_ratio and copied.vae is copied.net.vae
    tiled = tuple([[embedding, {**options, "control": copied}] for embedding, options in part] for part in given)
    expected = apply(host, kind, image=tile.movedim(1, -1), fit=fit)
    assert all(map(torch.equal, outputs(kind, tiled), outputs(kind, expected)))


def keeping_hints_by_size(net) -> None:
    """Let a net keep the hints that it has used by the size of the latent, as nets of newer hosts do."""
    net.cond_hints, net.control_inputs, plain = {}, {"of the old hint": None}, net.get_control

    def get_control(x_noisy, *rest):
        net.cond_hint_original = net.cond_hints.setdefault(tuple(x_noisy.shape[2:]), net.cond_hint_original)
        net.cond_hint = None
        return plain(x_noisy, *rest)

    net.get_control = get_control


@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("kind", ["sd15", "flux_instantx", "t2i"])
def test_a_control_that_has_run_takes_its_new_hint(host, kind, by_size):
    """Given between two steps, in the size of the old one."""
    first, second = (torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    given = apply(host, kind, image=first)
    changed = control(given)
    get_control, ran = changed.get_control, []

    def with_the_second(*arguments):
        if len(ran) == 1:
            changed.cond_hint_original = second.movedim(-1, 1)
            assert not by_size or changed.net.cond_hints == {} == changed.net.control_inputs
        ran.append(1)
        return get_control(*arguments)

    if by_size:
        keeping_hints_by_size(changed.net)
    changed.get_control = with_the_second
    found, before, after = (
        of_steps(kind, pair) for pair in (given, apply(host, kind, image=first), apply(host, kind, image=second))
    )
    assert len(ran) == 2 and all(map(torch.equal, found[0], before[0])) and all(map(torch.equal, found[1], after[1]))
    assert not all(map(torch.equal, before[1], after[1]))


def of_steps(kind: str, conditionings: tuple) -> list[list[torch.Tensor]]:
    """What the net gives the model in each of two steps."""
    layout = tiny_controls.KINDS[kind]
    seen = calls(model(layout), layout, *conditionings, steps=2)
    return [[x for listed in call.control.values() for x in listed if x is not None] for call in seen]


def test_an_adapter_follows_the_batch(host):
    """The host keeps an adapter's outputs when it splits a batch; a mask must not meet outputs of another size."""
    images = torch.rand(2, 128, 128, 3, generator=torch.Generator().manual_seed(2))
    masks = torch.stack([torch.ones(8, 8), torch.full((8, 8), 0.5)])
    given = control(apply(host, "t2i", image=images, mask=masks))
    given.pre_run(model("sd15").model, model("sd15").model.model_sampling.percent_to_sigma)
    latents, sigma = torch.zeros(4, 4, 16, 16), torch.ones(4)
    whole = given.get_control(latents, sigma, {}, 2, {"cond_or_uncond": [1, 0]})
    half = given.get_control(latents[:2], sigma[:2], {}, 1, {"cond_or_uncond": [0]})
    for x, y in zip(half["input"], whole["input"]):
        assert (x is None) == (y is None) and (x is None or torch.equal(x, y[:2]))
    given.cleanup()


def test_memory_is_that_of_the_chain(host):
    lora, plain = control(apply(host, "control_lora")), control(apply(host))
    both = control(apply(host, "control_lora", before=apply(host, "control_lora")))
    one = lora.inference_memory_requirements(torch.float32)
    assert one > 0 and plain.inference_memory_requirements(torch.float32) == 0
    assert both.inference_memory_requirements(torch.float32) == 2 * one


def test_hooks_of_the_net_are_found(host):
    import comfy.hooks

    hooked = net("sd15").copy()
    hooked.extra_hooks = comfy.hooks.create_hook_lora({}, 1.0, 1.0)
    given = host.node("StyleDeltaControlNetApply").execute(
        *pair(), hooked, tiny_controls.hint("sd15"), 1.0, 0.0, 1.0, "crop"
    )
    assert len(control(given.args).get_extra_hooks()) == 1


def test_a_clone_for_another_gpu_is_whole(host):
    given = control(apply(host, fit="pad", mask=torch.rand(1, 8, 8)))
    if not hasattr(given, "multigpu_clones"):
        pytest.skip("this ComfyUI samples on one GPU only")
    device = torch.device("cpu")
    clone = given.deepclone_multigpu(device, autoregister=True)
    assert given.get_instance_for_device(device) is clone and clone.net.control_model is not given.net.control_model
    assert clone.settings == given.settings and torch.equal(clone.hint, given.hint)
    with pytest.raises(ValueError, match="runs on one GPU only"):
        control(apply(host, "control_lora")).deepclone_multigpu(device)


# What goes wrong


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"strength": float("nan")}, "The strength is nan"),
        ({"start": 0.6, "end": 0.5}, "runs from 0.6 to 0.5"),
        ({"fit": "squeeze"}, "no fit `squeeze`. Choose one of: crop, pad, stretch"),
        ({"image": torch.full((1, 8, 8, 3), torch.nan)}, "The hint holds NaN"),
        ({"image": torch.zeros(8, 8, 3)}, r"The hint has the shape \(8, 8, 3\)"),
        ({"mask": torch.full((1, 8, 8), torch.inf)}, "The mask holds NaN or infinite"),
    ],
)
def test_bad_inputs_are_refused_at_once(host, change, what):
    with pytest.raises(ValueError, match=what):
        apply(host, **change)


@pytest.mark.parametrize("kind", tiny_controls.WITH_VAE)
def test_a_latent_hint_net_without_a_vae_is_refused(host, kind):
    if not tiny_controls.has(kind):
        pytest.skip(f"this ComfyUI has no nets of the kind {kind}")
    with pytest.raises(ValueError, match="Connect the model's VAE to vae"):
        apply(host, kind, vae=None)


def test_a_sampler_that_does_not_prepare_the_net_is_told(host):
    with pytest.raises(ValueError, match="The sampler did not prepare the ControlNet"):
        control(apply(host)).get_control(torch.zeros(1, 4, 16, 16), torch.ones(1), {}, 1, {})


def test_an_inpainting_net_is_referred_to_its_own_node(host):
    inpainting = net("flux_instantx").copy()
    inpainting.concat_mask = True
    node = host.node("StyleDeltaControlNetApply")
    with pytest.raises(ValueError, match="made for inpainting.*ControlNetInpaintingAliMamaApply"):
        node.execute(*pair("flux"), inpainting, tiny_controls.hint("flux"), 1.0, 0.0, 1.0, "crop", vae("flux_instantx"))


def test_a_net_that_did_not_load_is_named(host):
    with pytest.raises(ValueError, match="its file did not load. Load ControlNet shows"):
        host.node("StyleDeltaControlNetApply").execute(*pair(), None, torch.zeros(1, 8, 8, 3), 1.0, 0.0, 1.0, "crop")


def test_a_net_of_another_architecture_says_both_and_the_next_run_works(host, checkpoint):
    import comfy.controlnet

    wide = comfy.controlnet.ControlNet(
        tiny_controls._network("sdxl", context_dim=2048), load_device=torch.device("cpu")
    )
    given = host.node("StyleDeltaControlNetApply").execute(
        *pair(), wide, tiny_controls.hint("sd15"), 1.0, 0.0, 1.0, "crop"
    )
    with pytest.raises(ValueError, match="for SDXL .text 2048 wide., but the model is SD 1.x .text 768 wide."):
        calls(checkpoint[0], "sd15", *given.args)
    for kind, theirs in (("flux_xlabs", "U-Net"), ("t2i_sdxl", "U-Net")):
        with pytest.raises(ValueError, match=f"is for (Flux|SDXL).*but the model is {theirs}"):
            calls(model("sd15"), "sd15", *apply(host, kind, before=pair()))
    for kind in ("control_lora", "t2i"):
        with pytest.raises(ValueError, match="(ControlNet|T2I-Adapter) is for .*, but the model is WanModel. Load"):
            calls(model("wan"), "wan", *apply(host, kind, before=pair("wan")))
    with pytest.raises(ValueError, match="is for U-Net .text 64 wide., but the model is Flux .tokens 64 wide."):
        calls(model("flux"), "flux", *apply(host, before=pair("flux")))
    assert outputs("sd15", apply(host))


def test_weights_for_a_net_of_unknown_class_are_refused_but_masks_are_not(host):
    import comfy.controlnet

    class Unknown(comfy.controlnet.ControlBase):
        """A net of another node pack."""

        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            return self.control_merge({"middle": [torch.ones(len(x_noisy), 256, 2, 2)]}, None, None)

        def copy(self):
            copied = Unknown()
            self.copy_to(copied)
            return copied

    node, image = host.node("StyleDeltaControlNetApply"), tiny_controls.hint("sd15")
    with pytest.raises(ValueError, match="not supported for a Unknown. They work for ControlNets of SD 1.x"):
        host.node("StyleDeltaControlWeights").execute(Unknown(), "middle=0", 1.0, 1.0)
    weights = host.node("StyleDeltaControlWeights").execute(net("sd15"), "middle=0", 1.0, 1.0).args[0]
    with pytest.raises(ValueError, match="not supported for a Unknown"):
        node.execute(*pair(), Unknown(), image, 1.0, 0.0, 1.0, "crop", weights=weights)
    mask = torch.zeros(1, 2, 2)
    mask[..., 0] = 1
    found = outputs("sd15", node.execute(*pair(), Unknown(), image, 0.5, 0.0, 1.0, "crop", mask=mask).args)
    assert found[0][0, 0].tolist() == [[0.5, 0], [0.5, 0]]


def test_weights_of_another_net_are_refused(host):
    weights = host.node("StyleDeltaControlWeights").execute(net("flux_xlabs"), "single=0", 1.0, 1.0).args[0]
    with pytest.raises(ValueError, match="single match no block of this U-Net ControlNet. It has: input.0-11, middle"):
        apply(host, weights=weights)


# Over the server


def prompt(**changes) -> dict:
    """A picture led by edges, with inputs by node and name."""
    graph = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": "styledelta_demo_sd15.safetensors"}),
        "2": ("CLIPTextEncode", {"clip": ["1", 1], "text": ""}),
        "3": ("LoadImage", {"image": "astronaut.png"}),
        "4": ("StyleDeltaLoadControlNet", {"control_net_name": DEMO_NET}),
        "5": (
            "StyleDeltaControlSchedule",
            {
                "keyframes": "1@0, 0@1",
                "interpolation": "linear",
                "shape": "constant",
                "shape_start": 0.0,
                "shape_end": 1.0,
                "plot_strength": 1.0,
                "plot_steps": 5,
            },
        ),
        "6": (
            "StyleDeltaControlNetApply",
            {
                "positive": ["2", 0],
                "negative": ["2", 0],
                "control_net": ["4", 0],
                "image": ["3", 0],
                "strength": 1.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "fit": "crop",
                "schedule": ["5", 0],
            },
        ),
        "7": ("EmptyLatentImage", {"width": 128, "height": 128, "batch_size": 1}),
        "8": (
            "KSampler",
            {
                "model": ["1", 0],
                "positive": ["6", 0],
                "negative": ["6", 1],
                "latent_image": ["7", 0],
                "seed": 1,
                "steps": 2,
                "cfg": 2.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "9": ("VAEDecode", {"samples": ["8", 0], "vae": ["1", 2]}),
        "10": ("PreviewImage", {"images": ["9", 0]}),
        "11": ("PreviewImage", {"images": ["5", 1]}),
    }
    return {
        key: {"class_type": kind, "inputs": inputs | changes.get(kind, {})} for key, (kind, inputs) in graph.items()
    }


def test_the_server_runs_it_and_goes_on_after_an_error(server):
    from comfy_server import PromptError

    with pytest.raises(PromptError, match="StyleDeltaControlSchedule.*character 9: expected @ and a progress"):
        server.run(prompt(StyleDeltaControlSchedule={"keyframes": "1@0, 0.5"}))
    with pytest.raises(PromptError, match="StyleDeltaControlNetApply.*Set start_percent below end_percent"):
        server.run(prompt(StyleDeltaControlNetApply={"start_percent": 0.9, "end_percent": 0.5}))
    shown = server.run(prompt())
    assert all(server.view(**image) for node in ("10", "11") for image in shown[node]["images"])
    assert os.path.splitext(shown["10"]["images"][0]["filename"])[1] == ".png"
