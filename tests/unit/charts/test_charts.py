"""Charts: what is drawn and what the panel gets come from the same numbers, and the panel's data are small."""

import json
import math

import pytest
import torch

from delta.charts import plots
from delta.charts.charts import MOST_CHARACTERS, MOST_POINTS, Bars, Curves, Heatmap, Note, Spectra, draw, panel
from delta.lora.file import LoraModel
from delta.lora.report import lora_report


def read(*rows):
    return [json.loads(text) for text in panel(rows)]


def test_spectra_are_lines_over_their_index_without_rounding():
    (chart,) = read([Spectra("S", "Title", {"one": [4.0, 1.0 / 3, 1e-9, 0.0], "two": [2.0]}, {"one": 1})])
    assert chart == {
        "kind": "lines",
        "tab": "S",
        "title": "Title",
        "x_label": "index of the singular value",
        "y_label": "singular value",
        "log": True,
        "series": [{"name": "one", "x": [1, 2], "y": [4, 0.33333], "cut": 1}, {"name": "two", "x": [1], "y": [2]}],
    }


def test_bars_keep_their_order_and_digits():
    (chart,) = read([Bars("B", "Title", {"late": 12.3456789, "early": 0.0}, "%")])
    assert chart == {
        "kind": "bars",
        "tab": "B",
        "title": "Title",
        "unit": "%",
        "names": ["late", "early"],
        "values": [12.346, 0],
    }


@pytest.mark.parametrize(("signed", "low"), [(False, 0), (True, -1)])
def test_empty_cells_of_heatmaps_are_null(signed, low):
    (chart,) = read([Heatmap("H", ["r"], ["a", "b"], [[0.123456, math.nan]], signed)])
    expected = {"kind": "heatmap", "tab": "H", "title": "H", "rows": ["r"], "columns": ["a", "b"]}
    assert chart == expected | {"values": [[0.1235, None]], "low": low}


def test_curves_run_along_x_and_keep_their_mark():
    (chart,) = read([Curves("C", "Title", {"": [(2, 0.5), (1, 1.5)]}, "step", "loss", (1.0, 1.5))])
    assert chart["series"] == [{"name": "", "x": [1, 2], "y": [1.5, 0.5]}] and chart["mark"] == [1, 1.5]
    assert (chart["x_label"], chart["y_label"], chart["log"]) == ("step", "loss", False)


def test_long_lines_are_thinned_out_at_the_same_places():
    long = [1 / (i + 1) for i in range(3000)]
    (chart,) = read([Spectra("S", "", {"long": long, "short": long[:1500]}, {"long": 1234})])
    one, two = chart["series"]
    assert MOST_POINTS - 5 <= len(one["x"]) <= MOST_POINTS + 2 and one["x"][0] == 1 and one["x"][-1] == 3000
    assert {1234, 1235} <= set(one["x"]) and two["x"][-1] == 1500
    assert set(two["x"][:-1]) <= set(one["x"])
    assert all(y == pytest.approx(1 / x, rel=1e-4) for line in (one, two) for x, y in zip(line["x"], line["y"]))


def test_what_there_is_no_room_for_is_named_and_the_rest_is_shown():
    names = [f"block.{i}" for i in range(200)]
    table = torch.linspace(0, 1, 200 * 200).reshape(200, 200).tolist()
    huge, bars = Heatmap("Huge", names, names, table), Bars("B", "", {"one": 1.0}, "%")
    texts = panel([[huge], [bars]])
    assert sum(map(len, texts)) <= MOST_CHARACTERS
    note, last = map(json.loads, texts)
    assert note["kind"] == "note" and note["lines"][0].startswith("Huge: too many numbers")
    assert last["names"] == ["one"]


def test_a_real_comparison_fits():
    # Eight LoRAs of a model with 57 blocks.
    rows, columns = [f"double.{i}" for i in range(57)], [f"{i}" for i in range(28)]
    table = torch.rand(57, 28).tolist()
    maps = [Heatmap(name, rows, columns, table) for name in ("Outputs shared", "Inputs shared", "Cosine")]
    assert [json.loads(text)["kind"] for text in panel([maps])] == ["heatmap"] * 3


def test_the_picture_is_that_of_the_plots():
    series, cut = {"one": [3.0, 2.0, 1.0]}, {"one": 2}
    values, points = {"a": 1.0, "b": 2.0}, {"line": [(0.0, 1.0), (1.0, 0.0)]}
    table = [[0.25, math.nan]]
    charts = [
        [Spectra("", "S", series, cut), Bars("", "B", values, "%")],
        [Heatmap("H", ["r"], ["a", "b"], table), Curves("", "C", points, "x", "y", (0.0, 1.0))],
        [Note(["A: one"])],
    ]
    drawn = [
        [plots.spectra(series, cut, "S"), plots.bars(values, "B", "%")],
        [
            plots.heatmap(torch.tensor(table), ["r"], ["a", "b"], "H"),
            plots.curves(points, "C", "x", "y", (0.0, 1.0)),
        ],
        [plots.caption(["A: one"])],
    ]
    assert torch.equal(draw(charts), plots.stack([plots.beside(row) for row in drawn]))
    assert [chart["kind"] for chart in read(*charts)] == ["lines", "bars", "heatmap", "lines", "note"]


def test_what_cannot_be_drawn_is_not_sent():
    with pytest.raises(ValueError, match="above 0"):
        panel([[Spectra("", "", {"one": [0.0]})]])
    with pytest.raises(ValueError, match="JSON"):
        panel([[Bars("", "", {"one": math.inf}, "")]])


def test_the_charts_of_a_lora_are_its_singular_values_and_energies():
    name = "lora_unet_mid_block_attentions_0_proj_in"
    # up @ down has the singular values 6 and 2, times alpha / rank = 1 / 2.
    tensors = {
        f"{name}.lora_up.weight": torch.tensor([[6.0, 0.0], [0.0, 2.0], [0.0, 0.0]]),
        f"{name}.lora_down.weight": torch.eye(2, 4),
        f"{name}.alpha": torch.tensor(1.0),
    }
    report = lora_report(LoraModel(tensors))
    spectra, bars = read(*report.charts)
    assert [(line["x"], line["y"]) for line in spectra["series"]] == [([1, 2], [3, 1])]
    assert bars["names"] == ["middle"] and bars["values"] == [100]
    assert "| middle | 100.0% |" in report.text
