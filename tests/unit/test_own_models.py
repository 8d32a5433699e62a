"""Which of a user's models take the places of those that a workflow names."""

import json

import pytest
from demo_models import write_safetensors
from own_models import MissingModel, OwnModels, extra_model_paths, own_models, with_own

TWO = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"}},
    "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dreamshaper_8.safetensors"}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
}
FILES = {
    "1": {
        "class_type": "StyleDeltaExtractLoraFiles",
        "inputs": {
            "tuned": "checkpoints/dreamshaper_8.safetensors",
            "base": "checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
        },
    }
}
LOOP = {"1": {"class_type": "StyleDeltaStyleLibrary", "inputs": {"index": ["2", 0], "name": ""}}}
CORE_ROWS = {"1": {"class_type": "LoadLoraModel", "inputs": {"loras.0.lora_name": "a", "loras.1.lora_name": "b"}}}


def loaders(*names):
    return {str(i): {"class_type": "StyleDeltaLoadLora", "inputs": {"lora_name": name}} for i, name in enumerate(names)}


def net(name):
    return {"1": {"class_type": "StyleDeltaLoadControlNet", "inputs": {"control_net_name": name}}}


def test_the_checkpoint_is_the_fine_tune_and_a_relative_the_base():
    own = OwnModels("mine.safetensors", ("a.safetensors", "b.safetensors"), side=1024)
    new = with_own(TWO, TWO, own)
    assert [new[node]["inputs"]["ckpt_name"] for node in "12"] == ["a.safetensors", "mine.safetensors"]
    assert new["3"]["inputs"] == {"width": 1024, "height": 1024, "batch_size": 1}
    new = with_own(FILES, FILES, own)
    assert new["1"]["inputs"] == {"tuned": "checkpoints/mine.safetensors", "base": "checkpoints/a.safetensors"}


def test_a_base_that_is_there_stays():
    own = OwnModels("mine.safetensors", ("a.safetensors", "v1-5-pruned-emaonly-fp16.safetensors"))
    assert with_own(TWO, TWO, own)["1"] == TWO["1"]


def test_the_only_model_of_a_workflow_is_the_checkpoint():
    one = {"1": TWO["1"]}
    assert with_own(one, one, OwnModels("mine.ckpt"))["1"]["inputs"]["ckpt_name"] == "mine.ckpt"


def test_loras_take_places_in_their_order_and_each_name_once():
    prompt = loaders("x.safetensors", "y.safetensors", "x.safetensors")
    new = with_own(prompt, prompt, OwnModels("mine.ckpt", loras=("1.safetensors", "2.safetensors")))
    names = [node["inputs"]["lora_name"] for node in new.values()]
    assert names == ["1.safetensors", "2.safetensors", "1.safetensors"]


def test_rows_keep_what_else_they_say():
    rows = [{"name": "x.safetensors", "on": True, "model": 0.8}, {"name": "y.safetensors", "on": False, "model": 0.7}]
    prompt = {"1": {"class_type": "StyleDeltaLoraStack", "inputs": {"rows": json.dumps(rows)}}}
    new = with_own(prompt, prompt, OwnModels("mine.ckpt", loras=("1.safetensors", "2.safetensors")))
    assert json.loads(new["1"]["inputs"]["rows"]) == [
        rows[0] | {"name": "1.safetensors"},
        rows[1] | {"name": "2.safetensors"},
    ]
    assert json.loads(prompt["1"]["inputs"]["rows"]) == rows


def test_numbers_of_a_style_network_stay():
    palette = json.dumps({"styles": [{"style": 19, "weight": 1.0}]})
    prompt = {"1": {"class_type": "StyleDeltaStylePalette", "inputs": {"palette": palette}}}
    assert with_own(prompt, prompt, OwnModels("mine.ckpt")) == prompt


def test_a_net_is_found_by_what_it_reads():
    own = OwnModels("mine.safetensors", nets=("xl/depth.safetensors", "xl/Soft-Edge_v2.safetensors"))
    new = with_own(net("control_v11p_sd15_softedge_fp16.safetensors"), net(""), own)
    assert new["1"]["inputs"]["control_net_name"] == "xl/Soft-Edge_v2.safetensors"


def test_drawings_become_photos_and_photos_stay():
    def load(*images):
        return {str(i): {"class_type": "LoadImage", "inputs": {"image": image}} for i, image in enumerate(images)}

    twin = load("drawn_cat.png", "painting.png", "drawn_cat.png", "drawn_car.png")
    new = with_own(load(*4 * ["example.png"]), twin, OwnModels("mine.ckpt"))
    images = [node["inputs"]["image"] for node in new.values()]
    assert images == ["astronaut.png", "painting.png", "astronaut.png", "coffee.png"]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (TWO, "it needs 2 safetensors checkpoints of one family, and of that of mine.ckpt there is 1"),
        (loaders("a", "b"), "it needs 2 LoRAs, and --loras names 0"),
        (loaders("styledelta_norms_00001_.safetensors"), "it needs styledelta_norms_00001_.safetensors, which another"),
        (net("control_v11p_sd15_canny_fp16.safetensors"), "it needs a ControlNet for mine.ckpt with canny in its name"),
        (LOOP, "it paints with every file of a folder of styles"),
        (CORE_ROWS, "it needs 2 LoRAs, and --loras names 0"),
        (
            {"1": {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors"}}},
            "it needs the two diffusion models of Wan 2.2",
        ),
    ],
)
def test_what_is_missing_is_said(prompt, reason):
    with pytest.raises(MissingModel) as caught:
        with_own(prompt, prompt, OwnModels("mine.ckpt"))
    assert str(caught.value).startswith(reason)


def test_models_that_fit_are_found_by_their_headers(tmp_path):
    import numpy as np

    from delta.families.registry import family_named

    family = family_named("Stable Diffusion 1 or 2")
    half = np.zeros(1, np.float16)
    # The marks of a family are enough of it here.
    model = {f"model.diffusion_model.{name}": half for name in family.marks}
    text = {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": np.zeros((1, 768), np.float16)
    }
    control = {"control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": np.zeros((1, 768), np.float16)}
    other = {"input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": np.zeros((1, 2048), np.float16)}
    files = {
        "checkpoints/mine": model | text,
        "checkpoints/sub/relative": model | text,
        "checkpoints/stranger": {"a": half},
        "controlnet/fits": control,
        "controlnet/too_wide": other,
    }
    for name, tensors in files.items():
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, tensors)
    (tmp_path / "checkpoints/broken.safetensors").write_bytes(b"no header")
    own = own_models(tmp_path, "mine.safetensors", ["a.safetensors"])
    assert own.relatives == (str((tmp_path / "sub/relative.safetensors").relative_to(tmp_path)),)
    assert (own.nets, own.loras, own.side) == (("fits.safetensors",), ("a.safetensors",), 512)


def test_comfyui_is_told_of_the_folders_that_are_there(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "t2i_adapter").mkdir()
    assert json.loads(extra_model_paths(tmp_path)) == {
        "own": {"checkpoints": str(tmp_path / "checkpoints"), "controlnet": str(tmp_path / "t2i_adapter")}
    }
