import time

import pytest

from delta.lora.file_names import FileNames, UnknownName, shown

FILES = [
    "b.safetensors",
    "Ink/a.safetensors",
    "ink/old/a.safetensors",
    "ink\\C.v1.5.safetensors",
    "deep/b.safetensors",
    "caf\u00e9.pt",
]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Ink/a.safetensors", "Ink/a.safetensors"),
        ("INK/A", "Ink/a.safetensors"),
        ("ink\\old\\a", "ink/old/a.safetensors"),
        ("c.V1.5", "ink\\C.v1.5.safetensors"),
        (" C.v1.5.safetensors ", "ink\\C.v1.5.safetensors"),
        ("ink/c.v1.5", "ink\\C.v1.5.safetensors"),
        ("deep/B", "deep/b.safetensors"),
        # One file has just this path, the other one lies in a folder.
        ("b.safetensors", "b.safetensors"),
        ("b", "b.safetensors"),
        # As macOS writes it: a letter, then its accent.
        ("Cafe\u0301", "caf\u00e9.pt"),
    ],
)
def test_names_are_found_as_people_write_them(name, file):
    assert FileNames(FILES).find(name) == file


def test_the_case_tells_files_apart_where_only_that_does():
    names = FileNames(["Ink.safetensors", "ink.safetensors"])
    assert names.find("Ink.safetensors") == "Ink.safetensors" and names.find("ink.safetensors") == "ink.safetensors"
    with pytest.raises(ValueError, match="Several LoRAs are called INK"):
        names.find("INK")


def test_a_name_of_several_files_is_told_with_all_of_them():
    with pytest.raises(
        ValueError, match=r"Several LoRAs are called A: Ink/a.safetensors, ink/old/a.safetensors. Include the folder"
    ):
        FileNames(FILES).find("A")
    with pytest.raises(ValueError, match="and 4 more"):
        FileNames(f"{number}/x.pt" for number in range(9)).find("x")


def test_an_unknown_name_is_told_with_the_nearest():
    names = FileNames(["styles/ink_wash.safetensors", "grain.safetensors"])
    with pytest.raises(UnknownName, match=r"No LoRA is called inkwash. Similar names: styles/ink_wash.safetensors.$"):
        names.find("inkwash")
    with pytest.raises(UnknownName, match=r"No LoRA is called qqq\.$"):
        names.find("qqq")
    with pytest.raises(UnknownName):
        FileNames([]).find("")


@pytest.mark.parametrize("file", FILES)
def test_the_shortest_name_means_the_file(file):
    names = FileNames(FILES)
    assert names.find(names.shortest(file)) == file


def test_short_names_have_no_folder_and_no_ending_where_that_is_enough():
    names = FileNames(FILES)
    shortest = [names.shortest(file) for file in FILES]
    assert shortest == ["b", "Ink/a", "ink/old/a", "C.v1.5", "deep/b", "caf\u00e9"]
    assert names.shortest("of\\another.pack") == "of/another.pack"


def test_letters_that_cannot_be_written_are_shown_as_codes():
    assert shown("a\ud800") == "a\\ud800" and len(shown("x" * 10_000)) < 210


def test_ten_thousand_files_are_searched_fast():
    names = FileNames(f"folder{number % 97}/a style of mine {number}.safetensors" for number in range(10_000))
    start = time.perf_counter()
    assert names.find("A style of mine 77") == "folder77/a style of mine 77.safetensors"
    with pytest.raises(UnknownName):
        names.find("y" * 1_000_000)
    assert time.perf_counter() - start < 5
