"""Train Norms on the demo's checkpoint through a running server."""

import pytest
from comfy_server import PromptError
from safetensors.torch import load_file

from .conftest import CHECKPOINT
from .norm_training import SETTINGS, files, losses


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def training_prompt(steps: int, seed: int) -> dict:
    """Train the demo's checkpoint on a small picture, save the result and show the report."""
    settings = {**SETTINGS, "modulation": False, "seed": seed, "steps": steps, "learning_rate": 0.02}
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "photo": node("LoadImage", image="astronaut.png"),
        "small": node(
            "ImageScale", image=["photo", 0], upscale_method="area", width=64, height=64, crop="disabled"
        ),
        "vae": node("VAELoader", vae_name="taesd"),
        "latent": node("VAEEncode", pixels=["small", 0], vae=["vae", 0]),
        "prompt": node("CLIPTextEncode", clip=["checkpoint", 1], text="an astronaut"),
        "train": node(
            "StyleDeltaTrainNorms",
            model=["checkpoint", 0],
            latents=["latent", 0],
            conditioning=["prompt", 0],
            **settings,
        ),
        "save": node("StyleDeltaSaveLora", lora_model=["train", 0], filename_prefix="loras/trained_norms_server",
                     dtype="float32", naming="as it is"),
        "report": node("PreviewAny", source=["train", 1]),
        "plot": node("PreviewImage", images=["train", 2]),
    }  # fmt: skip


def test_it_runs_through_the_server(server, base_dir):
    outputs = server.run(training_prompt(steps=4, seed=1))
    before, after = losses(outputs["report"]["text"][0])
    assert after < before
    assert server.view(**outputs["plot"]["images"][0])
    (path,) = files(base_dir, "trained_norms_server")
    assert all(tensor.any() for tensor in load_file(path).values())
    path.unlink()


def test_cancel_keeps_the_best_so_far(server, base_dir, host):
    for path in files(base_dir, "styledelta_norms_interrupted"):
        path.unlink()
    steps = 200
    # Past the first evaluation in between.
    enough = 8 + 3 * (steps // 10) + 8 + 4

    def interrupt(progress) -> None:
        if progress.node_class == "StyleDeltaTrainNorms" and progress.value >= enough:
            server.interrupt()

    with pytest.raises(PromptError, match="interrupted"):
        server.run(training_prompt(steps, seed=2), on_progress=interrupt)
    (path,) = files(base_dir, "styledelta_norms_interrupted")
    lora = load_file(path)
    assert lora and all(tensor.any() for tensor in lora.values())
    assert path.name in (base_dir / "test-server.log").read_text(encoding="utf-8")
    model, _, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    applied = host.node("LoraModelLoader").execute(model, lora, 1.0)[0]
    assert len(applied.patches) == len(lora)
    path.unlink()
    # The server goes on.
    assert "report" in server.run(training_prompt(steps=2, seed=3))
    (path,) = files(base_dir, "trained_norms_server")
    path.unlink()
