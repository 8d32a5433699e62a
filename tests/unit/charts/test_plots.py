"""The pictures: their form, that they show the data they are given, and that nothing is cut off."""

import math

import pytest
import torch

from delta.charts.canvas import GRID, INK, PAPER, round_ticks, short_number
from delta.charts.plots import HEAT, SERIES, SIGNED_HEAT, bars, beside, caption, curves, heatmap, spectra, stack

LONG = "a label that goes on and on, far beyond what anybody would call a block or a LoRA " * 2
POWERS = [2.0**-i for i in range(16)]
TABLE = torch.tensor([[1.0, 0.25], [0.0, 0.5]])
PICTURES = {
    "spectra": lambda: spectra({"one": POWERS, "two": [1, 0.9, 0.8]}, {"one": 4}, "Spectra"),
    "spectra of many": lambda: spectra({f"{i}": [i + 1, 1] for i in range(40)}, {f"{i}": i for i in range(40)}, "Many"),
    "one value": lambda: spectra({"one": [3.0]}, {"one": 9}, "One"),
    "nearly flat": lambda: spectra({"one": [1.02, 1.01, 1.0]}, None, "Flat"),
    "bars": lambda: bars({"one": 1.0, "two": 2.5}, "Energy", "share of the squared norm"),
    "bars of nothing": lambda: bars({"one": 0.0}, "Energy", "%"),
    "many bars": lambda: bars({f"single_blocks.{i}": i * 1.7 for i in range(60)}, "Energy", "%"),
    "heatmap": lambda: heatmap(TABLE, ["a", "b"], ["a", "b"], "Overlap"),
    "large heatmap": lambda: heatmap(torch.rand(57, 60), ["row"] * 57, ["column"] * 60, "Overlap"),
    "tall heatmap": lambda: heatmap(torch.rand(57, 1), [f"single.{i}" for i in range(57)], ["A-B"], "Overlap"),
    "signed heatmap": lambda: heatmap(2 * TABLE - 1, ["a", "b"], ["a", "b"], "Cosine", signed=True),
    "curves": lambda: curves({"one": [(1, 5), (2, 3)], "two": [(1, 4)]}, "Size", "size (MB)", "error (%)"),
    "caption": lambda: caption(["A: one", LONG]),
    "curve": lambda: curve([(1, 5), (2, 3), (4, 2)], "Size", "size (MB)", "error (%)", (2, 3)),
    "one point": lambda: curve([(0, 0)], "Size", "size (MB)", "error (%)", None),
    "falling below 0": lambda: curve([(-3, -1e-7), (2, 4e7)], "Size", "x", "y", None),
    "long spectra": lambda: spectra({LONG: POWERS, "two": [1]}, {LONG: 0, "two": 16}, LONG),
    "long bars": lambda: bars({LONG: 123456.0, "two": 1e-9}, LONG, LONG),
    "long heatmap": lambda: heatmap(TABLE, [LONG, "b"], ["a", LONG], LONG),
    "long curve": lambda: curve([(1, 5), (2e5, 3)], LONG, LONG, LONG, (2e5, 5)),
}


def curve(points, title, x_label, y_label, mark=None) -> torch.Tensor:
    return curves({"": points}, title, x_label, y_label, mark)


def covered(picture: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    """[height, width]: where the picture has this colour, up to rounding."""
    return ((picture[0] * 255 - torch.tensor(colour)).abs() < 2).all(-1)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_paper_with_everything_inside(name: str) -> None:
    picture = PICTURES[name]()
    assert picture.dim() == 4 and picture.shape[0] == 1 and picture.shape[3] == 3 and picture.dtype == torch.float32
    assert 0 <= picture.min() and picture.max() <= 1
    paper = covered(picture, PAPER)
    assert paper.float().mean() > 0.05
    for edge in (paper[:12], paper[-12:], paper[:, :12], paper[:, -12:]):
        assert edge.all()


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_data_gives_the_same_picture(name: str) -> None:
    torch.manual_seed(0)
    first = PICTURES[name]()
    torch.manual_seed(0)
    assert torch.equal(first, PICTURES[name]())


def test_long_labels_are_complete() -> None:
    short, long = bars({"m" * 5: 1.0}, "", ""), bars({"m" * 85: 1.0}, "", "")
    strip = slice(20, 42)
    ink = [int((picture[0, strip, :-518].mean(-1) < 0.6).sum()) for picture in (short, long)]
    assert ink[1] == pytest.approx(17 * ink[0], rel=0.05)
    assert long.shape[2] > short.shape[2] + 80 * 10


def test_a_bar_twice_as_long_has_twice_the_pixels() -> None:
    picture = bars({"one": 1.0, "two": 2.0, "none": 0.0, "four": 4.0}, "Energy", "%")
    blue = covered(picture, SERIES[0])
    rows = blue.any(1).nonzero().flatten()
    groups = [blue[row].sum().item() for row in rows if blue[row].sum() > 20]
    lengths = sorted(set(groups))
    assert len(lengths) == 3
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=3) and lengths[2] == pytest.approx(4 * lengths[0], abs=5)
    assert groups.count(lengths[0]) == groups.count(lengths[1]) == groups.count(lengths[2])


def test_bars_stand_in_the_given_order() -> None:
    blue = covered(bars({"short": 1.0, "long": 3.0}, "Energy", "%"), SERIES[0])
    lengths = [int(n) for n in blue.sum(1) if n > 20]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def tick_columns(picture: torch.Tensor) -> list[int]:
    """The x of the vertical grid lines."""
    share = covered(picture, GRID).float().mean(0)
    columns = (share > 0.4).nonzero().flatten().tolist()
    return [x for x in columns if x - 1 not in columns]


def test_the_cut_stands_behind_the_last_value_kept() -> None:
    values = [1 - i / 40 for i in range(16)]
    plain, marked = (spectra({"one": values}, cut, "Spectrum") for cut in (None, {"one": 7}))
    assert plain.shape == marked.shape
    ticks = tick_columns(plain)
    # Numbers stand at 1, 2, 4, 6 and so on to 16.
    assert len(ticks) == 9
    changed = (plain != marked).any(-1)[0].float().mean(0)
    (column,) = changed.topk(1).indices.tolist()
    assert column == pytest.approx(ticks[3] + 1.5 * (ticks[4] - ticks[3]) / 2, abs=2)


def test_a_shared_cut_is_ink_and_others_have_the_colour_of_their_series() -> None:
    series = {"one": POWERS, "two": [2 * v for v in POWERS]}
    ink, first, second = (int(covered(spectra(series, None, ""), c).sum()) for c in (INK, SERIES[0], SERIES[1]))
    shared, apart = spectra(series, {"one": 5, "two": 5}, ""), spectra(series, {"one": 5, "two": 9}, "")
    assert covered(shared, INK).sum() > ink + 100
    assert covered(apart, SERIES[0]).sum() > first + 100 and covered(apart, SERIES[1]).sum() > second + 100


def test_a_legend_stands_beside_several_series_only() -> None:
    assert spectra({"one": POWERS, "two": POWERS}, None, "").shape[2] > spectra({"one": POWERS}, None, "").shape[2] + 50


def test_rounding_does_not_stretch_the_axis() -> None:
    clean, noisy = spectra({"one": [1, 0.5, 0.2]}, None, ""), spectra({"one": [1, 0.5, 0.2, 1e-9, 0]}, None, "")
    assert clean.shape[1] == noisy.shape[1]
    rows = [covered(picture, SERIES[0]).any(1).nonzero().flatten() for picture in (clean, noisy)]
    assert rows[0].min() == rows[1].min() and rows[0].max() == rows[1].max()


def test_a_heatmap_has_the_colours_and_numbers_of_its_table() -> None:
    picture = heatmap(TABLE, ["a", "b"], ["a", "b"], "Overlap")
    for colour in (HEAT[-1], HEAT[1], HEAT[0], HEAT[2]):
        assert covered(picture, colour).sum() > 800


def test_a_signed_heatmap_tells_plus_from_minus() -> None:
    picture = heatmap(torch.tensor([[1.0, -1.0], [0.0, -0.5]]), ["a", "b"], ["a", "b"], "Cosine", signed=True)
    for colour in (SIGNED_HEAT[0], SIGNED_HEAT[1], SIGNED_HEAT[2], SIGNED_HEAT[4]):
        assert covered(picture, colour).sum() > 800


def test_a_cell_without_a_number_stays_paper() -> None:
    full, half = (heatmap(torch.tensor([[1.0, other]]), ["a"], ["a", "b"], "") for other in (1.0, math.nan))
    assert full.shape == half.shape
    columns = [covered(picture, HEAT[-1]).sum(0) > 20 for picture in (full, half)]
    assert (columns[0] & ~columns[1]).sum() == 43 and not (columns[1] & ~columns[0]).any()


def test_tall_heatmaps_have_flat_cells() -> None:
    tall = heatmap(torch.ones(57, 1), ["a"] * 57, ["b"], "")
    assert 57 * 22 < tall.shape[1] < 57 * 22 + 100


@pytest.mark.parametrize(("columns", "numbers"), [(16, True), (17, False)])
def test_cells_have_numbers_while_there_is_room(columns: int, numbers: bool) -> None:
    picture = heatmap(torch.ones(1, columns), ["a"], [""] * columns, "")
    side = 704 // columns - 1
    filled = float(covered(picture, HEAT[-1]).sum()) / (columns * side**2)
    assert filled < 0.95 if numbers else filled == pytest.approx(1, abs=0.01)


def test_a_curve_rises_with_its_data_whatever_the_order() -> None:
    rising, shuffled = (
        curve(points, "", "x", "y", None) for points in ([(1, 1), (2, 2), (3, 3)], [(3, 3), (1, 1), (2, 2)])
    )
    assert torch.equal(rising, shuffled)
    y, x = covered(rising, SERIES[0]).nonzero().T.double()
    assert torch.corrcoef(torch.stack([x, y]))[0, 1] < -0.99


def test_each_of_several_curves_has_its_colour_and_a_place_in_the_legend() -> None:
    one = [(0, 3), (1, 1)]
    picture, alone = curves({"one": one, "two": [(0, 2), (1, 0)]}, "", "x", "y"), curve(one, "", "x", "y")
    assert picture.shape[2] > alone.shape[2]
    rows = [covered(picture, colour)[:, :600].any(1).nonzero().double().mean() for colour in SERIES[:2]]
    assert rows[0] < rows[1]


def test_the_mark_lies_where_the_curve_has_it() -> None:
    points = [(0, 10), (5, 4), (10, 0)]
    blue = covered(curve(points, "", "x", "y", None), SERIES[0]).nonzero().double()
    ends = blue[blue[:, 1].argmin()], blue[blue[:, 1].argmax()]
    marked = covered(curve(points, "", "x", "y", (5, 4)), SERIES[1])
    # The dot is the densest spot; its lines and numbers are thin.
    dense = torch.nn.functional.avg_pool2d(marked[None, None].float(), 9, 1, 4)[0, 0]
    y, x = divmod(int(dense.argmax()), dense.shape[1])
    assert x == pytest.approx(float(ends[0][1] + ends[1][1]) / 2, abs=4)
    assert y == pytest.approx(float(0.6 * ends[1][0] + 0.4 * ends[0][0]), abs=6)


def test_stacked_pictures_keep_every_pixel() -> None:
    narrow, wide = bars({"one": 1.0}, "", ""), curve([(1, 2)], "", "x", "y", None)
    whole = stack([narrow, wide])
    height, width = narrow.shape[1:3]
    assert whole.shape == (1, height + wide.shape[1], max(width, wide.shape[2]), 3)
    assert torch.equal(whole[:, :height, :width], narrow)
    assert torch.equal(whole[:, height:, : wide.shape[2]], wide)
    assert covered(whole[:, :height, width:], PAPER).all() and width < wide.shape[2]


def test_pictures_beside_each_other_keep_every_pixel() -> None:
    low, high = caption(["one"]), bars({"one": 1.0}, "", "")
    whole = beside([low, high])
    height, width = low.shape[1:3]
    assert whole.shape == (1, high.shape[1], width + high.shape[2], 3)
    assert torch.equal(whole[:, :height, :width], low) and torch.equal(whole[:, :, width:], high)
    assert covered(whole[:, height:, :width], PAPER).all()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: spectra({}, None, ""), "nothing to draw"),
        (lambda: spectra({"one": []}, None, ""), "nothing to draw"),
        (lambda: spectra({"one": [0.0]}, None, ""), "above 0"),
        (lambda: spectra({"one": [math.nan]}, None, ""), "NaN"),
        (lambda: spectra({"one": [1.0]}, {"two": 1}, ""), "no spectrum for two"),
        (lambda: bars({}, "", ""), "nothing to draw"),
        (lambda: bars({"one": -1.0}, "", ""), "negative"),
        (lambda: bars({"one": math.inf}, "", ""), "infinite"),
        (lambda: heatmap(torch.zeros(0, 0), [], [], ""), "nothing to draw"),
        (lambda: heatmap(TABLE, ["a"], ["a", "b"], ""), "1 x 2 labels"),
        (lambda: heatmap(2 * TABLE, ["a", "b"], ["a", "b"], ""), "0 to 2"),
        (lambda: heatmap(torch.nan * TABLE, ["a", "b"], ["a", "b"], ""), "nothing to draw"),
        (lambda: heatmap(TABLE / 0, ["a", "b"], ["a", "b"], ""), "infinite"),
        (lambda: heatmap(-TABLE, ["a", "b"], ["a", "b"], ""), "shows 0..1, not -1 to 0"),
        (lambda: heatmap(2 * TABLE, ["a", "b"], ["a", "b"], "", signed=True), "shows -1..1, not 0 to 2"),
        (lambda: caption([]), "no lines"),
        (lambda: curves({}, "", "", ""), "nothing to draw"),
        (lambda: beside([]), "no pictures"),
        (lambda: curve([], "", "", "", None), "nothing to draw"),
        (lambda: curve([(1, math.nan)], "", "", "", None), "NaN"),
        (lambda: curve([(1, 1)], "", "", "", (math.inf, 1)), "mark"),
        (lambda: stack([]), "no pictures"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (0.25, "0.25"), (1234, "1,234"), (0.000123, "1.23e-4"), (2e6, "2e6"), (-3.14159, "-3.14")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 128), (-3, 7), (0.013, 0.014), (0, 3e-7), (1e5, 9e5)])
def test_ticks_are_few_and_enclose_the_range(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert ticks[0] <= low + 1e-12 and ticks[-1] >= high * (1 - 1e-9) and 5 <= len(ticks) <= 12
    steps = [b - a for a, b in zip(ticks, ticks[1:])]
    assert max(steps) == pytest.approx(min(steps))
