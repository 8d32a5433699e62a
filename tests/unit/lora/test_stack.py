import pytest

from delta.files.adapter_names import is_adapter, naming
from delta.lora.stack import NO_LORA, EntryReport, StackEntry, format_report, read_stack


def test_an_entry_is_a_strict_3_tuple():
    entry = StackEntry("a.safetensors", 0.5, 1.0, "attn2=0")
    name, strength_model, strength_clip = entry
    assert (name, strength_model, strength_clip) == ("a.safetensors", 0.5, 1.0) and len(entry) == 3
    assert isinstance(entry, tuple) and entry.block_weights == "attn2=0"


def test_stacks_of_other_packs_are_read():
    entries = read_stack([("a", 1, 0.5), ["b", "0.25", 1], ("None", 1.0, 1.0), ("c", 1.0, 1.0, "extra", True)])
    assert entries == [("a", 1.0, 0.5), ("b", 0.25, 1.0), ("c", 1.0, 1.0)]
    assert all(entry.block_weights == "" for entry in entries)
    assert read_stack([StackEntry("a", 1, 1, "middle=0")])[0].block_weights == "middle=0"


@pytest.mark.parametrize("stack", [None, [], [("None", 1.0, 1.0)]])
def test_an_empty_stack_has_no_entries(stack):
    assert read_stack(stack) == []
    assert format_report([]) == NO_LORA


@pytest.mark.parametrize("row", [("a", 1.0), ("a", "strong", 1.0), 3, ("a", float("nan"), 1.0), {"a": 1}])
def test_rows_that_are_no_entries_are_quoted(row):
    with pytest.raises(ValueError, match="expected .name, strength_model, strength_clip"):
        read_stack([row])


@pytest.mark.parametrize(
    "stack", [("ink.safetensors", 1.0, 0.5), StackEntry("ink.safetensors", 1, 1), "ink.safetensors", 3]
)
def test_a_single_row_in_the_place_of_a_list_is_told(stack):
    with pytest.raises(ValueError, match="must be a list of rows .*but it is a .*even for one row"):
        read_stack(stack)


def test_the_report_counts_blocks_and_lists_what_matched_nothing():
    paths = [("input", "1", "attn1"), ("input", "1", "attn2"), ("middle", "1", "attn1")]
    report = EntryReport(
        StackEntry("a", 0.5, 1.0, "attn2=0"), paths, [], [("output", "1", "x")], ["odd.weight"], ["single"], ["te"]
    )
    assert format_report([report]).splitlines() == [
        "1. a  model 0.5, clip 1",
        "   block weights: `attn2=0`",
        "   model: 3 weights (input.1 2, middle 1)",
        "   clip: nothing",
        "   switched off: 1 weights (output.1 1)",
        "   not applied, no CLIP connected: 1 text encoder tensors",
        "   rules that match nothing here: single",
        "   matched nothing: odd.weight",
    ]


def test_adapters_are_told_from_models():
    assert is_adapter(["lora_unet_a.hada_w1_a"]) and is_adapter(["x.diff_b"])
    assert not is_adapter(["model.diffusion_model.input_blocks.0.0.weight"])
    assert naming([]) == "no tensors"
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"
    sd = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"
    assert naming([text, sd]) == "kohya names (lora_unet_...), as for Stable Diffusion 1 or 2"
    assert naming(["diffusion_model.blocks.0.self_attn.q.lora_A.weight"]).endswith("as for Wan")
