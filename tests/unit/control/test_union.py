"""Types of union nets by the names of their own family."""

import pytest

from delta.control.union import AUTO, TYPES, flux_union, sdxl_union, type_numbers


def test_one_name_is_another_number_in_each_family():
    assert type_numbers(flux_union(10), "canny") == [0] and type_numbers(sdxl_union(8), "canny") == [3]
    assert type_numbers(flux_union(7), "low quality") == [6] and type_numbers(sdxl_union(8), "inpaint") == [7]
    assert type_numbers(sdxl_union(6), "soft edge") == [2] == type_numbers(sdxl_union(6), "scribble")
    assert type_numbers(flux_union(10), AUTO) == [] and type_numbers(None, AUTO) is None


def test_every_type_belongs_to_a_family():
    assert set(TYPES) == {AUTO} | set(flux_union(10).numbers) | set(sdxl_union(8).numbers)
    assert len(TYPES) == len(set(TYPES)) and TYPES[0] == AUTO


def test_what_a_net_does_not_have_is_refused():
    with pytest.raises(ValueError, match="Flux union ControlNet has no type `inpaint`. It has: auto, canny, tile"):
        type_numbers(flux_union(10), "inpaint")
    with pytest.raises(ValueError, match="6 types has no type `inpaint`.* ProMax"):
        type_numbers(sdxl_union(6), "inpaint")
    with pytest.raises(ValueError, match="has no types.*Set type to auto"):
        type_numbers(None, "canny")
