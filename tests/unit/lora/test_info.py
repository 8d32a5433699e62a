import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from delta.lora.info import LoraInfo, families_in, model_family, read_header, read_info, trigger_words


@pytest.fixture
def lora(tmp_path) -> Path:
    return tmp_path / "ink.v1.safetensors"


def write(path: Path, **metadata: str) -> Path:
    save_file(
        {"lora_unet_x.lora_up.weight": torch.zeros(4, 2)},
        path,
        {key.replace("__", "."): value for key, value in metadata.items()},
    )
    return path


def beside(path: Path, ending: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    path.with_suffix(ending).write_text(text, encoding="utf-8")


def test_what_the_file_itself_tells(lora):
    tags = {"10_ink": {"inkstyle": 12, "cat": 5, " wash ": 12}, "2_more": {"inkstyle": 8, "wash": 8, "dog": 3}}
    write(
        lora,
        modelspec__title="Ink Wash",
        ss_output_name="ink_v1",
        ss_base_model_version="sdxl_base_v1-0",
        ss_resolution="(1024, 1024)",
        ss_steps="1500",
        ss_tag_frequency=json.dumps(tags),
        ss_dataset_dirs=json.dumps({"10_ink": {"img_count": 12}, "2_more": {"img_count": 8}}),
    )
    assert read_info(lora) == LoraInfo(
        "Ink Wash", "sdxl_base_v1-0", ("inkstyle", "wash"), (("inkstyle", 20), ("wash", 20), ("cat", 5), ("dog", 3)),
        "1024, 1024", "1500",
    )  # fmt: skip
    assert read_header(lora).tensors == {"lora_unet_x.lora_up.weight": ((4, 2),)}


def test_frequent_tags_alone_are_no_trigger_words(lora):
    write(lora, ss_tag_frequency=json.dumps({"a": {"1girl": 9}}))
    assert read_info(lora).words == () and read_info(lora).tags == (("1girl", 9),)
    one_picture = {"a": {"img_count": 1}}
    write(lora, ss_tag_frequency=json.dumps({"a": {"1girl": 1}}), ss_dataset_dirs=json.dumps(one_picture))
    assert read_info(lora).words == ()


def test_files_beside_it_tell_the_more_the_nearer_they_are_to_the_user(lora):
    write(lora, modelspec__trigger_phrase="from the file", modelspec__title="T")
    assert read_info(lora).words == ("from the file",)
    beside(
        lora, ".civitai.info", {"trainedWords": ["civ, ai", "civ"], "baseModel": "SDXL 1.0", "model": {"name": "Ink"}}
    )
    info = read_info(lora)
    assert (info.title, info.base_model, info.words) == ("Ink", "SDXL 1.0", ("civ", "ai"))
    beside(lora, ".metadata.json", {"model_name": "M", "base_model": "Flux", "civitai": {"trainedWords": ["m"]}})
    assert read_info(lora)[:3] == ("M", "Flux", ("m",))
    beside(lora, ".json", {"activation text": "act, Act, ion", "sd version": "SD1"})
    assert read_info(lora)[:3] == ("M", "SD1", ("act", "ion"))
    beside(lora, ".txt", "mine one\n\nmine two, three")
    assert read_info(lora).words == ("mine one", "mine two", "three")


def test_a_file_that_is_no_safetensors_is_told_of_by_those_beside_it(lora):
    lora.write_bytes(b"PK\x03\x04 a pickle")
    assert read_info(lora) == LoraInfo()
    beside(lora, ".txt", "word")
    assert read_info(lora) == LoraInfo(words=("word",))
    assert read_info(lora.with_name("not there")) == LoraInfo()


DEEP = "[" * 200_000
HUGE = '{"activation text": 1' + "0" * 5000 + "}"


@pytest.mark.parametrize(
    "value",
    [
        "", "[]", "3", "null", '"a"', "{", DEEP, '{"a":' * 100_000, HUGE, "\ud83d".encode("utf-8", "surrogatepass").decode("latin1"),
        {"activation text": 3, "model": [], "baseModel": {"a": 1}, "trainedWords": {"a": 1}},
        {"activation text": None, "trainedWords": [None, 3, ["a"], {}], "model": {"name": []}},
        {"model_name": float("nan"), "base_model": float("inf"), "sd version": True, "civitai": {"trainedWords": 10**400}},
        {"model_name": 10**400, "steps": -(10**400)},
    ],
)  # fmt: skip
def test_nothing_that_lies_beside_it_breaks_the_reader(lora, value):
    write(lora, ss_tag_frequency="[[]]", ss_dataset_dirs='{"a": {"img_count": "many"}}', ss_steps="")
    for ending in (".json", ".metadata.json", ".civitai.info"):
        beside(lora, ending, value)
    assert read_info(lora) == LoraInfo()


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_tag_frequency": DEEP},
        {"ss_tag_frequency": json.dumps({"a": {"b": -1, "c": "3", "d": None, "e": 10**400, "": 4}, "f": 3})},
        {"ss_tag_frequency": json.dumps([{"a": 1}]), "ss_dataset_dirs": "nonsense"},
    ],
)
def test_nothing_in_its_metadata_breaks_the_reader(lora, metadata):
    assert read_info(write(lora, **metadata)) == LoraInfo()


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"{}", b'{"a": 3, "__metadata__": []}', b'{"__metadata__": {"ss_steps": {}}}', b"[" * 10**6]
)
def test_no_header_breaks_the_reader(lora, header):
    lora.write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_info(lora) == LoraInfo()


def test_a_header_that_claims_to_be_endless_is_not_read(lora):
    lora.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    assert read_header(lora) == ({}, {})


def test_long_and_unwritable_texts_are_cut(lora):
    write(lora, modelspec__title="a\n\tb" + "x" * 100_000)
    beside(lora, ".json", '{"activation text": "\\ud800 one, two\\u0000"}')
    info = read_info(lora)
    assert info.title.startswith("a bxxx") and len(info.title) == 300
    assert info.words == ("one", "two") and "".join(info.words).encode()
    beside(lora, ".txt", "\n".join(f"word {number}" for number in range(10_000)))
    assert len(read_info(lora).words) == 64
    beside(lora, ".txt", "x" * 3_000_000)
    assert read_info(lora).words == ("one", "two")


def test_words_of_several_loras_stand_once():
    infos = [LoraInfo(words=("ink", "Wash")), LoraInfo(), LoraInfo(words=("wash", "grain"))]
    assert trigger_words(infos) == "ink, Wash, grain" and trigger_words([]) == ""


def layers(path: Path, *names: str) -> Path:
    save_file({f"{name}.lora_{part}.weight": torch.zeros(2, 2) for name in names for part in ("up", "down")}, path)
    return path


def test_the_header_tells_the_family(lora):
    sd = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    xl = "lora_unet_up_blocks_0_attentions_2_transformer_blocks_9_attn1_to_q"
    assert families_in(layers(lora, sd)) == ["Stable Diffusion 1 or 2"] and families_in(layers(lora, xl)) == ["SDXL"]
    assert families_in(layers(lora, sd, xl)) == families_in(layers(lora, "lora_te_x")) == []
    marks = ("input_blocks.0.0.weight", "input_blocks.1.1.norm.weight", "input_blocks.11.0.in_layers.0.weight")
    save_file({f"model.diffusion_model.{mark}": torch.zeros(1) for mark in marks}, lora)
    assert model_family(lora) == "Stable Diffusion 1 or 2" and model_family(layers(lora, sd)) == ""
    lora.write_bytes(b"nonsense")
    assert model_family(lora) == "" and families_in(lora) == []
