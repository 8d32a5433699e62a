"""Train Style on the demo's checkpoint through a running server."""

import re

from safetensors.torch import load_file

from workflows import WIDGET_TYPES, input_specs

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


def test_workflows_of_the_first_version_give_their_values_to_the_same_widgets(server):
    info = server.object_info()["StyleDeltaTrainNorms"]
    widgets = [name for name, kind, _ in input_specs(info) if isinstance(kind, list) or kind in WIDGET_TYPES]
    assert widgets[:7] == ["steps", "learning_rate", "batch_size", "seed", "norms", "modulation", "qk_norms"]
    # Prompts of that version lack the others.
    assert set(widgets[7:]) < info["input"]["optional"].keys() and "conditioning" in info["input"]["optional"]


def test_it_runs_through_the_server(server, base_dir):
    outputs = server.run(training_prompt(steps=4, seed=1))
    before, after = losses(outputs["report"]["text"][0])
    assert after < before
    assert server.view(**outputs["plot"]["images"][0])
    (path,) = files(base_dir, "trained_norms_server")
    assert all(tensor.any() for tensor in load_file(path).values())
    path.unlink()


def test_cancel_ends_the_node_with_the_best_and_the_prompt_goes_on(server, base_dir, host):
    steps = 200
    # Past the first evaluation in between.
    enough, pressed = 8 + 3 * (steps // 10) + 8 + 4, []

    def interrupt(progress) -> None:
        # Once: a second Cancel would end the prompt.
        if progress.node_class == "StyleDeltaTrainNorms" and progress.value >= enough and not pressed:
            pressed.append(progress.value)
            server.interrupt()

    outputs = server.run(training_prompt(steps, seed=2), on_progress=interrupt)
    report = outputs["report"]["text"][0]
    assert re.search(r"stopped at step \d+ of 200; the result is from step \d+", report)
    assert losses(report)[1] < losses(report)[0] and outputs["plot"]["images"]
    (path,) = files(base_dir, "trained_norms_server")
    lora = load_file(path)
    path.unlink()
    assert lora and all(tensor.any() for tensor in lora.values())
    model, _, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    applied = host.node("LoraModelLoader").execute(model, lora, 1.0)[0]
    assert len(applied.patches) == len(lora)
    assert "Train Style: memory: about" in (base_dir / "test-server.log").read_text(encoding="utf-8")


def test_a_lora_with_captions_and_previews_runs_through_the_server(server, base_dir):
    prompt = training_prompt(steps=4, seed=4)
    inputs = prompt["train"]["inputs"]
    del inputs["conditioning"], prompt["prompt"]
    inputs |= {"learning_rate": 0.0, "train": "norms and LoRA", "rank": 2, "lora_layers": "attention and convolutions"}
    inputs |= {"schedule": "automatic", "warm_up": -1, "preview_every": 2, "captions": "an astronaut"}
    inputs |= {"clip": ["checkpoint", 1], "vae": ["vae", 0]}
    report = server.run(prompt)["report"]["text"][0]
    assert losses(report)[1] < losses(report)[0] and "LoRA of rank 2" in report
    (path,) = files(base_dir, "trained_norms_server")
    assert any(name.endswith(("lora_up.weight", "lora_B.weight")) for name in load_file(path))
    path.unlink()
