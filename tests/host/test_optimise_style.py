"""Optimise Style on the real host: progress, what Cancel keeps, masks, a VGG of one's own, and bad input."""

import io
import time

import numpy as np
import pytest
import torch
from comfy_server import PromptError
from PIL import Image
from transfer_networks import normalised_vgg, seeded

NODE, BUNDLED = "StyleDeltaOptimiseStyle", "bundled style predictor"
SETTINGS = {
    "style_strength": 1.0,
    "content_strength": 1.0,
    "paint_size": 64,
    "steps": 4,
    "stroke_size": 1.0,
    "look_for": "strokes and shapes",
    "start": "photo",
    "method": "L-BFGS",
    "seed": 0,
    "features": BUNDLED,
}


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def prompt(**changes) -> dict:
    inputs = {"image": ["photo", 0], "style_image": ["painting", 0]} | SETTINGS | changes
    return {
        "photo": node("LoadImage", image="astronaut.png"),
        "painting": node("LoadImage", image="painting.png"),
        "paint": node(NODE, **inputs),
        "save": node("PreviewImage", images=["paint", 0]),
        "plot": node("PreviewImage", images=["paint", 1]),
        "text": node("PreviewAny", source=["paint", 2]),
    }


def shown(server, outputs: dict, number: int = 0) -> np.ndarray:
    png = server.view(**outputs["save"]["images"][number])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255


def test_it_paints_with_progress_and_tells(server):
    seen = []
    outputs = server.run(prompt(paint_size=128), on_progress=seen.append)
    painted, text = shown(server, outputs), outputs["text"]["text"][0]
    assert painted.shape == (512, 512, 3) and outputs["plot"]["images"]
    steps = [progress for progress in seen if progress.node_class == NODE]
    assert steps[-1].value == steps[-1].max == 8
    for part in ("8 steps of L-BFGS", "at 64, 128 pixels", "style loss", "memory: about"):
        assert part in text
    assert np.array_equal(shown(server, server.run(prompt(paint_size=128, seed=1))), painted)


def test_cancel_keeps_the_best(server):
    """What is behind the node gets the painting, and the report says where it stopped."""
    stamps = []

    def interrupt(progress) -> None:
        if progress.node_class == NODE and progress.value >= 3 and not stamps:
            stamps.append(time.monotonic())
            server.interrupt()

    outputs = server.run(prompt(paint_size=256, steps=400), on_progress=interrupt)
    # With the plot, the preview and whatever else the machine does.
    assert time.monotonic() - stamps[0] < 30
    assert shown(server, outputs).shape == (512, 512, 3)
    assert "stopped after" in outputs["text"]["text"][0]


def test_masks_weights_and_batches(server):
    more = prompt(image=["both", 0], mask=["mask", 0], style_image_2=["other", 0], weight_2=2.0, keep_colours=0.5)
    more["again"] = node("LoadImage", image="chelsea.png")
    more["both"] = node("ImageBatch", image1=["photo", 0], image2=["again", 0])
    more["other"] = node("LoadImage", image="coffee.png")
    more["mask"] = node("LoadImageMask", image="mask_left.png", channel="red")
    outputs = server.run(more)
    assert len(outputs["save"]["images"]) == 2 and "2 of 2 pictures" in outputs["text"]["text"][0]
    alone = prompt(mask=["mask", 0])
    alone["mask"] = more["mask"]
    photo = {"photo": alone["photo"], "save": node("PreviewImage", images=["photo", 0])}
    painted, before = shown(server, server.run(alone)), shown(server, server.run(photo))
    changed = np.abs(painted - before).max((0, 2)) > 0
    # The mask is white on the left.
    assert changed[:200].all() and not changed[320:].any()


def test_a_vgg_of_ones_own(server, base_dir):
    folder = base_dir / "models/style_networks"
    folder.mkdir(exist_ok=True)
    path = folder / "optimise_vgg_normalised.pth"
    torch.save(seeded(normalised_vgg(modules=31)).state_dict(), path)
    try:
        text = server.run(prompt(features=path.name, steps=1))["text"]["text"][0]
        assert path.name in text and "relu4_1" in text
        path.write_bytes(b"no network")
        with pytest.raises(PromptError, match=path.name):
            server.run(prompt(features=path.name, steps=2))
    finally:
        path.unlink()


def test_what_does_not_fit_is_refused_and_the_queue_goes_on(server):
    small = prompt()
    small["painting"] = node("EmptyImage", width=1, height=1, batch_size=1, color=0)
    with pytest.raises(PromptError, match="The style image is 1x1 pixels"):
        server.run(small)
    with pytest.raises(PromptError, match="of memory at 4096 pixels"):
        server.run(prompt(paint_size=4096))
    with pytest.raises(PromptError, match="start from the start image, but none is connected"):
        server.run(prompt(start="start image"))
    assert shown(server, server.run(prompt())).shape == (512, 512, 3)
