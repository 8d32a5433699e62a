"""Captions by lines."""

import pytest

from delta.training.captions import captions_of


def test_one_line_is_for_all_pictures():
    assert captions_of(" a cat \n", 3) == ["a cat"] * 3


def test_a_line_for_each_picture_in_their_order():
    assert captions_of("a cat\na dog\r\n\nno caption above\n\n", 4) == ["a cat", "a dog", "", "no caption above"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n ", "The captions are empty. Write one line for all pictures, or one line for each"),
        ("a\nb", "There are 2 lines of captions for 3 pictures. Write one line for all, or one line for each"),
    ],
)
def test_other_texts_are_errors(text, message):
    with pytest.raises(ValueError, match=message):
        captions_of(text, 3)
