"""Train Style Network on the real host: what it trains is saved, loaded and painted with; Cancel keeps the best."""

import time
from pathlib import Path

import pytest
import torch
from comfy_server import PromptError

TABLE, PICTURE = "26 styles (Dumoulin 2017)", "any picture (Ghiasi 2017)"
SETTINGS = {"train": "everything", "learning_rate": 0.3, "style": 1.0, "content": 1.0, "painting_size": 128, "seed": 0}
PAINT = {"style_strength": 1.0, "image_blend": 1.0, "pixel_budget": 4.0}
NODE = "StyleDeltaTrainStyleNetwork"


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def prompt(steps: int, **changes) -> dict:
    training = {"style_network": ["network", 0], "painting": ["painting", 0], "photos": ["photo", 0]} | SETTINGS
    return {
        "network": node("StyleDeltaLoadStyleNetwork", network=TABLE),
        "painting": node("LoadImage", image="painting.png"),
        "photo": node("LoadImage", image="astronaut.png"),
        "train": node(NODE, steps=steps, names="drawn", **training | changes),
        "text": node("PreviewAny", source=["train", 2]),
        "plot": node("PreviewImage", images=["train", 1]),
        "save": node(
            "StyleDeltaSaveStyleNetwork", style_network=["train", 0], filename_prefix="style_networks/trained"
        ),
    }


@pytest.fixture
def saved(base_dir):
    """The files that a test saves, by their path; they are gone afterwards."""
    folder = Path(base_dir) / "output/style_networks"
    before = set(folder.glob("*")) if folder.is_dir() else set()

    def found() -> list[Path]:
        return sorted(set(folder.glob("trained*")) - before)

    yield found
    for path in found():
        path.unlink()


def test_a_network_is_trained_saved_loaded_and_painted_with(server, saved):
    seen = []
    outputs = server.run(prompt(3), on_progress=seen.append)
    steps = [progress for progress in seen if progress.node_class == NODE]
    assert steps[-1].value == steps[-1].max == 26 + 3
    (path,) = saved()
    text = outputs["text"]["text"][0]
    assert "everything of 26 styles" in text and "141354 numbers" in text and "styles: drawn" in text
    assert "memory: about" in text
    painted = server.run(
        {
            "network": node("StyleDeltaLoadStyleNetwork", network=path.name),
            "photo": node("LoadImage", image="coffee.png"),
            "style": node(
                "StyleDeltaStylePick", style_network=["network", 0], style_index=0, weight=1.0, normalise=True
            ),
            "paint": node(
                "StyleDeltaStylize", style_network=["network", 0], image=["photo", 0], style=["style", 0], **PAINT
            ),
            "sheet": node("PreviewImage", images=["paint", 0]),
        }
    )
    assert painted["sheet"]["images"]


def test_cancel_keeps_the_best(server, saved):
    pressed = []

    def interrupt(progress) -> None:
        if progress.node_class == NODE and progress.value >= 26 + 3 and not pressed:
            pressed.append(time.monotonic())
            server.interrupt()

    server.run(prompt(1000), on_progress=interrupt)
    taken = time.monotonic() - pressed[0]
    assert len(saved()) == 1
    # With saving and the plot, on a machine that other tests share.
    assert taken < 30


def test_cancel_before_the_first_step_is_a_cancel(server, saved):
    def interrupt(progress) -> None:
        if progress.node_class == NODE:
            server.interrupt()

    with pytest.raises(PromptError, match="interrupted"):
        server.run(prompt(1000, seed=1), on_progress=interrupt)
    assert not saved()


@pytest.fixture(scope="module")
def inputs(host) -> dict[str, list]:
    """A network, a painting and photos of two sizes, as the host gives them to a node that takes lists."""
    with torch.inference_mode():
        network = host.node("StyleDeltaLoadStyleNetwork").execute(TABLE)[0]
        images = [host.node("LoadImage")().load_image(image=name)[0] for name in ("painting.png", "coffee.png")]
    photos = [images[1], images[1][:, :200, :150]]
    return {"style_network": [network], "painting": [images[0]], "photos": photos}


def execute(host, inputs, **changes):
    values = {name: [value] for name, value in {**SETTINGS, "steps": 1, "names": ""}.items()}
    with torch.inference_mode():
        return host.node(NODE).execute(**values | inputs | changes)


def test_several_paintings_and_a_list_of_photos_make_one_network(host, inputs):
    network, plot, report = execute(host, inputs, painting_2=[torch.rand(2, 64, 80, 3)], names=["one"]).args
    assert network.style_names == ("one", "style 2", "style 3") and plot.shape[-1] == 3
    assert "styles: one, style 2, style 3" in report
    again = execute(host, inputs, style_network=[network], train=["norms"]).args[0]
    assert again.style_names == ("style 1",) and again.fingerprint == network.fingerprint


def test_too_little_memory_is_told_before_the_first_step(host, inputs, monkeypatch):
    monkeypatch.setattr("comfy.model_management.get_free_memory", lambda *_: 1e6)
    with pytest.raises(ValueError, match=r"needs more memory than is free\. Memory: about .*1\.0 MB are free"):
        execute(host, inputs)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("photos", torch.rand(1, 1, 1, 3), "A photo is 1x1 pixels.*at least 128"),
        ("photos", torch.full((1, 128, 128, 3), torch.nan), "A photo holds NaN"),
        ("painting", torch.rand(1, 1, 1, 3), "A painting is 1x1 pixels.*at least 64"),
        ("painting", torch.full((1, 128, 128, 3), torch.nan), "A painting holds NaN"),
    ],
)
def test_bad_input_is_refused(host, inputs, name, bad, message):
    with pytest.raises(ValueError, match=message):
        execute(host, inputs, **{name: [bad]})


def test_fit_style_learns_from_the_features_of_the_painting(host, inputs):
    network, painting, photos = (values[0] for values in inputs.values())
    with torch.inference_mode():
        teacher = host.node("StyleDeltaLoadStyleNetwork").execute(PICTURE)[0]
        fit = host.node("StyleDeltaFitStyle").execute
        given = (network, teacher, painting, photos, 2, 0.3, 0)
        style, plot, report = fit(*given, learn_from="features of the painting").args
        assert style.network == network.fingerprint and style.vectors()[0].shape == (495,)
        assert "norms of 26 styles" in report and plot.shape[0] == 1
        with pytest.raises(ValueError, match="connected as the teacher, but cannot take a style"):
            fit(network, network, *given[2:], learn_from="features of the painting")
        painted = host.node("StyleDeltaStylize").execute(network, photos, style, **PAINT)[0]
    assert painted.shape[1:3] == photos.shape[1:3]
