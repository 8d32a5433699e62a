"""The faults that were found in the names of LoRAs, each with the right values on small models of the host."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import pytest
import torch

from .demo_loras import updates
from .family_matrix import PREFIX, Subject, check, check_told
from .layouts import LAYOUTS, has, meta, normal

NAMINGS = ("kohya", "ComfyUI", "diffusers")
# The sums are in float32.
EXACT, COMPRESSED = 1e-6, 1e-4
KOHYA = "lora_unet_"

Tensors = Mapping[str, torch.Tensor]
Updates = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def subject(host, base_dir) -> Iterator[Callable[[str], Subject]]:
    """The small model of a layout. Skips where this host has none."""
    made: dict[str, Subject] = {}

    def get(name: str) -> Subject:
        if not has(LAYOUTS[name]):
            pytest.skip(LAYOUTS[name].since)
        if name not in made:
            made[name] = Subject(host, base_dir, LAYOUTS[name])
        return made[name]

    yield get
    # The host's patchers cannot be deleted when Python ends.
    made.clear()


@pytest.fixture(scope="module")
def pack(host) -> Callable[[str], Any]:
    name = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return lambda module: importlib.import_module(f"{name}.{module}")


def lora(shapes: Mapping[str, tuple[int, int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """A file of rank 2 for layers of these rows and columns."""
    file = {}
    for name, (rows, columns) in shapes.items():
        up, down = ("lora_B", "lora_A") if "." in name else ("lora_up", "lora_down")
        file[f"{name}.{up}.weight"] = normal(f"{name}.up", (rows, 2), seed)
        file[f"{name}.{down}.weight"] = normal(f"{name}.down", (2, columns), seed)
    return file


def matrices(given: Subject, pattern: str = "") -> dict[str, tuple[int, int]]:
    """The matrices of a model of which the path matches, by ComfyUI's names."""
    weights = given.base.model.diffusion_model.named_parameters()
    return {
        PREFIX + name.removesuffix(".weight"): tuple(weight.shape)
        for name, weight in weights
        if weight.dim() == 2 and name.endswith(".weight") and re.search(pattern, name)
    }


def kohya(shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {KOHYA + name.removeprefix(PREFIX).replace(".", "_"): shape for name, shape in shapes.items()}


def applied(given: Subject, *files: Tensors) -> Updates:
    """What core's stacking makes of files of which it reads every tensor."""
    import comfy.sd

    model = given.base
    with mock.patch("logging.warning") as warning:
        for tensors in files:
            model, _ = comfy.sd.load_lora_for_models(model, None, dict(tensors), 1.0, 0.0)
    assert warning.call_args_list == []
    return updates(model)


def outcome(given: Subject, tensors: Tensors, naming: str, connected: bool) -> str:
    """`read` where Save LoRA writes what the host reads and applies as it should, else the words of the refusal."""
    try:
        with given.saved(tensors, naming, connected) as written:
            check(applied(given, written), applied(given, tensors), EXACT)
    except ValueError as error:
        return str(error)
    return "read"


def merged(given: Subject, *files: Tensors, method: str = "linear", model: bool = True) -> tuple[Tensors, str]:
    """What Merge LoRAs makes of files, and its report."""
    inputs = {f"lora_{number}": file for number, file in enumerate(files, start=1)}
    connected = {"model": given.base} if model else {}
    return given.run("MergeLoras", method, "", 0, 0, **inputs, **connected)[:2]


BLOCKS = r"(?:block|layers).*(?:attn|attention)"
FEED_FORWARD = r"(?:block|layers).*(?:ff|mlp|feed_forward)"
SPLIT = ("to_q", "to_k", "to_v")


@pytest.mark.parametrize("naming", ("as it is", *NAMINGS))
@pytest.mark.parametrize("layout", ("ltx", "hunyuan_video", "hunyuan_video15"))
def test_all_tensors_of_an_extracted_lora_are_read(subject, layout, naming):
    given = subject(layout)
    extracted, report = given.extracted
    check_told(applied(given, extracted), given.wanted, report, COMPRESSED)
    if naming == "diffusers":
        assert "ComfyUI does not read diffusers names for" in outcome(given, extracted, naming, True)
        return
    assert outcome(given, extracted, naming, True) == "read"


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
@pytest.mark.parametrize("pattern", (BLOCKS, FEED_FORWARD), ids=("attention", "feed-forward"))
@pytest.mark.parametrize(
    ("layout", "as_diffusers"),
    [
        ("ltx", "does not read diffusers names for LTX-Video"),
        ("ltx2", "does not read diffusers names for LTX-2"),
        ("krea2", "read"),
        ("hunyuan_video15", "does not read diffusers names for Hunyuan"),
        ("wan_i2v", "does not read diffusers names for Wan"),
    ],
)
def test_a_lora_of_one_part_keeps_the_names_of_its_family(subject, layout, as_diffusers, pattern, connected):
    given = subject(layout)
    shapes = matrices(given, pattern.replace("ff", "ffn?"))
    for source in (lora(shapes), lora(kohya(shapes))):
        assert outcome(given, source, "kohya", connected) == "read"
        assert outcome(given, source, "ComfyUI", connected) == "read"
        assert as_diffusers in outcome(given, source, "diffusers", connected)


@pytest.mark.parametrize(
    "layout", ("hunyuan_video", "hunyuan_video15", "flux", "flux2_klein", "z_image", "ltx", "ltx2", "krea2", "wan_i2v")
)
@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
def test_names_of_kohya_and_of_comfyui_meet(subject, layout, connected):
    given = subject(layout)
    shapes = matrices(given, BLOCKS)
    files = lora(shapes, 1), lora(kohya(shapes), 2)
    check(applied(given, merged(given, *files, model=connected)[0]), applied(given, *files), EXACT)


# The host makes tensors of tensors for its upscaler.
@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning", "ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_of_every_model_has_names_that_mean_it_to_the_host(host, pack, layout):
    import comfy.lora

    if not has(LAYOUTS[layout]):
        pytest.skip(LAYOUTS[layout].since)
    model = meta(LAYOUTS[layout])
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters() if name.startswith(PREFIX)}
    by_name = {weight.removesuffix(".weight"): weight for weight in shapes}
    known = comfy.lora.model_lora_keys_unet(model, {})
    naming, addresses, adapters = (pack(f"delta.lora.{room}") for room in ("naming", "addresses", "adapters"))
    extracted = naming.usual_names(by_name, shapes)
    assert {name: known.get(name) for name in extracted} == extracted
    # Each layer carries the number of its weight.
    weights = list(by_name.values())
    layers = {n: adapters.Layer(full=torch.tensor([weights.index(w)])) for n, w in by_name.items() if "bias" not in n}
    for wanted in ("kohya", "ComfyUI"):
        renamed = naming.rename(layers, wanted, addresses.ModelNames(known, shapes))
        meant = {name: weights[int(layer.full)] for name, layer in renamed.items()}
        assert len(renamed) == len(layers) and {name: known.get(name) for name in renamed} == meant


@pytest.mark.parametrize("layout", ("hunyuan_video", "hunyuan_video15"))
def test_norms_of_query_and_key_are_extracted_under_names_that_are_read(subject, layout):
    given = subject(layout)
    found = applied(given, given.run("ExtractNorms", given.styled, given.base, False, False, True, "")[0])
    norms = {name for name in given.wanted if re.search(r"double.*(?:query|key)_norm", name)}
    assert len(norms) == 2 * 4 and norms <= found.keys()
    check(found, {name: given.wanted[name] for name in found}, EXACT)


def split_names(given: Subject) -> dict[str, tuple[int, int]]:
    """The attention of a Z-Image by the names of ai-toolkit."""
    names = {}
    for name, (rows, columns) in matrices(given, r"attention\.(?:qkv|out)").items():
        layer, last = name.rsplit(".", 1)
        parts = SPLIT if last == "qkv" else ("to_out.0",)
        names |= {f"{layer}.{part}": (rows // len(parts), columns) for part in parts}
    return names


def test_split_and_fused_attention_of_z_image_are_one_weight(subject):
    given = subject("z_image")
    fused, split = lora(matrices(given, r"attention\.(?:qkv|out)"), 1), lora(split_names(given), 2)
    for files in ((fused, split), (split, fused)):
        for connected in (True, False):
            check(applied(given, merged(given, *files, model=connected)[0]), applied(given, *files), EXACT)


def test_ties_of_split_and_fused_attention_is_that_of_the_fused(subject):
    given = subject("z_image")
    fused = lora(matrices(given, r"^layers.*attention\.(?:qkv|out)"), 1)
    split = lora({name: shape for name, shape in split_names(given).items() if ".layers." in name}, 2)
    # As factors of full rank: dense updates are added up, whatever the method.
    whole: dict[str, torch.Tensor] = {}
    for name, change in applied(given, split).items():
        layer = name.removesuffix(".weight")
        whole |= {f"{layer}.lora_B.weight": change, f"{layer}.lora_A.weight": torch.eye(change.shape[1])}

    def ties(other: Tensors) -> Updates:
        inputs = {"lora_1": fused, "lora_2": other, "model": given.base}
        return applied(given, given.run("MergeLoras", "ties", "", 256, 0, **inputs)[0])

    check(ties(split), ties(whole), COMPRESSED)


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
@pytest.mark.parametrize("naming", ("as it is", *NAMINGS))
def test_twins_in_one_file_are_added_up(subject, naming, connected):
    given = subject("z_image")
    layer = f"{PREFIX}layers.0.attention"
    twins = lora({f"{layer}.qkv": (768, 256), f"{layer}.out": (256, 256)}, 1)
    others = lora({f"{layer}.to_out.0": (256, 256)} | {f"{layer}.{part}": (256, 256) for part in SPLIT}, 2)
    with given.saved(twins | others, naming, connected) as written:
        check(applied(given, written), applied(given, twins, others), EXACT)


def test_flux2_under_names_of_diffusers_meets_those_of_kohya(subject):
    given = subject("flux2_klein")
    shapes = matrices(given, r"double_blocks.*attn")
    ours, theirs = lora(kohya(shapes), 1), {}
    with given.saved(lora(shapes, 2), "diffusers") as written:
        theirs |= written
    assert any(name.startswith("transformer.transformer_blocks.0.attn.to_q") for name in theirs)
    for files in ((ours, theirs), (theirs, ours)):
        check(applied(given, merged(given, *files)[0]), applied(given, *files), EXACT)


def test_flux2_is_saved_under_the_names_of_diffusers_where_the_host_reads_them(subject):
    given = subject("flux2_klein")
    for naming in NAMINGS:
        assert outcome(given, lora(matrices(given, r"blocks.*(?:attn|mlp|linear)")), naming, True) == "read"


@pytest.mark.parametrize("part", SPLIT)
def test_dora_of_a_part_of_a_fused_weight_is_baked(subject, part):
    given = subject("z_image")
    layer = f"{PREFIX}layers.1.attention.{part}"
    file = lora({layer: (256, 256)}) | {f"{layer}.dora_scale": 1 + 0.1 * normal("scale", (256, 1), 0)}
    found, report = merged(given, file)
    assert report.startswith("names proven")
    weight = f"{PREFIX}layers.1.attention.qkv.weight"
    assert applied(given, found).keys() == {weight}
    assert (on_weight(given, found, weight) - on_weight(given, file, weight)).norm() < EXACT * 768**0.5


def on_weight(given: Subject, tensors: Tensors, name: str) -> torch.Tensor:
    """A weight after core has loaded a file."""
    import comfy.lora
    import comfy.sd

    model, _ = comfy.sd.load_lora_for_models(given.base, None, dict(tensors), 1.0, 0.0)
    weight = given.base.model.state_dict()[name].detach().clone()
    return comfy.lora.calculate_weight(model.patches[name], weight, name)


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
@pytest.mark.parametrize("naming", ("kohya", "ComfyUI"))
def test_names_that_are_right_already_can_be_saved_so(subject, naming, connected):
    given = subject("wan_i2v")
    shapes = matrices(given, r"blocks.*_img$")
    file = lora(shapes if naming == "ComfyUI" else kohya(shapes))
    for number in (0, 1):
        name = f"{PREFIX}blocks.{number}.cross_attn.norm_k_img"
        name = name if naming == "ComfyUI" else KOHYA + name.removeprefix(PREFIX).replace(".", "_")
        file[f"{name}.w_norm"] = normal(name, (48,), 0)
    with given.saved(file, naming, connected) as written:
        assert written.keys() - {name for name in written if name.endswith(".alpha")} == file.keys()
        check(applied(given, written), applied(given, file), EXACT)


# Names by trainers that the host does not read, and ComfyUI's names of the same layers.
UNREAD = {
    "Z-Image by musubi": (
        "z_image",
        {f"{KOHYA}layers_0_attention_{part}": f"{PREFIX}layers.0.attention.{part}" for part in SPLIT}
        | {f"{KOHYA}layers_0_attention_to_out_0": f"{PREFIX}layers.0.attention.out"},
    ),
    "HunyuanVideo 1.5 by musubi": (
        "hunyuan_video15",
        {f"{KOHYA}double_blocks_0_img_attn_{part}": f"{PREFIX}double_blocks.0.img_attn.qkv" for part in "qkv"},
    ),
    "Wan by diffusers": (
        "wan",
        {
            "transformer.blocks.0.attn1.to_q": f"{PREFIX}blocks.0.self_attn.q",
            "transformer.blocks.1.attn2.to_out.0": f"{PREFIX}blocks.1.cross_attn.o",
            "transformer.blocks.1.ffn.net.0.proj": f"{PREFIX}blocks.1.ffn.0",
        },
    ),
}


@pytest.mark.parametrize("trainer", UNREAD)
def test_names_that_the_host_does_not_read_are_converted_with_the_model(subject, trainer):
    layout, names = UNREAD[trainer]
    given = subject(layout)
    shapes = matrices(given)
    parts = {name: list(names.values()).count(comfy) for name, comfy in names.items()}
    sizes = {}
    for name, comfy in names.items():
        rows, columns = shapes[comfy] if comfy in shapes else (256, 256)
        sizes[name] = (rows // parts[name], columns)
    file = lora(sizes)
    found, report = merged(given, file)
    assert report.startswith("names proven") and "left out" not in report
    by_weight: dict[str, torch.Tensor] = {}
    for name, comfy in names.items():
        up, down = (
            next(file[f"{name}.{half}.weight"] for half in pair if f"{name}.{half}.weight" in file)
            for pair in (("lora_up", "lora_B"), ("lora_down", "lora_A"))
        )  # noqa: E501
        weight = re.sub(r"attention\.to_[qkv]$", "attention.qkv", comfy) + ".weight"
        # The parts of a fused weight stand in the order of their names here.
        by_weight[weight] = torch.cat([by_weight[weight], up @ down]) if weight in by_weight else up @ down
    check(applied(given, found), by_weight, COMPRESSED)


def test_krea2_under_two_namings_meets_in_either_order(subject):
    given = subject("krea2")
    shapes = matrices(given, r"^(?:blocks|txtfusion).*(?:attn|mlp)")
    ours = lora(shapes, 1)
    with given.saved(lora(shapes, 2), "diffusers") as written:
        theirs = dict(written)
    assert not ours.keys() & theirs.keys() and all(name.startswith("transformer.") for name in theirs)
    for files in ((ours, theirs), (theirs, ours)):
        for connected in (True, False):
            check(applied(given, merged(given, *files, model=connected)[0]), applied(given, *files), EXACT)


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
def test_lumina_2_is_never_cut_into_equal_thirds(subject, connected):
    given = subject("lumina")
    file = lora(matrices(given, r"attention\.qkv"))
    assert "ComfyUI does not read diffusers names for Lumina 2" in outcome(given, file, "diffusers", connected)
    assert outcome(given, file, "kohya", connected) == "read"


def test_an_unknown_layer_keeps_its_name_and_is_no_proof(subject):
    given = subject("z_image")
    file = lora(matrices(given, BLOCKS))
    extra = file | lora({f"{PREFIX}extra_layers.0.proj": (8, 8)})
    assert first_line(given, file).startswith("names proven")
    assert first_line(given, extra) == "names unproven: connect the model to prove that it reads them"
    assert "cannot be renamed: the names of this LoRA fit no known family" in refusal(
        given, extra, "kohya", connected=False
    )
    assert "extra_layers.0.proj" in refusal(given, extra)


def test_updates_of_another_size_are_not_saved_for_the_connected_model(subject):
    """The host would read the names, and write a line to its log when it fails to apply them."""
    given = subject("flux")
    right, wrong = (lora({f"{PREFIX}double_blocks.0.img_attn.proj": (64, columns)}) for columns in (64, 32))
    assert first_line(given, right, connected=True).startswith("names proven")
    assert "does not fit the connected model: " in refusal(given, wrong)
    with pytest.raises(ValueError, match="does not fit the connected model"):
        merged(given, wrong)


CLIP_FC1 = "text_model_encoder_layers_0_mlp_fc1"
QUERY = "transformer.transformer_blocks.0.attn.to_q"


def refusal(given: Subject, tensors: Tensors, naming: str = "as it is", connected: bool = True) -> str:
    """The words with which Save LoRA refuses a file."""
    with pytest.raises(ValueError) as error, given.saved(tensors, naming, connected):
        pass
    return str(error.value)


def first_line(given: Subject, tensors: Tensors, *, connected: bool = False) -> str:
    """What Save LoRA says of the names."""
    inputs = {"model": given.base} if connected else {}
    path, report = given.run("SaveLora", tensors, "test_families/first_line", "float32", "as it is", **inputs)
    os.unlink(path)
    return report.splitlines()[0]


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
@pytest.mark.parametrize(
    ("layout", "layer", "rows"),
    [
        # Core drops the bias of a part of a weight, and one that the model does not have.
        ("flux", QUERY, 64),
        ("z_image", f"{PREFIX}layers.0.attention.to_q", 256),
        ("z_image", f"{PREFIX}layers.0.attention.qkv", 768),
        ("wan", f"{PREFIX}blocks.0.modulation", 48),
    ],
)
def test_a_bias_that_the_host_drops_is_not_called_read(subject, layout, layer, rows, connected):
    given = subject(layout)
    telling = {"flux": "transformer.single_transformer_blocks.0.norm.linear", "wan": f"{PREFIX}blocks.0.self_attn.q"}
    other = telling.get(layout, f"{PREFIX}layers.0.adaLN_modulation.0")
    shapes = {"flux": (192, 64), "wan": (48, 48), "z_image": (1024, 256)}
    file = lora({other: shapes[layout]}) | {f"{layer}.diff_b": torch.ones(rows)}
    assert refusal(given, file, connected=connected).startswith(
        f"1 of 3 tensors would not be read by ComfyUI: {layer}.diff_b."
    )


@pytest.mark.parametrize(
    "name",
    (
        "text_encoders.qwen25_7b.transformer.model.layers.0.self_attn.q_proj",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.nothing",
        "text_encoders.clip_l.transformer.text_model_encoder_layers_0_mlp_fc1",
        "lora_te4_text_model_encoder_layers_0_mlp_fc1",
    ),
)
def test_strange_names_of_text_encoders_are_unproven(subject, name):
    given = subject("z_image")
    file = lora(matrices(given, BLOCKS))
    assert first_line(given, file).startswith("names proven")
    assert first_line(given, lora({name: (8, 8)})).startswith("names unproven: 1 layers of a text encoder such as ")
    assert first_line(given, file | lora({name: (8, 8)})).startswith("names unproven")


def test_encoders_behind_the_first_are_proven_beside_it_only(subject):
    """The host counts the encoders that a model has; T5 alone would be `lora_te1_`."""
    given = subject("z_image")
    first, second, third = (
        f"lora_te{number}_{path}"
        for number, path in enumerate((CLIP_FC1, CLIP_FC1, "encoder_block_0_layer_0_SelfAttention_q"), start=1)
    )
    for names, proven in (
        ((first,), True),
        ((second,), False),
        ((third,), False),
        ((first, second), True),
        ((first, third), True),
        (("text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q",), True),
    ):
        line = first_line(given, lora(dict.fromkeys(names, (8, 8))))
        assert line.startswith("names proven" if proven else "names unproven"), names


def test_text_encoders_are_not_proven_by_a_model_alone(subject):
    given = subject("flux")
    text = lora({"lora_te1_text_model_encoder_layers_0_mlp_fc1": (8, 8)})
    assert first_line(given, text) == "names proven: ComfyUI reads all 3 tensors"
    assert first_line(given, text, connected=True).startswith("names unproven: all 3 tensors belong to a text encoder")
    both = lora({f"{PREFIX}img_in": (64, 64)}) | text
    assert first_line(given, both, connected=True) == (
        "names proven: ComfyUI reads all 2 tensors with the connected model; 3 of a text encoder are unproven; connect the CLIP "
        "to prove them"
    )


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
def test_an_adapter_that_no_host_reads_is_not_kept(subject, connected):
    given = subject("z_image")
    file = lora(matrices(given, BLOCKS)) | {f"{PREFIX}layers.0.feed_forward.w1.oft_R.weight": torch.ones(2, 6)}
    assert f"1 of {len(file)} tensors would not be read by ComfyUI" in refusal(given, file, connected=connected)


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
@pytest.mark.parametrize("naming", ("as it is", "kohya", "ComfyUI"))
def test_dora_beside_another_update_of_its_weight_is_refused(subject, naming, connected):
    """Core would apply one of them only."""
    given = subject("z_image")
    layer = f"{PREFIX}layers.0.feed_forward.w1"
    shapes = {layer: matrices(given)[layer]}
    dora = lora(shapes) | {f"{layer}.dora_scale": torch.ones(shapes[layer][0], 1)}
    others = lora(kohya(shapes), 1) | lora({f"{PREFIX}layers.0.adaLN_modulation.0": (1024, 256)})
    with given.saved(dora | lora({f"{PREFIX}layers.0.adaLN_modulation.0": (1024, 256)}), naming, connected) as written:
        assert any(name.endswith("dora_scale") for name in written)
    found = refusal(given, dora | others, naming, connected)
    refusals = ("would be changed by two layers", "coincides with another update of its weight", "would not be read")
    refusals += ("which are the same weight of the model",)
    assert any(words in found for words in refusals)
    found, report = merged(given, dora | others)
    assert report.startswith("names proven")
    weight = f"{layer}.weight"
    stored = given.base.model.state_dict()[weight]
    total = sum(on_weight(given, file, weight) - stored for file in (dora, others))
    assert (on_weight(given, found, weight) - stored - total).norm() < EXACT * total.norm()


def test_twins_of_an_uncertain_family_are_refused_without_a_model(subject):
    """Which of them the host would apply is chance; which place they have, only the model tells."""
    given = subject("qwen")
    path = "transformer_blocks.0.attn.to_q"
    twins = lora({f"transformer.{path}": (64, 64), f"lycoris_{path.replace('.', '_')}": (64, 64)})
    assert "would not be read by ComfyUI" in refusal(given, twins, connected=False)
    with given.saved(twins, "as it is") as written:
        one, other = ({name: tensor for name, tensor in twins.items() if name.startswith(begin)} for begin in "tl")
        check(applied(given, written), applied(given, one, other), EXACT)


def test_only_what_is_not_read_is_named(subject):
    given = subject("z_image")
    names = {f"{PREFIX}layers.{number}.attention.out": (256, 256) for number in (1, 10)}
    assert re.match(
        r"2 of 4 tensors would not be read by ComfyUI: \S+\.10\.\S+, \S+\.10\.\S+\. ", refusal(given, lora(names))
    )


def test_a_bias_of_a_norm_without_its_gain_is_told(subject):
    """Core looks at it and leaves it alone."""
    given = subject("wan")
    layer = f"{PREFIX}blocks.0.norm3"
    file = lora({f"{PREFIX}blocks.0.self_attn.q": (48, 48)}) | {f"{layer}.b_norm": torch.ones(48)}
    report = given.run("ApplyLora", given.base, file, 1.0, 1.0)[2]
    assert f"{layer}.b_norm" in report
    # As an update of the bias it is read.
    with given.saved(file, "as it is") as written:
        assert applied(given, written)[f"{layer}.bias"].equal(torch.ones(48))


@pytest.mark.parametrize("ending", ("", ".scale"))
@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
def test_gains_under_the_name_of_either_host_are_read_or_refused(subject, ending, connected):
    given = subject("flux")
    gain = f"{PREFIX}double_blocks.0.img_attn.norm.query_norm"
    file = lora({f"{PREFIX}single_blocks.0.modulation.lin": (192, 64)}) | {f"{gain}{ending}.diff": torch.ones(32)}
    for naming in ("as it is", *NAMINGS):
        try:
            with given.saved(file, naming, connected) as written:
                (change,) = (value for name, value in applied(given, written).items() if name.startswith(gain))
                assert change.equal(torch.ones(32))
        except ValueError as error:
            unread = str(error).startswith(
                f"1 of {len(file) + (naming == 'kohya')} tensors would not be read by ComfyUI: "
            )
            assert (unread and (naming == "as it is" or not connected)) or "only the connected model can settle" in str(
                error
            )


@pytest.mark.parametrize("connected", (True, False), ids=("model", "no model"))
def test_tables_that_core_reads_and_never_applies_are_told(subject, connected):
    given = subject("wan")
    table = f"{PREFIX}blocks.1.modulation"
    file = lora(matrices(given, r"blocks.*attn")) | {f"{table}.diff": torch.ones(1, 6, 48)}
    line = first_line(given, file, connected=connected)
    assert line.startswith(f"names proven: ComfyUI reads all {len(file)} tensors with ")
    assert re.search(
        r"; core's own loaders read 1 of the weights and never apply them, such as \S+modulation: use Apply", line
    )
    assert "never apply" not in first_line(given, lora(matrices(given, r"blocks.*attn")), connected=connected)
