"""The demo on a user's models folder: here one with the demo's own models of random weights, under a user's names."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "tests/harness"
FILES = {
    "checkpoints/mine.safetensors": "checkpoints/styledelta_demo_sd15_tuned.safetensors",
    "checkpoints/bases/plain.safetensors": "checkpoints/styledelta_demo_sd15.safetensors",
    "loras/strokes.safetensors": "loras/styledelta_demo_kohya.safetensors",
    "loras/inks/dots.safetensors": "loras/styledelta_demo_diffusers.safetensors",
    "controlnet/my_Canny-net.safetensors": "controlnet/styledelta_demo_controlnet.safetensors",
}


@pytest.fixture
def models(base_dir, tmp_path) -> Path:
    """A models folder in which nothing may be written."""
    folder = tmp_path / "models"
    for name, source in FILES.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(base_dir / "models" / source)
    return folder


def test_workflows_run_on_a_folder_that_is_only_read(host_dir, models, tmp_path):
    base, out = tmp_path / "base", tmp_path / "out"
    (base / "custom_nodes").mkdir(parents=True)
    (base / "custom_nodes/ComfyUI-StyleDelta").symlink_to(ROOT, target_is_directory=True)
    before = sorted(models.rglob("*"))
    names = ("lora_remove_subspace", "lora_extract_files", "lora_merge", "norm_schedule", "controlnet_regions")
    only = [argument for name in names for argument in ("--only", name)]
    command = [HARNESS / "own_demo.py", host_dir, base, out, models, "mine.safetensors", "strokes.safetensors"]
    command += [str(Path("inks/dots.safetensors")), *only]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lora_merge: skipped, it needs 3 LoRAs, and --loras names 2" in done.stdout
    assert "norm_schedule: skipped, it needs styledelta_norms_00001_.safetensors" in done.stdout
    assert "controlnet_regions: skipped, it needs a ControlNet for mine.safetensors with scribble" in done.stdout
    assert "2 of 5 workflows ran, 3 were skipped." in done.stdout, done.stdout
    gallery = (out / "index.html").read_text(encoding="utf-8")
    assert "The workflows on mine.safetensors" in gallery and "--loras names 2" in gallery
    assert list((out / "lora_extract_files").glob("*.png"))
    assert sorted(models.rglob("*")) == before
