"""The style palette's part of the host's server: thumbnails, and the mix on the node's last picture while it is dragged."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from aiohttp import web
from server import PromptServer

from ...delta.files.safe_text import writable
from ...delta.style_network import files as style_network_files
from ...delta.style_network.network import StyleNetwork
from ...delta.style_network.preview import (
    FOREIGN_PAGE,
    MAX_NAME,
    MAX_THUMBNAILS,
    NO_PICTURE,
    PreviewRequest,
    demo_photo,
    encode,
    is_same_origin,
    paint_mix,
    picture_of_file,
    read_request,
    small_picture,
    thumbnail,
)
from . import folders, lora_files

ROUTES = "/styledelta/style_palette"
PREVIEW = f"{ROUTES}/preview"
MAX_BODY = 4096
KEPT_PICTURES, KEPT_NETWORKS, KEPT_THUMBNAILS = 16, 3, 4
# Requests that may wait for their turn.
MAX_WAITING = 16
BUSY = "ComfyUI is running a prompt."

Result = TypeVar("Result")


class _Recent(OrderedDict):
    """The entries that were used last, so many at most."""

    def __init__(self, size: int):
        super().__init__()
        self._size, self._lock = size, threading.Lock()

    def keep(self, key: str, value: object) -> None:
        with self._lock:
            self[key] = value
            self.move_to_end(key)
            while len(self) > self._size:
                self.popitem(last=False)


class _Shown(NamedTuple):
    """What a palette saw when it ran: its network and its picture, which may be none."""

    network: StyleNetwork
    picture: torch.Tensor | None


class _Superseded(Exception):
    pass


class _Busy(Exception):
    pass


class _Turns:
    """Work in one thread, one piece at a time. Of the pieces of one key that wait, only the newest is done."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._pool = ThreadPoolExecutor(1, "styledelta-preview")
        self._newest: dict[str, object] = {}
        self._waiting = 0

    async def run(self, key: str, work: Callable[[], Result]) -> Result:
        """Raises _Superseded when newer work of this key came, _Busy when a prompt runs or too much waits."""
        if _prompt_runs() or self._waiting >= MAX_WAITING:
            raise _Busy
        ticket = self._newest[key] = object()
        self._waiting += 1
        try:
            async with self._lock:
                if self._newest[key] is not ticket:
                    raise _Superseded
                if _prompt_runs():
                    raise _Busy
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
            if self._newest.get(key) is ticket:
                del self._newest[key]


_shown = _Recent(KEPT_PICTURES)
_networks = _Recent(KEPT_NETWORKS)
_painted = _Recent(KEPT_THUMBNAILS)


def remember(node_id: str, network: StyleNetwork, image: torch.Tensor | None) -> None:
    """Keep what a palette's node ran with, small, for its live preview."""
    _shown.keep(node_id, _Shown(network, None if image is None else small_picture(image)))


def register_routes() -> None:
    """Add the palette's routes to the host's server, where there is one. A second copy of the pack adds none."""
    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == PREVIEW for route in server.routes):
        return
    turns = _Turns()
    disk = asyncio.Lock()
    server.routes.get(f"{ROUTES}/thumbnails")(partial(_answer, partial(_thumbnails, turns)))
    server.routes.get(f"{ROUTES}/files")(partial(_answer, partial(_files, disk)))
    server.routes.get(f"{ROUTES}/file_picture")(partial(_answer, partial(_file_picture, disk)))
    server.routes.post(PREVIEW)(partial(_answer, partial(_preview, turns)))


async def _answer(handler: Callable, request: web.Request) -> web.StreamResponse:
    """What the handler answers to the server's own pages, or why it does not."""
    if not is_same_origin(request.headers):
        return web.Response(status=403, text=FOREIGN_PAGE)
    try:
        return await handler(request)
    except _Superseded:
        return web.Response(status=429, text="A newer request replaced this one.")
    except _Busy:
        return web.Response(status=503, text=BUSY)
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        return web.Response(status=400, text=writable(str(error)))


async def _preview(turns: _Turns, request: web.Request) -> web.Response:
    body = await _small_body(request)
    if body is None:
        return web.Response(status=413, text=f"The request is larger than {MAX_BODY} bytes.")
    wanted = read_request(body)
    png, source = await turns.run(f"preview {wanted.node}", partial(_paint, wanted))
    headers = {"Cache-Control": "no-store", "X-StyleDelta-Picture": source}
    return web.Response(body=png, content_type="image/png", headers=headers)


async def _small_body(request: web.Request) -> bytes | None:
    """The body of a request, or None when it is too large, without reading on."""
    body = b""
    while chunk := await request.content.read(MAX_BODY + 1 - len(body)):
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return body


def _paint(wanted: PreviewRequest) -> tuple[bytes, str]:
    shown = _last_run(wanted.node)
    network = _network(wanted.network, shown)
    if wanted.demo or shown is None or shown.picture is None:
        picture, source = demo_photo(), "demo"
    else:
        picture, source = shown.picture, "input"
    return encode(paint_mix(network, picture, wanted), "PNG", compress_level=1), source


async def _thumbnails(turns: _Turns, request: web.Request) -> web.StreamResponse:
    """JSON lines: the names of the styles and how many thumbnails follow, then each thumbnail as soon as it is painted.

    It ends early when a prompt begins to run.
    """
    name, node = request.query.get("network", ""), request.query.get("node", "")
    network = await turns.run(f"network {id(request)}", lambda: _network(name, _last_run(node)))
    names = [name[:MAX_NAME] for name in network.style_names]
    count = min(len(names), MAX_THUMBNAILS)
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    try:
        await response.write(_line({"names": names, "count": count}))
        painted = _thumbnails_of(network)
        for index in range(count):
            if index not in painted:
                # In turns, so that a preview need not wait for all of them.
                await turns.run(f"thumbnail {id(request)}", partial(_paint_thumbnail, network, index, painted))
            await response.write(_line({"picture": painted[index]}))
        await response.write_eof()
    except (_Busy, ValueError):
        await response.write_eof()
    except ConnectionResetError:
        # The page has been closed or has no use for them any more.
        pass
    return response


async def _files(disk: asyncio.Lock, request: web.Request) -> web.Response:
    """The names of the LoRA files, and which of them have a picture beside them. disk: held while it is read, by one request at a time."""
    async with disk:
        value = await asyncio.to_thread(_named_files)
    return web.json_response(value, headers={"Cache-Control": "no-store"})


def _file_names() -> list[str]:
    return [name.replace("\\", "/") for name in folders.file_names("loras")]


def _named_files() -> dict[str, list[str]]:
    names = _file_names()
    return {"names": names, "pictured": [name for name in names if lora_files.picture_beside(name)]}


async def _file_picture(disk: asyncio.Lock, request: web.Request) -> web.Response:
    async with disk:
        picture = await asyncio.to_thread(_small_file_picture, request.query.get("name", ""))
    if picture is None:
        return web.Response(status=404, text=NO_PICTURE)
    return web.Response(body=picture, content_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


def _small_file_picture(name: str) -> bytes | None:
    """The picture beside a file of the list, small."""
    path = lora_files.picture_beside(name) if name in _file_names() else None
    return None if path is None else picture_of_file(path)


def _line(value: dict) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _thumbnails_of(network: StyleNetwork) -> dict[int, str]:
    """The network's thumbnails so far, which all requests share."""
    if network.fingerprint not in _painted:
        _painted.keep(network.fingerprint, {})
    return _painted[network.fingerprint]


def _paint_thumbnail(network: StyleNetwork, index: int, painted: dict[int, str]) -> None:
    if index not in painted:
        painted[index] = thumbnail(network, index)


def _last_run(node: str) -> _Shown | None:
    """What a palette ran with. Inside subgraphs the host's id of a node ends with the editor's."""
    inside = [shown for key, shown in list(_shown.items()) if key.endswith(f":{node}")]
    return _shown.get(node) or (inside[-1] if inside else None)


def _network(name: str, shown: _Shown | None) -> StyleNetwork:
    """The network of that name, or that the palette ran with, or the bundled one.

    Raises ValueError for a name that is not in the loader's list.
    """
    if not name:
        return shown.network if shown else _network(style_network_files.TABLE_NETWORK, None)
    if name in style_network_files.bundled_networks():
        load, stamp = partial(style_network_files.load_bundled, name), name
    elif name in folders.file_names(folders.STYLE_NETWORKS):
        path, stamp = folders.file_path(folders.STYLE_NETWORKS, name), folders.file_stamp(folders.STYLE_NETWORKS, name)
        load = partial(style_network_files.load_network, path)
    else:
        raise ValueError("There is no style network of that name. Choose one in Load Style Network.")
    if stamp not in _networks:
        _networks.keep(stamp, load())
    return _networks[stamp]


def _prompt_runs() -> bool:
    """Whether a prompt is executed now, which a preview would slow down."""
    return bool(PromptServer.instance.prompt_queue.currently_running)
