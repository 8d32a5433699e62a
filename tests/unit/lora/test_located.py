import pytest

from delta.lora.file_names import FileNames
from delta.lora.located import MOST_TOLD, Faults
from delta.lora.rows import LoraRow
from delta.lora.stack import StackEntry

FILES = FileNames(["ink_wash.safetensors", "grain.safetensors", "a/soft.pt", "b/soft.pt"])


def rows(*names: str) -> list[LoraRow]:
    return [LoraRow(number, StackEntry(name, 0.5, 0.25, "attn2=0", 0.1)) for number, name in enumerate(names, start=1)]


def test_all_missing_rows_are_told_at_once_with_the_nearest_names():
    faults = Faults(FILES, "models/loras")
    faults.check(rows("grain.safetensors", "inkwash.safetensors", "qqq.pt"), "the LoRA stack", FILES.has)
    faults.find(rows("grian", "SOFT"), "the connected text")
    with pytest.raises(FileNotFoundError) as caught:
        faults.raise_any()
    assert str(caught.value).splitlines() == [
        "Row 2 of the LoRA stack: inkwash.safetensors is not in models/loras. Similar names: ink_wash.safetensors.",
        "Row 3 of the LoRA stack: qqq.pt is not in models/loras.",
        "Row 1 of the connected text: no LoRA in models/loras is called grian. Similar names: grain.safetensors. "
        "Put the files there and refresh, or choose others.",
        "Row 2 of the connected text: Several LoRAs are called SOFT: a/soft.pt, b/soft.pt. Include the folder.",
    ]


def test_rows_are_given_the_names_of_their_files_and_keep_the_rest():
    faults = Faults(FILES, "models/loras")
    (entry,) = faults.find(rows("GRAIN"), "the connected text")
    assert entry == ("grain.safetensors", 0.5, 0.25)
    assert (entry.block_weights, entry.strength_low) == ("attn2=0", 0.1)
    faults.raise_any()


def test_a_name_of_several_files_alone_is_no_missing_file():
    faults = Faults(FILES, "models/loras")
    faults.find(rows("soft"), "the connected text")
    with pytest.raises(ValueError, match="Several LoRAs are called soft"):
        faults.raise_any()


def test_of_many_missing_rows_the_first_are_told():
    faults = Faults(FILES, "models/loras")
    faults.check(rows(*(f"lost{number}" for number in range(50))), "the LoRA stack", FILES.has)
    with pytest.raises(FileNotFoundError, match="30 more rows have no file. Put the files there") as caught:
        faults.raise_any()
    assert len(str(caught.value).splitlines()) == MOST_TOLD + 1
