"""What the rows of LoRA Stack ask the server about files, on the real host."""

import json
import os
from io import BytesIO
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from .demo_loras import LORAS

KOHYA, DIFFUSERS, _ = (name for name, *_ in LORAS)
ROUTES = "/styledelta/loras"
PATHS = ("/info", "/picture", "/list", "/model_family")
OUTSIDE = (
    "",
    "../checkpoints/styledelta_demo_sd15.safetensors",
    "/etc/passwd",
    "lost.safetensors",
    "a\x00b",
    "x" * 5000,
)


def ask(server, path: str, headers: dict | None = None, **query: str) -> tuple[int, bytes]:
    """The status and the body of the server's answer."""
    address = f"http://127.0.0.1:{server.port}{ROUTES}{path}?{urlencode(query)}"
    try:
        with urlopen(Request(address, headers=headers or {}), timeout=120) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def test_a_file_and_the_picture_beside_it_are_told_of(server, base_dir):
    status, body = ask(server, "/info", name=KOHYA)
    info = json.loads(body)
    assert status == 200 and info["words"] == ["demo style"] and info["has_picture"] is False
    assert ask(server, "/picture", name=KOHYA)[0] == 404
    path = base_dir / "models/loras" / KOHYA.replace(".safetensors", ".webp")
    Image.new("RGB", (300, 200), "teal").save(path)
    try:
        assert json.loads(ask(server, "/info", name=KOHYA)[1])["has_picture"] is True
        sides = [
            Image.open(BytesIO(ask(server, "/picture", name=KOHYA, **more)[1])).size for more in ({}, {"small": ""})
        ]
        assert sides == [(224, 224), (96, 96)]
        assert json.loads(ask(server, "/list")[1])["pictured"] == [KOHYA]
        path.write_bytes(b"no picture")
        assert ask(server, "/picture", name=KOHYA) == (400, b"The file is not a readable picture.")
    finally:
        path.unlink()


def test_the_families_of_all_files_are_told_and_kept_until_a_file_changes(server, base_dir):
    listed = json.loads(ask(server, "/list")[1])
    while listed["rest"]:
        listed = json.loads(ask(server, "/list")[1])
    # The demo's model has the levels of SDXL.
    assert listed["fits"][KOHYA] == listed["fits"][DIFFUSERS] == ["SDXL"]
    changing = base_dir / "models/loras/changing.safetensors"
    os.link(base_dir / "models/loras" / KOHYA, changing)
    try:
        assert json.loads(ask(server, "/list")[1])["fits"]["changing.safetensors"] == ["SDXL"]
        changing.unlink()
        changing.write_bytes(b"nonsense")
        assert json.loads(ask(server, "/list")[1])["fits"]["changing.safetensors"] == []
    finally:
        changing.unlink()


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_in_no_list_is_refused(server, name):
    assert ask(server, "/info", name=name)[0] == ask(server, "/picture", name=name)[0] == 400
    assert ask(server, "/model_family", kind="checkpoints", name=name) == (400, b"There is no model of that name.")
    assert ask(server, "/model_family", kind=name, name="styledelta_demo_sd15.safetensors")[0] == 400


def test_a_model_that_tells_no_family_has_none(server):
    answer = ask(server, "/model_family", kind="checkpoints", name="styledelta_demo_sd15.safetensors")
    assert answer == (200, b'{"family": ""}')


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_other_sites_are_refused(server, path):
    status, body = ask(server, path, {"Sec-Fetch-Site": "cross-site"}, name=KOHYA)
    # Newer hosts refuse pages of other sites themselves, without a word.
    assert status == 403 and body in (b"Only pages from this server may send this request.", b"")
