"""Schedules of a control: what their text means, what is between keyframes, and errors that point at the character."""

import math

import numpy as np
import pytest

from delta.control.schedule import ControlSchedule, Keyframe, parse_schedule, progress_at, shaped_schedule


def test_a_text_gives_keyframes():
    schedule = parse_schedule("1.0@0, 0.6@0.3; 0@80%\n-1@1")
    assert schedule.keyframes == ((0.0, 1.0), (0.3, 0.6), (0.8, 0.0), (1.0, -1.0))
    assert parse_schedule("1@0\uff0c.5\uff2050\uff05").keyframes == ((0.0, 1.0), (0.5, 0.5))


@pytest.mark.parametrize(
    ("interpolation", "expected"),
    [
        ("linear", [1, 1, 0.8, 0.6, 0.3, 0, 0]),
        ("ease", [1, 1, 0.8, 0.6, 0.3, 0, 0]),
        ("hold", [1, 1, 1, 0.6, 0.6, 0, 0]),
    ],
)
def test_strengths_between_and_beyond_keyframes(interpolation, expected):
    schedule = parse_schedule("1@0.1, 0.6@0.3, 0@0.8", interpolation)
    found = [schedule.strength(progress) for progress in (0, 0.1, 0.2, 0.3, 0.55, 0.8, 1)]
    assert found == pytest.approx(expected)


def test_ease_starts_and_ends_slowly():
    ease, linear = (parse_schedule("0@0, 1@1", name) for name in ("ease", "linear"))
    assert ease.strength(0.1) < linear.strength(0.1) / 3 and ease.strength(0.9) > 1 - 0.1 / 3
    assert ease.strength(0.25) == pytest.approx(0.15625)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [0, 1, 1, 1, 0]),
        ("fade out", [0, 1, 0.5, 0, 0]),
        ("fade in", [0, 0, 0.5, 1, 0]),
        ("fade in and out", [0, 0, 1, 0, 0]),
        ("strong at both ends", [0, 1, 0, 1, 0]),
    ],
)
def test_shapes_run_from_start_to_end_and_are_nothing_outside(shape, expected):
    schedule = shaped_schedule(shape, 0.2, 0.6)
    assert [schedule.strength(p) for p in (0.1, 0.2, 0.4, 0.6, 0.7)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "character", "reason"),
    [
        ("1.0@0, x@0.3", 8, "expected a strength; found `x`"),
        ("1.0@0, 0.6", 11, "expected @ and a progress; the text ends"),
        ("1.0@0, 0.6@", 12, "expected a progress; the text ends"),
        ("1.0@0 0.6@0.3", 7, "expected a comma or the end; found `0`"),
        ("1@0, 2@1.5", 8, "a progress must be between 0 and 1, not 1.5 (for 1.5 % write `2@0.015`)"),
        ("1@150", 3, "a progress must be between 0 and 1, not 150; found `1`"),
        ("1@0.5, 2@0.5", 10, "the progress 0.5 is not after 0.5"),
        ("1@0.5, 2@30%", 10, "the progress 0.3 is not after 0.5"),
        ("1000@0", 1, "a strength must be between -100 and 100"),
        ("1@50", 3, "a progress must be between 0 and 1, not 50 (for 50 % write `1@0.5`)"),
        ("1@0, 0.25@7.5", 11, "(for 7.5 % write `0.25@0.075`)"),
        ("1@0\n0.5@y", 9, "expected a progress; found `y`"),
        ("nan@0", 1, "expected a strength"),
        ("1@-0.1", 3, "a progress must be between 0 and 1"),
    ],
)
def test_errors_point_at_the_character(text, character, reason):
    with pytest.raises(ValueError, match=f"character {character}: ") as error:
        parse_schedule(text)
    message, line, mark = str(error.value).split("\n")
    assert reason in message and "`1.0@0, 0.6@0.3, 0@0.8`" in message
    line_start = text.rfind("\n", 0, character - 1) + 1
    assert line == text[line_start:].split("\n")[0] and mark == " " * (character - 1 - line_start) + "^"


@pytest.mark.parametrize("text", ["", " \n ", ",,"])
def test_an_empty_schedule_is_refused(text):
    with pytest.raises(ValueError, match="The schedule is empty"):
        parse_schedule(text)


def test_unknown_names_and_empty_spans_are_refused():
    with pytest.raises(ValueError, match="no interpolation `cubic`"):
        parse_schedule("1@0", "cubic")
    with pytest.raises(ValueError, match="no shape `bump`"):
        shaped_schedule("bump", 0, 1)
    for span in ((0.5, 0.5), (0.6, 0.4), (-0.1, 1), (0, 1.1)):
        with pytest.raises(ValueError, match="the start below the end"):
            shaped_schedule("constant", *span)


def test_progress_is_the_inverse_of_the_noise_at_a_progress():
    def sigma_at(progress: float) -> float:
        # As the host: beyond all noise at 0, none at 1.
        return 1e9 if progress <= 0 else 0.0 if progress >= 1 else math.exp(3 - 6 * progress)

    for progress in (0.1, 0.3, 0.5, 0.98765):
        assert progress_at(sigma_at(progress), sigma_at) == progress
    assert progress_at(1e10, sigma_at) == 0 and progress_at(0.0, sigma_at) == 1 and progress_at(25.0, sigma_at) == 0


def test_a_step_right_on_a_keyframe_belongs_to_it():
    schedule = ControlSchedule((Keyframe(0, 1), Keyframe(0.3, 0)), "hold")
    assert schedule.strength(progress_at(0.7, lambda progress: 1 - progress)) == 0
    assert schedule.strength(progress_at(0.7 + 1e-4, lambda progress: 1 - progress)) == 1


@pytest.mark.parametrize("shift", [1.0, 1.15, 3.0, 3.1])
def test_float32_noise_levels_of_flow_models_do_not_miss_keyframes(shift):
    def sigma_at(progress: float) -> float:
        return shift * (1 - progress) / (1 + (shift - 1) * (1 - progress))

    for step in range(1, 20):
        schedule = ControlSchedule((Keyframe(0, 1), Keyframe(step / 20, 0)), "hold")
        assert schedule.strength(progress_at(float(np.float32(sigma_at(step / 20))), sigma_at)) == 0
