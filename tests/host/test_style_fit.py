"""Fit Style on the real host: what it learns goes through Stylize, Save Style and Load Style."""

import io
from pathlib import Path

import pytest
import torch
from comfy_server import PromptError
from PIL import Image

TABLE, PICTURE = "26 styles (Dumoulin 2017)", "any picture (Ghiasi 2017)"
MIX = {"weight": 1.0, "normalise": True}
PAINT = {"style_strength": 1.0, "image_blend": 1.0, "pixel_budget": 4.0}
SETTINGS = {"learning_rate": 0.3, "seed": 0}


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def load(host, name: str):
    return host.node("StyleDeltaLoadStyleNetwork").execute(name)[0]


@pytest.fixture(scope="module")
def networks(host) -> tuple:
    """The table network and the any-picture network, loaded as the host's executor does."""
    with torch.inference_mode():
        return load(host, TABLE), load(host, PICTURE)


@pytest.fixture(scope="module")
def pictures(host) -> dict[str, torch.Tensor]:
    """The painting and a photo of the demo."""
    with torch.inference_mode():
        names = {"painting": "painting.png", "photos": "coffee.png"}
        return {name: host.node("LoadImage")().load_image(image=file)[0] for name, file in names.items()}


@pytest.fixture(scope="module")
def fitted(host, networks, pictures) -> tuple:
    with torch.inference_mode():
        return host.node("StyleDeltaFitStyle").execute(*networks, **pictures, steps=6, **SETTINGS).args


def test_the_new_style_beats_every_existing_one(fitted, networks):
    style, plot, report = fitted
    gamma, beta = style.vectors()
    assert gamma.shape == beta.shape == (495,) and not networks[0].gamma.eq(gamma).all(1).any()
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.min() < plot.max()
    assert report.startswith(f"990 numbers for {TABLE}, 6 steps, ")
    assert "recovered: " in report and "recovered: 0%" not in report


def test_stylize_paints_the_same_after_saving_and_loading(host, base_dir, fitted, networks, pictures):
    def paint(style) -> torch.Tensor:
        return host.node("StyleDeltaStylize").execute(networks[0], pictures["photos"], style, **PAINT)[0]

    path = Path(host.node("StyleDeltaSaveStyle").execute(fitted[0], "style_vectors/fitted")[0])
    try:
        assert path.stat().st_size < 10_000
        loaded = host.node("StyleDeltaLoadStyle").execute(networks[0], path.name, **MIX)[0]
        painted = paint(fitted[0])
        assert torch.equal(paint(loaded), painted)
    finally:
        path.unlink()
    picked = host.node("StyleDeltaStylePick").execute(networks[0], 19, **MIX)[0]
    assert (paint(picked) - painted).abs().mean() > 0.05


def prompt(steps: int) -> dict:
    return {
        "network": node("StyleDeltaLoadStyleNetwork", network=TABLE),
        "teacher": node("StyleDeltaLoadStyleNetwork", network=PICTURE),
        "painting": node("LoadImage", image="painting.png"),
        "photo": node("LoadImage", image="astronaut.png"),
        "fit": node(
            "StyleDeltaFitStyle",
            style_network=["network", 0],
            teacher=["teacher", 0],
            painting=["painting", 0],
            photos=["photo", 0],
            steps=steps,
            **SETTINGS,
        ),
        "plot": node("PreviewImage", images=["fit", 1]),
    }


def test_it_runs_in_a_workflow_with_progress(server):
    seen = []
    outputs = server.run(prompt(3), on_progress=seen.append)
    steps = [progress for progress in seen if progress.node_class == "StyleDeltaFitStyle"]
    assert steps[-1].value == steps[-1].max == 26 + 3
    assert Image.open(io.BytesIO(server.view(**outputs["plot"]["images"][0]))).size[0] > 300


def test_cancel_stops_the_learning(server):
    def interrupt(progress) -> None:
        if progress.node_class == "StyleDeltaFitStyle" and progress.value >= 28:
            server.interrupt()

    with pytest.raises(PromptError, match="interrupted"):
        server.run(prompt(1000), on_progress=interrupt)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style_network": 1, "teacher": 0}, "connected as the style network"),
        ({"teacher": 0}, "connected as the teacher, but cannot take a style from a painting"),
        ({"photos": torch.zeros(1, 100, 300, 3)}, "A photo is 300x100 pixels.*at least 128"),
        ({"photos": torch.full((1, 128, 128, 3), torch.nan)}, "A photo holds NaN"),
        ({"photos": torch.ones(2, 128, 128, 3)}, "plain areas of one colour"),
        ({"painting": torch.zeros(1, 32, 300, 3)}, "The painting is 300x32 pixels.*at least 64"),
    ],
)
def test_bad_input_is_refused(host, networks, pictures, changes, message):
    inputs = {"style_network": 0, "teacher": 1, **pictures} | changes
    for name in ("style_network", "teacher"):
        inputs[name] = networks[inputs[name]]
    with pytest.raises(ValueError, match=message):
        host.node("StyleDeltaFitStyle").execute(**inputs, steps=1, **SETTINGS)
