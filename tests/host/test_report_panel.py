"""What the server sends to the report panel is what the outputs of the node say."""

import json
import re

import pytest

from .demo_loras import load

KOHYA, DIFFUSERS = (f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers"))
NORMS = "styledelta_demo_norms.safetensors"
TUNED, BASE = (f"checkpoints/styledelta_demo_sd15{end}.safetensors" for end in ("_tuned", ""))


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


LORAS = {
    "a": node("StyleDeltaLoadLora", lora_name=KOHYA),
    "b": node("StyleDeltaLoadLora", lora_name=DIFFUSERS),
    "norms": node("StyleDeltaLoadLora", lora_name=NORMS),
    "base": node("CheckpointLoaderSimple", ckpt_name="styledelta_demo_sd15.safetensors"),
    "tuned": node("CheckpointLoaderSimple", ckpt_name="styledelta_demo_sd15_tuned.safetensors"),
}
TIERS = {"norms": True, "modulation": True, "qk_norms": True}
EXTRACT = {"rank": 8, "conv_rank": 0, "biases_and_norms": True, "ignore_noise": True, "device": "auto"}
# By kind of node: its inputs, the numbers of its report and plot outputs, and the tabs of the panel.
NODES = {
    "StyleDeltaLoraReport": ({"lora_model": ["a", 0]}, 1, 0, ["Spectra", "Energy"]),
    "StyleDeltaCompareLoras": (
        {"lora_1": ["a", 0], "lora_2": ["b", 0]},
        1,
        0,
        ["Outputs shared", "Inputs shared", "Cosine", None],
    ),
    "StyleDeltaSizePreview": ({"lora_model": ["a", 0]}, 0, 1, ["Size"]),
    "StyleDeltaMergeLoras": (
        {"method": "linear", "parameters": "", "rank": 4, "seed": 0, "lora_1": ["a", 0], "lora_2": ["b", 0]},
        1,
        2,
        ["Error", "Energy"],
    ),
    "StyleDeltaResizeLora": ({"lora_model": ["a", 0], "rank": 4}, 1, 2, ["Error", "Energy"]),
    "StyleDeltaBakeBlockWeights": (
        {
            "lora_model": ["a", 0],
            "strength_model": 1.0,
            "strength_clip": 1.0,
            "preset": "all blocks",
            "block_weights": "middle=0.5",
        },
        1,
        2,
        ["Strength", "Energy"],
    ),
    "StyleDeltaExtractLoraFiles": (
        EXTRACT | {"tuned": TUNED, "base": BASE, "text_encoders": False},
        1,
        2,
        ["Spectra", "Error"],
    ),
    "StyleDeltaExtractNormsFiles": (TIERS | {"tuned": TUNED, "base": BASE, "block_weights": ""}, 1, 2, ["norms"]),
    "StyleDeltaNormReport": (
        TIERS | {"base_model": ["base", 0], "lora_model": ["norms", 0], "block_weights": ""},
        1,
        0,
        ["norms"],
    ),
    "StyleDeltaControlSchedule": (
        {
            "keyframes": "1@0, 0@1",
            "interpolation": "linear",
            "shape": "constant",
            "shape_start": 1.0,
            "shape_end": 0.0,
            "plot_strength": 1.0,
            "plot_steps": 4,
        },
        2,
        1,
        ["Strength"],
    ),
}


@pytest.fixture(scope="module")
def results(server) -> dict[str, tuple[list[dict], str, str]]:
    """By kind of node: the charts and the text for the panel, and the report output as core's own node shows it."""
    prompt = dict(LORAS)
    for kind, (inputs, report, plot, _) in NODES.items():
        prompt[kind] = node(kind, **inputs)
        prompt[f"{kind} report"] = node("PreviewAny", source=[kind, report])
        prompt[f"{kind} plot"] = node("PreviewImage", images=[kind, plot])
    outputs = server.run(prompt)
    shown = {}
    for kind in NODES:
        charts = [json.loads(chart) for chart in outputs[kind]["styledelta_charts"]]
        assert outputs[f"{kind} plot"]["images"], kind
        shown[kind] = charts, outputs[kind]["text"][0], outputs[f"{kind} report"]["text"][0]
    return shown


@pytest.mark.parametrize("kind", NODES)
def test_every_report_node_sends_its_charts_and_its_report(results, kind):
    charts, text, report = results[kind]
    assert text == report and text
    assert [chart.get("tab") for chart in charts] == NODES[kind][3]
    assert sum(len(json.dumps(chart)) for chart in charts) < 200_000


def test_energies_are_those_of_the_report(results):
    (_, bars), text, _ = results["StyleDeltaLoraReport"]
    told = dict(re.findall(r"^\| (\S+) +\| ([\d.]+)% +\|$", text, re.MULTILINE))
    assert {name: f"{value:.1f}" for name, value in zip(bars["names"], bars["values"])} == told


def test_cosines_are_those_of_the_report(results):
    (_, _, cosine, names), text, _ = results["StyleDeltaCompareLoras"]
    told = re.findall(r"^\| (\S+) +\|.*\| (-?[\d.]+) +\| \d+ +\|$", text, re.MULTILINE)
    assert [(row, f"{value + 0:.2f}") for row, (value,) in zip(cosine["rows"], cosine["values"])] == [
        (name, f"{float(value) + 0:.2f}") for name, value in told
    ]
    assert names["lines"] == [f"A: {KOHYA}", f"B: {DIFFUSERS}"]


def test_errors_by_size_are_those_of_the_report(results):
    (chart,), text, _ = results["StyleDeltaSizePreview"]
    told = re.findall(r"^\| ([\d.]+) +\| \d+ +\| ([\d.]+) \([\d.]+%\) *\| ([\d.]+) \(", text, re.MULTILINE)
    uniform, spread = chart["series"]
    assert [
        (f"{x:.2f}", f"{u / 100:.3f}", f"{s / 100:.3f}") for x, u, s in zip(uniform["x"], uniform["y"], spread["y"])
    ] == told


def test_the_strengths_of_a_schedule_are_those_of_the_report(results):
    (chart,), text, _ = results["StyleDeltaControlSchedule"]
    (series,) = chart["series"]
    assert list(zip(series["x"], series["y"])) == [(0, 1), (0.25, 0.75), (0.5, 0.5), (0.75, 0.25)]
    assert all(f"{y:.3f}" in text for y in series["y"])


def test_spectra_of_an_extraction_have_the_rank_kept(results):
    (spectra, _), _, _ = results["StyleDeltaExtractLoraFiles"]
    assert 0 < len(spectra["series"]) <= 6 and all(1 <= line["cut"] <= 8 for line in spectra["series"])
    for line in spectra["series"]:
        assert line["x"] == sorted(line["x"]) and line["y"] == sorted(line["y"], reverse=True)


@pytest.mark.parametrize("name", ["LoraReport", "CompareLoras", "SizePreview", "NormReport"])
def test_nodes_that_only_report_run_alone(server, name):
    assert server.object_info(f"StyleDelta{name}")["output_node"]


def test_spectra_are_the_singular_values_of_the_layers(host, results):
    import torch

    (spectra, _), _, _ = results["StyleDeltaLoraReport"]
    lora = load(host, KOHYA)
    products = {}
    for key, up in lora.items():
        if key.endswith(".lora_up.weight"):
            name = key.removesuffix(".lora_up.weight")
            down, alpha = lora[f"{name}.lora_down.weight"], lora.get(f"{name}.alpha")
            scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
            products[name] = scale * up.flatten(1).double() @ down.flatten(1).double()
    strongest = sorted(products.values(), key=lambda product: -float(product.norm()))[: len(spectra["series"])]
    for line, product in zip(spectra["series"], strongest):
        values = torch.linalg.svdvals(product)[: len(line["y"])]
        assert line["y"] == pytest.approx(values.tolist(), rel=1e-4)
