"""Stacks of control nets from this pack and others."""

import pytest
import torch

from delta.control.stack import ControlEntry, ControlExtras, read_control_stack
from delta.control.weights import ControlWeights

IMAGE, NET = torch.zeros(1, 8, 8, 3), object()


def test_an_entry_is_a_strict_5_tuple_with_more_beside_it():
    entry = ControlEntry(NET, IMAGE, 0.5, 0.1, 0.9, ControlExtras(fit="pad"))
    net, image, strength, start, end = entry
    assert (net, image, strength, start, end) == (NET, IMAGE, 0.5, 0.1, 0.9)
    assert entry.describe() == "strength 0.5 from 0.1 to 0.9, fit pad"
    assert entry.extras.fit == "pad" and ControlEntry(NET, IMAGE, 1, 0, 1).extras == ControlExtras()


def test_rows_of_other_packs_become_entries():
    ours = ControlEntry(NET, IMAGE, 1.0, 0.0, 1.0, ControlExtras(fit="stretch"))
    stack = [ours, (NET, IMAGE, "0.5", 0, 1), ["name", 0.7, 0.1, 0.9, 0.8, IMAGE, True], ("name", IMAGE, 1, 0, 1)]
    entries = read_control_stack(stack)
    assert [number for number, _ in entries] == [1, 2, 3, 4]
    entries = [entry for _, entry in entries]
    assert entries[0] is ours and [len(entry) for entry in entries] == [5] * 4
    assert entries[1][2:] == (0.5, 0.0, 1.0) and entries[1].extras.weights is None
    assert entries[2][0] == "name" and entries[2][2:] == (0.7, 0.1, 0.9)
    assert entries[2].extras.weights == ControlWeights(falloff=0.8)
    assert entries[3][:2] == ("name", IMAGE) and len(stack) == 4


def test_rows_keep_their_numbers_behind_empty_slots():
    stack = [(None, IMAGE, 1, 0, 1), (NET, IMAGE, 1, 0, 1), (NET, None, 0, 0, 1)]
    assert [number for number, _ in read_control_stack(stack)] == [2, 3]


def test_empty_slots_and_no_stack_give_nothing():
    assert read_control_stack(None) == [] == read_control_stack([])
    assert read_control_stack([(None, IMAGE, 1, 0, 1), ("None", 1, 0, 1, 1, None, True), ()]) == []


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ((NET, IMAGE), "has 2 values"),
        ((NET, IMAGE, 1, 0, 1, 2), "has 6 values"),
        ((NET, IMAGE, "x", 0, 1), "cannot be read"),
        ((NET, IMAGE, float("inf"), 0, 1), "not finite"),
        ((NET, None, 1, 0, 1), "has no image"),
    ],
)
def test_rows_that_cannot_be_read_are_named(row, what):
    with pytest.raises(ValueError, match=f"Row 2 of the control stack .*{what}"):
        read_control_stack([(NET, IMAGE, 1, 0, 1), row])


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ((1, 0, 1), ""),
        ((0, 0, 1), "strength 0"),
        ((1, 0, 0), "its range from 0 to 0 is empty"),
        ((1, 0.8, 0.2), "its range from 0.8 to 0.2 is empty"),
    ],
)
def test_rows_that_do_nothing_say_why_and_need_no_image(numbers, why):
    assert ControlEntry(NET, IMAGE, *numbers).off_because() == why
    if why:
        assert len(read_control_stack([(NET, None, *numbers)])) == 1


@pytest.mark.parametrize(
    ("stack", "what"),
    [
        ((NET, IMAGE, 1, 0, 1), "a single row of 5 values"),
        (ControlEntry(NET, IMAGE, 1, 0, 1), "a single row of 5 values"),
        ([(NET, IMAGE, 1, 0, 1), NET], "a list that contains a value of type object"),
        (NET, "a object"),
    ],
)
def test_what_is_no_list_of_rows_is_told(stack, what):
    with pytest.raises(ValueError, match=f"must be a list of rows .*but it is {what}.*even for one row"):
        read_control_stack(stack)
