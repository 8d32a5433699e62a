import pytest

from delta.lora.folder import WHOLE, files_in, folders_of, pick

FILES = ["b.safetensors", "Ink/a.safetensors", "ink/old/a.safetensors", "ink/C.safetensors", "inkwell/d.safetensors"]


def test_folders_are_those_with_files_and_those_above():
    assert folders_of(FILES) == [WHOLE, "Ink", "ink", "ink/old", "inkwell"]
    assert folders_of([]) == [WHOLE]


def test_a_folder_has_the_files_below_it_by_name():
    assert files_in(FILES, "ink") == ["ink/C.safetensors", "ink/old/a.safetensors"]
    assert files_in(FILES, WHOLE)[0] == "b.safetensors" and len(files_in(FILES, WHOLE)) == 5
    with pytest.raises(ValueError, match="no style files in paper. Put LoRA or norm files there"):
        files_in(FILES, "paper")


@pytest.mark.parametrize(("index", "expected"), [(0, 0), (4, 4), (5, 0), (12, 2)])
def test_numbers_go_around(index, expected):
    assert pick(FILES, "", index) == expected


def test_names_are_found_in_any_form():
    assert pick(FILES, "c", 0) == pick(FILES, "C.safetensors", 0) == pick(FILES, "ink/c.safetensors", 0) == 3
    assert pick(FILES, "ink/old/a", 0) == pick(FILES, "ink\\old\\a.safetensors", 0) == 2
    with pytest.raises(ValueError, match="Several style files are called a: Ink/a.safetensors, ink/old/a.safetensors"):
        pick(FILES, "a", 0)
    with pytest.raises(ValueError, match=r"No style file is called zzz\.$"):
        pick(FILES, "zzz", 0)
