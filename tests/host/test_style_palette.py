"""The palette nodes and their routes on the real host."""

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from comfy_server import PromptError
from PIL import Image
from safetensors.torch import load_file, save_file

TABLE, PICTURE = "26 styles (Dumoulin 2017)", "any picture (Ghiasi 2017)"
PAINT = {"style_strength": 1.0, "image_blend": 1.0, "pixel_budget": 4.0}
ROUTES = "/styledelta/style_palette"
# One step of 8 bits: the host's PNG cuts off what the preview rounds.
STEP = 1 / 255 + 1e-4


def palette(*rows: tuple) -> str:
    return json.dumps({"styles": [{"style": style, "weight": weight} for style, weight in rows]})


MIX = palette((19, 0.6), (5, 0.3), (3, 0.1))


def ask(server, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict, bytes]:
    """The status, headers and body of the server's answer."""
    request = Request(f"http://127.0.0.1:{server.port}{ROUTES}{path}", body, headers)
    try:
        with urlopen(request, timeout=120) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()


def preview(server, node: str = "nowhere", **changes: object) -> tuple[int, dict, bytes]:
    body = {"node": node, "network": TABLE, "palette": MIX, "strength": 1.0} | changes
    return ask(server, "/preview", json.dumps(body).encode(), **{"Content-Type": "application/json"})


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255


def painting(photo: str, styles: str = MIX, strength: float = 1.0, palette_id: str = "palette") -> dict:
    """A prompt that paints a picture in a palette's mix."""
    inputs = {"style_network": ["network", 0], "image": ["photo", 0]}
    mix = {"strength": strength, "palette": styles}
    return {
        "network": {"class_type": "StyleDeltaLoadStyleNetwork", "inputs": {"network": TABLE}},
        "photo": {"class_type": "LoadImage", "inputs": {"image": photo}},
        palette_id: {"class_type": "StyleDeltaStylePalette", "inputs": inputs | mix},
        "paint": {"class_type": "StyleDeltaStylize", "inputs": inputs | PAINT | {"style": [palette_id, 0]}},
        "save": {"class_type": "PreviewImage", "inputs": {"images": ["paint", 0]}},
    }


def painted(server, prompt: dict) -> np.ndarray:
    outputs = server.run(prompt)
    return pixels(server.view(**outputs["save"]["images"][0]))


@pytest.fixture(scope="module")
def portrait(server, tmp_path_factory) -> str:
    """The demo photo of the previews as a picture of 256 pixels in the input folder."""
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("photo") / "styledelta_portrait.png"
    Image.fromarray(astronaut()[:256, 96:352]).save(path)
    return server.upload_image(path)


def test_the_node_mixes_as_a_chain_of_picks_does(server):
    prompt = painting("astronaut.png", palette((19, 1.5), (5, 0.5)))
    by_palette = painted(server, prompt)
    weights, previous = ((19, 1.5), (5, 0.5)), {}
    for name, (style, weight) in zip(("first", "second"), weights):
        inputs = {"style_network": ["network", 0], "style_index": style, "weight": weight, "normalise": True} | previous
        prompt[name] = {"class_type": "StyleDeltaStylePick", "inputs": inputs}
        previous = {"previous": [name, 0]}
    prompt["paint"]["inputs"]["style"] = ["second", 0]
    assert np.array_equal(by_palette, painted(server, prompt))


def test_a_bad_palette_is_an_error_of_its_node(server):
    for text, message in (("{}", "no list of styles"), (palette((26, 1)), "styles 0 to 25; there is no style 26")):
        with pytest.raises(PromptError, match=message) as raised:
            server.run(painting("astronaut.png", text))
        assert raised.value.node_class == "StyleDeltaStylePalette"


def test_the_preview_is_what_the_node_makes_of_the_small_picture(server, portrait):
    expected = painted(server, painting(portrait, strength=0.8))
    status, headers, png = preview(server, "palette", strength=0.8)
    assert (status, headers["Content-Type"], headers["X-StyleDelta-Picture"]) == (200, "image/png", "input")
    assert pixels(png).shape == (256, 256, 3)
    assert np.abs(pixels(png) - expected).max() < STEP
    assert preview(server, "palette", demo=True)[1]["X-StyleDelta-Picture"] == "demo"
    other = pixels(preview(server, "palette", palette=palette((7, 1)))[2])
    assert np.abs(other - expected).mean() > 0.05


def test_a_large_picture_is_shown_small(server):
    prompt = painting("coffee.png", palette_id="large")
    server.run(prompt)
    width, height = Image.open(io.BytesIO(server.view("coffee.png", type="input"))).size
    shape = pixels(preview(server, "large")[2]).shape
    assert max(shape) == 256 and abs(shape[1] / shape[0] - width / height) < 0.01


def test_inside_a_subgraph_the_node_is_found_by_the_end_of_its_id(server, portrait):
    server.run(painting("coffee.png", palette_id="12:77"))
    by_end = preview(server, "77")
    assert by_end[1]["X-StyleDelta-Picture"] == "input" and by_end[2] == preview(server, "12:77")[2]
    assert preview(server, "7")[1]["X-StyleDelta-Picture"] == "demo"


def test_before_the_first_run_the_demo_photo_is_painted(server, portrait):
    status, headers, png = preview(server, "never ran", network="")
    assert (status, headers["X-StyleDelta-Picture"]) == (200, "demo")
    assert np.abs(pixels(png) - painted(server, painting(portrait))).max() < STEP


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"palette": palette((26, 1))}, b"styles 0 to 25; there is no style 26"),
        ({"palette": palette(*((n, 1) for n in range(5)))}, b"it mixes 4 at most"),
        ({"palette": "x"}, b"not valid JSON"),
        ({"strength": 99}, b"strength is not a number"),
        ({"network": "/etc/passwd"}, b"no style network of that name"),
        ({"network": "../models/loras/styledelta_demo_norms.safetensors"}, b"no style network of that name"),
        ({"network": PICTURE}, b"has no built-in styles"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason(server, changes, message):
    status, _, body = preview(server, **changes)
    assert status == 400 and message in body


def test_a_large_body_is_refused(server):
    status, _, body = ask(server, "/preview", b"[" + b" " * 5000 + b"]")
    assert status == 413 and b"larger than 4096 bytes" in body


@pytest.mark.parametrize("path", ["/preview", "/thumbnails", "/files", "/file_picture"])
@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_pages_of_other_sites_are_refused(server, path, headers):
    status, _, body = ask(server, path, b"{}" if path == "/preview" else None, **headers)
    # Newer hosts refuse pages of other sites themselves, without a word.
    assert status == 403 and body in (b"Only pages from this server may send this request.", b"")


def test_other_origins_are_refused(server):
    assert ask(server, "/preview", b"{}", Origin="http://evil.example")[0] == 403
    assert preview(server)[0] == 200


def test_of_many_requests_of_a_node_the_newest_is_answered(server):
    palettes = [palette((style, 1)) for style in range(8)]
    alone = [preview(server, palette=each)[2] for each in palettes]
    with ThreadPoolExecutor(len(palettes)) as pool:
        answers = list(pool.map(lambda each: preview(server, "dragged", palette=each), palettes))
        others = list(pool.map(lambda node: preview(server, node), ("a", "b", "c")))
    assert {status for status, _, _ in answers} <= {200, 429} and 200 in [status for status, _, _ in answers]
    assert all(png == alone[index] for index, (status, _, png) in enumerate(answers) if status == 200)
    # Nodes do not take each other's place.
    assert [status for status, _, _ in others] == [200, 200, 200]


def test_nothing_is_painted_while_a_prompt_runs(server):
    prompt = painting("astronaut.png")
    sheet = {"style_network": ["network", 0], "image": ["photo", 0], "tile_size": 512, "columns": 7}
    prompt["sheet"] = {"class_type": "StyleDeltaStyleSheet", "inputs": sheet}
    prompt["save"]["inputs"]["images"] = ["sheet", 0]
    server.submit(prompt)
    deadline = time.monotonic() + 60
    while not server.queue()["queue_running"] and time.monotonic() < deadline:
        time.sleep(0.05)
    status, _, body = preview(server)
    assert (status, body) == (503, b"ComfyUI is running a prompt.")
    server.interrupt()
    while server.queue()["queue_running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert preview(server)[0] == 200


def test_every_style_has_a_thumbnail(server):
    first = ask(server, f"/thumbnails?{urlencode({'network': TABLE})}")
    head, *lines = map(json.loads, first[2].splitlines())
    assert head["count"] == len(head["names"]) == len(lines) == 26
    assert head["names"][19] == "style 19: night-sky strokes, blue and yellow"
    assert all(name.startswith(f"style {n}: ") for n, name in enumerate(head["names"]))
    pictures = [base64.b64decode(line["picture"].partition(",")[2]) for line in lines]
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(96, 96)}
    assert len(set(pictures)) == 26
    started = time.monotonic()
    assert ask(server, "/thumbnails")[2] == first[2]
    # They are not painted again.
    assert time.monotonic() - started < 2


def test_thumbnails_of_other_networks(server):
    status, _, body = ask(server, f"/thumbnails?{urlencode({'network': PICTURE})}")
    assert (status, json.loads(body)) == (200, {"names": [], "count": 0})
    assert ask(server, "/thumbnails?network=../x.safetensors")[0] == 400


def test_files_are_listed_with_the_pictures_beside_them(server, base_dir):
    picture = base_dir / "models/loras/styledelta_demo_norms.preview.png"
    Image.new("RGB", (300, 200), "teal").save(picture)
    try:
        files = json.loads(ask(server, "/files")[2])
        assert "styledelta_demo_kohya.safetensors" in files["names"]
        assert files["pictured"] == ["styledelta_demo_norms.safetensors"]
        status, _, jpeg = ask(server, f"/file_picture?{urlencode({'name': files['pictured'][0]})}")
        assert status == 200 and Image.open(io.BytesIO(jpeg)).size == (96, 96)
        for name in ("styledelta_demo_kohya.safetensors", f"{picture}", "../loras/styledelta_demo_norms.safetensors"):
            assert ask(server, f"/file_picture?{urlencode({'name': name})}")[0] == 404
    finally:
        picture.unlink()


@pytest.fixture
def two_norms(base_dir):
    """The names of two norm styles, the second a file of the first's opposites."""
    folder = base_dir / "models/loras"
    names = "styledelta_demo_norms.safetensors", "styledelta_test_opposite.safetensors"
    tensors = load_file(folder / names[0])
    save_file({name: torch.randn_like(tensor) * 0.01 for name, tensor in tensors.items()}, folder / names[1])
    yield names
    (folder / names[1]).unlink()


def test_the_norm_palette_mixes_as_mix_norms_does(host, checkpoint, two_norms):
    model, _ = checkpoint
    tiers = {"norms": True, "modulation": True, "qk_norms": False}
    loras = [host.node("StyleDeltaLoadLora").execute(name)[0] for name in two_norms]
    node = host.node("StyleDeltaNormPalette")
    mixed = node.execute(model, 1.0, **tiers, palette=palette((two_norms[0], 1.5), (two_norms[1], 0.5)))
    weights = {"lora_1": loras[0], "weight_1": 1.5, "lora_2": loras[1], "weight_2": 0.5}
    expected = host.node("StyleDeltaMixNorms").execute(model, normalise=True, **tiers, **weights)
    assert mixed[1].keys() == expected[1].keys() and len(mixed[1]) > 0
    for name, tensor in expected[1].items():
        assert torch.allclose(mixed[1][name], tensor, atol=1e-7), name
    assert mixed[0].patches.keys() == expected[0].patches.keys()
    half = node.execute(model, 0.5, **tiers, palette=palette((two_norms[0], 1.5), (two_norms[1], 0.5)))
    moved = [name for name, tensor in expected[1].items() if tensor.any() and not name.endswith("alpha")]
    assert moved and all(torch.allclose(half[1][name], mixed[1][name] / 2, atol=1e-7) for name in moved)
    assert "0.375 styledelta_demo_norms" in half[2] and "0.125 styledelta_test_opposite" in half[2]


def test_the_norm_palette_names_a_missing_file(host, checkpoint):
    node = host.node("StyleDeltaNormPalette")
    with pytest.raises(FileNotFoundError, match="gone.safetensors is not in"):
        node.execute(checkpoint[0], 1.0, True, True, False, palette(("gone.safetensors", 1)))
