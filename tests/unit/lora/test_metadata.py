"""Metadata of LoRAs that other programs wrote: what cannot be read is left out and named, and the LoRA stays of use."""

import json

import pytest
import torch

from delta.linear_algebra.rank import RankChoice
from delta.lora.bake import bake_job
from delta.lora.file import LoraModel, merged_metadata
from delta.lora.merge_job import merge_job, resize_job
from delta.lora.metadata import RECIPE, TAGS, added_tags, recipe_of, tags_of, unread_entries
from delta.lora.sources import MergeInput

GOOD = {"10_ink": {"ink": 3, "paper": 1}}
BAD_TAGS = ["", "null", "[]", '"text"', "{", '{"a": [1]}', '{"a": {"b": "c"}}', '{"a": {"b": 1e999}}']
BAD_TAGS += ["[" * 100_000, f'{{"a": {{"b": {"9" * 400}}}}}', '{"a": {"b": true, "c": [2]}}', '{"a": {"b": -1}}']


def lora(metadata, name="ink"):
    layer = "lora_unet_input_blocks_1_1_proj_in"
    tensors = {f"{layer}.lora_up.weight": torch.ones(8, 2), f"{layer}.lora_down.weight": torch.ones(2, 8)}
    return LoraModel(tensors, metadata, name)


@pytest.mark.parametrize("text", BAD_TAGS, ids=lambda text: text[:20])
def test_bad_tags_are_left_out_and_named(text):
    bad, good = lora({TAGS: text, "ss_steps": "7"}), lora({TAGS: json.dumps(GOOD)}, "paper")
    job = merge_job([(bad, 1, 1), (good, 1, 1)], "linear", "", RankChoice("fixed", 2))
    assert f"ink: metadata that cannot be read, left out: {TAGS}" in job.report
    assert {folder: tags for folder, tags in json.loads(job.model.metadata[TAGS]).items() if tags} == GOOD
    assert job.model.metadata["ss_steps"] == "7"
    resized = resize_job(bad, RankChoice("fixed", 1))
    assert f"left out: {TAGS}" in resized.report
    assert not any(tags_of(resized.model.metadata).values()) and unread_entries(resized.model.metadata) == []


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000], ids=lambda text: text[:20])
def test_a_bad_recipe_is_left_out_and_named(text):
    job = merge_job([(lora({RECIPE: text}), 1, 1)], "linear", "", RankChoice("fixed", 2))
    assert f"left out: {RECIPE}" in job.report
    assert json.loads(job.model.metadata[RECIPE])["sources"][0]["recipe"] is None
    assert f"left out: {RECIPE}" in bake_job(MergeInput(lora({RECIPE: text}), 1, 1)).report


def test_what_can_be_read_is_kept():
    metadata = {TAGS: json.dumps(GOOD), RECIPE: '{"method": "linear"}'}
    assert unread_entries(metadata) == [] == unread_entries({}) == unread_entries({TAGS: "{}", RECIPE: "{}"})
    assert recipe_of(metadata) == {"method": "linear"} and tags_of(metadata) == GOOD
    assert tags_of({TAGS: '{"a": {"b": 1, "c": "d"}, "e": 3}'}) == {"a": {"b": 1}}
    assert added_tags([metadata, metadata]) == {"10_ink": {"ink": 6, "paper": 2}}


def test_a_recipe_of_many_merges_is_kept():
    made = lora({})
    for _ in range(20):
        made = LoraModel(
            made, merged_metadata([], {"method": "linear", "sources": [{"recipe": recipe_of(made.metadata)}]})
        )
    assert unread_entries(made.metadata) == []
