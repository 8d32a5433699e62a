"""The hint nodes in the real host: on photos, batches and transparency, and over HTTP to a picture that is shown."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

SETTINGS = {
    "StyleDeltaCanny": {"blur": 1.0, "automatic": True, "low": 0.1, "high": 0.2},
    "StyleDeltaSoftEdge": {"blur": 1.0, "texture_suppression": 0.8},
    "StyleDeltaLineArt": {"line_width": 0.0, "threshold": 0.01},
    "StyleDeltaScribble": {"thickness": 5.0, "threshold": 0.02},
    "StyleDeltaStraightLines": {"blur": 1.5, "min_length": 6.0, "max_gap": 1.5},
    "StyleDeltaSegmentation": {"method": "SLIC", "region_size": 8.0, "colours": "mean colour"},
}
SKY, PERSON, TREE = (6, 230, 230), (150, 5, 61), (4, 200, 3)
nodes = pytest.mark.parametrize("node_id", SETTINGS)


def photo(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)()[None, ::2, ::2] / 255).float()


def run(host, node_id: str, image: torch.Tensor, resolution: int = 0, **changes) -> torch.Tensor:
    settings = SETTINGS[node_id] | changes
    return host.node(node_id).execute(image=image, resolution=resolution, **settings).args[0]


def paint(host, **changes) -> torch.Tensor:
    settings = {"class_name": "sky", "width": 0, "height": 0, "background": "unlabelled (black)"} | changes
    return host.node("StyleDeltaSegPainter").execute(**settings).args[0]


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def shown(server, outputs: dict) -> np.ndarray:
    """The picture that a preview showed, [H, W, 3] of 8 bits."""
    png = server.view(**outputs["preview"]["images"][0])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@nodes
def test_a_photo_a_batch_and_transparency(host, node_id: str):
    image = photo("astronaut")
    hint = run(host, node_id, image)
    assert hint.shape == image.shape and 0 <= hint.min() and hint.max() <= 1 and hint.std() > 0.01
    batch = torch.cat([image, photo("coffee")[:, :200].repeat(1, 2, 1, 1)[:, :256, :256]])
    batch = torch.cat([batch, torch.rand(2, 256, 256, 1)], -1)
    hints = run(host, node_id, batch)
    assert hints.shape == (2, 256, 256, 3) and torch.equal(hints[0], hint[0]) and not torch.equal(hints[1], hint[0])


@nodes
def test_another_resolution_keeps_the_size(host, node_id: str):
    image = photo("chelsea")
    coarse = run(host, node_id, image, 72)
    assert coarse.shape == image.shape and coarse.std() > 0.01 and not torch.equal(coarse, run(host, node_id, image))


@nodes
def test_the_widgets_defaults_are_the_settings_of_these_tests(server, node_id: str):
    required = server.object_info(node_id)["input"]["required"]
    assert {name: required[name][1]["default"] for name in SETTINGS[node_id]} == SETTINGS[node_id]


@pytest.mark.parametrize(
    ("node_id", "changes"),
    [
        ("StyleDeltaCanny", {"method": "annotators (OpenCV)"}),
        ("StyleDeltaLineArt", {"white_lines": True, "strokes": "outlines"}),
        ("StyleDeltaScribble", {"white_lines": True, "strokes": "one line"}),
    ],
)
def test_what_was_added_comes_last_and_older_graphs_go_on_without_it(host, server, node_id: str, changes: dict):
    optional = server.object_info(node_id)["input"]["optional"]
    assert list(optional) == list(changes)
    image = photo("coffee")
    defaults = {name: optional[name][1]["default"] for name in changes}
    old = run(host, node_id, image)
    assert torch.equal(old, run(host, node_id, image, **defaults))
    assert not torch.equal(old, run(host, node_id, image, **changes))


def test_thresholds_of_opencv_are_given_in_thousands(host):
    image, method = photo("coffee"), {"method": "annotators (OpenCV)"}
    of_annotators = run(host, "StyleDeltaCanny", image, **method)
    assert torch.equal(of_annotators, run(host, "StyleDeltaCanny", image, automatic=False, **method))
    fewer = run(host, "StyleDeltaCanny", image, automatic=False, low=0.2, high=0.4, **method)
    assert 0 < fewer.mean() < of_annotators.mean()


@nodes
def test_a_broken_picture_is_refused(host, node_id: str):
    with pytest.raises(ValueError, match="The picture holds NaN"):
        run(host, node_id, torch.full((1, 16, 16, 3), torch.nan))
    with pytest.raises(ValueError, match="The picture has values up to 255, most of them above 1"):
        run(host, node_id, 255 * photo("coffee"))


@pytest.mark.parametrize(
    ("node_id", "changes", "message"),
    [
        ("StyleDeltaCanny", {"automatic": False, "low": 0.5, "high": 0.1}, "Low must not be above high"),
        ("StyleDeltaSegmentation", {"method": "none"}, "Choose one of: SLIC, Felzenszwalb"),
        ("StyleDeltaSegmentation", {"colours": "none"}, "mean colour, distinct colours"),
    ],
)
def test_settings_that_are_refused(host, node_id: str, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        run(host, node_id, photo("coffee"), **changes)


def test_manual_thresholds_change_the_edges(host):
    image = photo("astronaut")
    few, many = (run(host, "StyleDeltaCanny", image, automatic=False, low=0.05, high=high) for high in (0.5, 0.1))
    assert 0 < few.mean() < many.mean() / 2


def test_cancel_stops_a_batch(host):
    import comfy.model_management as management

    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        run(host, "StyleDeltaCanny", photo("astronaut").expand(4, -1, -1, -1))
    assert run(host, "StyleDeltaCanny", photo("astronaut")).any()


def test_cancel_stops_inside_a_picture(host):
    import comfy.model_management as management

    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        run(host, "StyleDeltaLineArt", torch.rand(1, 600, 400, 3))


def test_classes_are_painted_over_each_other(host):
    mask = torch.zeros(1, 32, 48)
    mask[:, :16] = 1
    first = paint(host, mask=mask, background="tree")
    both = paint(host, mask=mask.mT, class_name="person", previous=first)
    colours = [
        tuple((both[0, row, column] * 255).round().int().tolist()) for row, column in ((0, 47), (0, 0), (31, 47))
    ]
    assert both.shape == (1, 32, 48, 3) and colours == [SKY, PERSON, TREE]
    with pytest.raises(ValueError, match="ADE20K has no class 'dragon'"):
        paint(host, mask=mask, class_name="dragon")


@nodes
def test_a_photo_over_http(server, node_id: str):
    prompt = {
        "photo": node("LoadImage", image="astronaut.png"),
        "hint": node(node_id, image=["photo", 0], resolution=0, **SETTINGS[node_id]),
        "preview": node("PreviewImage", images=["hint", 0]),
    }
    picture = shown(server, server.run(prompt))
    assert picture.shape == (512, 512, 3) and picture.std() > 10


def test_a_map_over_http_has_the_exact_colours(server):
    size = {"width": 640, "height": 384, "background": "tree"}
    prompt = {
        "mask": node("LoadImageMask", image="mask_left.png", channel="red"),
        "map": node("StyleDeltaSegPainter", mask=["mask", 0], class_name="sky", **size),
        "all": node("SolidMask", value=0.4, width=64, height=64),
        "over": node("StyleDeltaSegPainter", mask=["all", 0], class_name="person", previous=["map", 0], **size),
        "preview": node("PreviewImage", images=["over", 0]),
    }
    picture = shown(server, server.run(prompt))
    assert picture.shape == (384, 640, 3)
    assert {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()} == {SKY, TREE}
