import base64
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from delta.style_network.files import TABLE_NETWORK, load_bundled
from delta.style_network.preview import (
    demo_photo,
    encode,
    is_same_origin,
    picture_of_file,
    read_request,
    small_picture,
    thumbnail,
)

PALETTE = json.dumps({"styles": [{"style": 19, "weight": 1}]})


def body(**changes: object) -> bytes:
    return json.dumps({"node": "5", "network": "net", "palette": PALETTE, "strength": 0.5} | changes).encode()


def test_a_request_is_read():
    request = read_request(body())
    assert (request.node, request.network, request.demo, request.strength) == ("5", "net", False, 0.5)
    assert [tuple(row) for row in request.styles] == [(19, 1.0)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"\xff", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (body(node=5), "node is not text"),
        (body(node="5" * 65), "node is not text of at most 64"),
        (body(network="n" * 501), "network is not text of at most 500"),
        (body(palette=None), "palette is not text"),
        (body(palette="{}"), "no list of styles"),
        (body(demo=1), "demo is neither"),
        (body(strength="1"), "strength is not a number"),
        (body(strength=True), "strength is not a number"),
        (body(strength=2), "strength is not a number from -0.5 to 1.5"),
        (body(strength=float("nan")), "strength is not a number"),
    ],
)
def test_a_bad_request_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        read_request(given)


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"Host": "box:8188"}, True),
        ({"Host": "box:8188", "Origin": "http://box:8188"}, True),
        ({"Host": "box:8188", "Origin": "http://BOX:8188"}, True),
        ({"Host": "box:8188", "Origin": "http://box:9000"}, False),
        ({"Host": "box:8188", "Origin": "https://evil.example"}, False),
        ({"Host": "box:8188", "Origin": "null"}, False),
        ({"Origin": "null"}, False),
        # Behind a proxy the Host is another, but the browser knows better.
        ({"Host": "localhost:8188", "Origin": "https://box.example", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "box:8188", "Sec-Fetch-Site": "none"}, True),
        ({"Host": "box:8188", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "box:8188", "Origin": "http://box:8188", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_only_pages_of_the_server_may_ask(headers, answer):
    assert is_same_origin(headers) is answer


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 600, 400, 3), (1, 256, 171, 3)),
        ((3, 100, 200, 4), (1, 100, 200, 3)),
        ((1, 2, 2000, 1), (1, 1, 256, 3)),
    ],
)
def test_a_picture_is_kept_small(shape, expected):
    kept = small_picture(torch.rand(shape))
    assert kept.shape == expected and kept.dtype == torch.uint8


def test_a_small_picture_is_kept_as_it_is():
    assert torch.equal(small_picture(demo_photo() / 255), demo_photo())


def test_thumbnails_are_small_pictures_of_their_style():
    network = load_bundled(TABLE_NETWORK)
    pictures = []
    for index in (3, 7):
        head, _, data = thumbnail(network, index).partition(",")
        assert head == "data:image/jpeg;base64"
        pictures.append(Image.open(BytesIO(base64.b64decode(data))))
    assert [picture.size for picture in pictures] == [(96, 96)] * 2
    first, second = (np.asarray(picture, dtype=np.float32) for picture in pictures)
    assert np.abs(first - second).mean() > 20


def test_a_file_s_picture_is_made_square(tmp_path):
    path = tmp_path / "cover.png"
    path.write_bytes(encode(torch.rand(40, 300, 3), "PNG"))
    assert Image.open(BytesIO(picture_of_file(str(path)))).size == (96, 96)
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        picture_of_file(str(path))
    Image.new("1", (8001, 8000)).save(path)
    with pytest.raises(ValueError, match="more than 64 million pixels"):
        picture_of_file(str(path))
