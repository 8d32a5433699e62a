"""The style library on the real host: every file of a folder, by name and by number."""

import os
import shutil
import sys

import pytest
import torch

from .demo_loras import LORAS, updates

FOLDER = "test_styles"


@pytest.fixture
def folder(host, base_dir, checkpoint):
    """A folder of styles: the demo's LoRAs and a norm file."""
    from safetensors.torch import save_file

    path = base_dir / "models/loras" / FOLDER
    path.mkdir(exist_ok=True)
    for name, *_ in LORAS:
        shutil.copy(base_dir / "models/loras" / name, path / name)
    norms = {"lora_unet_down_blocks_0_resnets_0_norm1.w_norm": torch.full((320,), 0.5)}
    save_file(norms, path / "norms only.safetensors")
    yield FOLDER
    shutil.rmtree(path)


def choose(host, checkpoint, folder, index=0, name="", strength=1.0):
    model, clip = checkpoint
    return host.node("StyleDeltaStyleLibrary").execute(model, folder, index, name, strength, strength, clip).result


def test_every_style_is_what_its_loader_applies(host, checkpoint, folder):
    seen = []
    for index in range(len(LORAS) + 1):
        model, clip, style, count, report = choose(host, checkpoint, folder, index, strength=0.7)
        core_model, core_clip = host.node("LoraLoader")().load_lora(*checkpoint, style, 0.7, 0.7)
        for ours, core in ((model, core_model), (clip.patcher, core_clip.patcher)):
            assert ours.patches.keys() == core.patches.keys()
            found = updates(ours)
            for key, expected in updates(core).items():
                assert torch.allclose(found[key], expected, atol=1e-6), key
        assert count == len(LORAS) + 1 and style in report
        seen.append(style)
    assert seen == sorted(seen) and len(set(seen)) == count
    assert choose(host, checkpoint, folder, count)[2] == seen[0]


def test_a_name_goes_before_a_number(host, checkpoint, folder):
    style = f"{FOLDER}/norms only.safetensors"
    for name in ("norms only", "Norms only.safetensors", style, " norms only "):
        model, clip, chosen, _, _ = choose(host, checkpoint, folder, 0, name)
        assert chosen == style and list(model.patches) == ["diffusion_model.input_blocks.1.0.in_layers.0.weight"]
    with pytest.raises(ValueError, match="No style file is called norm onli. Similar names: .*norms only"):
        choose(host, checkpoint, folder, 0, "norm onli")


def test_the_second_time_nothing_is_read(host, checkpoint, folder, monkeypatch):
    choose(host, checkpoint, folder, 0, "norms only")
    readers = [module for name, module in sys.modules.items() if name.endswith("delta.files.file_reader")]

    def refuse(*_):
        raise AssertionError("a file is read")

    for module in readers:
        monkeypatch.setattr(module.FileReader, "read", refuse)
    assert readers and choose(host, checkpoint, folder, 0, "norms only")[0].patches


def test_a_file_that_was_replaced_with_its_time_and_size_kept_is_read_again(host, checkpoint, folder, base_dir):
    choose(host, checkpoint, folder, 0, "norms only")
    path = base_dir / "models/loras" / FOLDER / "norms only.safetensors"
    stamp, size = path.stat().st_mtime_ns, path.stat().st_size
    path.write_bytes(bytes(size))
    os.utime(path, ns=(stamp, stamp))
    with pytest.raises(ValueError, match="norms only.safetensors is not a complete safetensors file"):
        choose(host, checkpoint, folder, 0, "norms only")


def test_only_the_files_of_the_folder_make_it_run_again(host, checkpoint, folder, base_dir):
    stamp = host.node("StyleDeltaStyleLibrary").fingerprint_inputs
    before, whole = stamp(folder=folder), stamp()
    elsewhere = base_dir / "models/loras/test_elsewhere.safetensors"
    try:
        shutil.copy(base_dir / "models/loras" / LORAS[0][0], elsewhere)
        assert stamp(folder=folder) == before and stamp() != whole
        (base_dir / "models/loras" / folder / "norms only.safetensors").unlink()
        assert stamp(folder=folder) != before and stamp(folder="nowhere") == ""
    finally:
        elsewhere.unlink(missing_ok=True)


def test_folders_are_offered_and_an_unknown_one_is_an_error(host, checkpoint, folder):
    schema = host.node("StyleDeltaStyleLibrary").GET_NODE_INFO_V1()
    assert FOLDER in str(schema["input"]["required"]["folder"])
    with pytest.raises(ValueError, match="There are no style files in nowhere"):
        choose(host, checkpoint, "nowhere")
