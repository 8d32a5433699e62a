"""Strength at every step as a plot and as text."""

import pytest

from delta.charts.charts import draw
from delta.control.report import evenly, schedule_charts, schedule_report
from delta.control.schedule import parse_schedule


def test_the_report_multiplies_strength_and_schedule():
    lines = schedule_report(parse_schedule("1@0, 0@1"), -2.0, evenly(4)).splitlines()
    assert lines[0] == "| step | progress | strength |" and set(lines[1]) == set("|- ")
    assert [line.replace("|", " ").split() for line in lines[2:]] == [
        ["1", "0.000", "-2.000"],
        ["2", "0.250", "-1.500"],
        ["3", "0.500", "-1.000"],
        ["4", "0.750", "-0.500"],
    ]


@pytest.mark.parametrize(
    "weights", [None, {}, {"input.0": 0.5, "middle": 1.0}, {f"input.{i}": 0.8**i for i in range(13)}]
)
def test_the_plot_is_a_picture_for_any_weights(weights):
    plot = draw(schedule_charts(parse_schedule("1@0.2, 0@0.8"), 1.5, weights, evenly(20)))
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and 0 <= plot.min() < plot.max() <= 1


def test_a_single_step_and_a_flat_schedule_can_be_drawn():
    for strength in (0.0, 1.0):
        assert draw(schedule_charts(parse_schedule("1@0"), strength, None, evenly(1))).numel()
