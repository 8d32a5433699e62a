"""The transfer networks on the real host, from files of random weights in the layouts of their repositories."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from aesfa_network import AesFA
from comfy_server import PromptError
from PIL import Image
from transfer_networks import decoder, normalised_vgg, seeded

FOLDER = "transfer_test"
VGG = f"{FOLDER}/vgg_normalised.pth"
NETWORKS = {
    "AdaIN": (f"{FOLDER}/decoder.pth", VGG),
    "WCT": (f"{FOLDER}/decoder_relu5_1.pth", VGG),
    "AesFA": (f"{FOLDER}/main.pth", "none"),
}


@pytest.fixture(scope="module", autouse=True)
def files(base_dir):
    folder = base_dir / "models/style_networks" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(seeded(normalised_vgg(modules=44)).state_dict(), folder / "vgg_normalised.pth")
    torch.save(seeded(decoder(4)).state_dict(), folder / "decoder.pth")
    for level in range(1, 6):
        torch.save(seeded(decoder(level)).state_dict(), folder / f"decoder_relu{level}_1.pth")
    torch.save(seeded(AesFA(8)).checkpoint(), folder / "main.pth")
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def prompt(kind: str, **changes) -> dict:
    network, encoder = NETWORKS[kind]
    ours = {"transfer_network": ["network", 0], "image": ["painting", 0], "style_size": 128, "weight": 1.0}
    paint = {"transfer_network": ["network", 0], "image": ["photo", 0], "style": ["style", 0], "amount": 1.0}
    return {
        "network": node("StyleDeltaLoadTransferNetwork", network=network, encoder=encoder),
        "painting": node("LoadImage", image="painting.png"),
        "photo": node("LoadImage", image="astronaut.png"),
        "style": node("StyleDeltaMeasureStyle", **ours),
        "paint": node("StyleDeltaTransferStyle", **{**paint, "paint_size": 128, **changes}),
        "save": node("PreviewImage", images=["paint", 0]),
    }


def shown(server, outputs: dict) -> np.ndarray:
    png = server.view(**outputs["save"]["images"][0])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_kind_paints_with_progress(server, kind):
    seen = []
    painted = shown(server, server.run(prompt(kind), on_progress=seen.append))
    assert painted.shape == (512, 512, 3) and painted.std() > 0.01
    steps = [progress for progress in seen if progress.node_class == "StyleDeltaTransferStyle"]
    assert len(steps) > 1 and steps[-1].value == steps[-1].max >= 16


def test_a_saved_style_paints_the_same(server, base_dir):
    first = prompt("WCT")
    first["keep"] = node(
        "StyleDeltaSaveMeasuredStyle", style=["style", 0], filename_prefix="style_vectors/transfer_test"
    )
    outputs = server.run(first)
    painted = shown(server, outputs)
    path = Path(outputs["keep"]["text"][0])
    try:
        again = prompt("WCT")
        inputs = {"transfer_network": ["network", 0], "file": path.name, "weight": 1.0}
        again["style"] = node("StyleDeltaLoadMeasuredStyle", **inputs)
        assert np.array_equal(shown(server, server.run(again)), painted)
        again["network"] = node("StyleDeltaLoadTransferNetwork", network=NETWORKS["AesFA"][0], encoder="none")
        with pytest.raises(PromptError, match="was measured with another transfer network"):
            server.run(again)
    finally:
        path.unlink()


def test_two_mixed_styles_and_a_mask(server):
    mixed = prompt("AdaIN", mask=["mask", 0], second_style=["second", 0], keep_colours=0.5)
    mixed["mask"] = node("LoadImageMask", image="mask_left.png", channel="red")
    mixed["other"] = node("LoadImage", image="coffee.png")
    inputs = {"transfer_network": ["network", 0], "image": ["other", 0], "style_size": 128, "weight": 2.0}
    mixed["second"] = node("StyleDeltaMeasureStyle", **inputs, previous=["style", 0])
    assert shown(server, server.run(mixed)).shape == (512, 512, 3)


def test_without_a_style_the_picture_stays(server):
    plain = prompt("AdaIN")
    del plain["paint"]["inputs"]["style"], plain["style"]
    photo = {"photo": plain["photo"], "save": node("PreviewImage", images=["photo", 0])}
    assert np.array_equal(shown(server, server.run(plain)), shown(server, server.run(photo)))


def test_wrong_files_and_small_pictures_are_told(server):
    wrong = prompt("AdaIN")
    wrong["network"]["inputs"]["encoder"] = "none"
    with pytest.raises(PromptError, match="Choose its encoder too"):
        server.run(wrong)
    small = prompt("WCT", paint_size=0)
    small["photo"] = node("EmptyImage", width=16, height=16, batch_size=1, color=0x808080)
    with pytest.raises(PromptError, match="needs at least 17 on each side"):
        server.run(small)


def test_cancel_stops_the_painting(server):
    large = prompt("WCT", paint_size=1024, amount=0.9)

    def interrupt(progress) -> None:
        if progress.node_class == "StyleDeltaTransferStyle" and progress.value >= 2:
            server.interrupt()

    with pytest.raises(PromptError, match="interrupted"):
        server.run(large, on_progress=interrupt)
    assert shown(server, server.run(prompt("AdaIN"))).shape == (512, 512, 3)


def test_a_file_that_changes_is_read_again(host, files):
    loader = host.node("StyleDeltaLoadTransferNetwork")
    before = loader.fingerprint_inputs(*NETWORKS["WCT"])
    path = files / "decoder_relu2_1.pth"
    path.write_bytes(path.read_bytes())
    after = loader.fingerprint_inputs(*NETWORKS["WCT"])
    assert before and after != before and loader.fingerprint_inputs("absent.pth", "none") == ""
