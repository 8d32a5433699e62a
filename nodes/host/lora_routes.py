"""What the rows of LoRA Stack ask the host's server: what a LoRA's file tells, and the picture beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web
from server import PromptServer

from ...delta.style_network.preview import is_same_origin, picture_of_file
from . import lora_files

ROUTES = "/styledelta/loras"
INFO = f"{ROUTES}/info"
# Pixels, of the picture in the panel of a LoRA and in a list.
SIDES = (224, 96)
NO_STORE = {"Cache-Control": "no-store"}
KEPT = {"Cache-Control": "private, max-age=300"}


def register_routes() -> None:
    """Add the routes to the host's server, where there is one. A second copy of the pack adds none."""
    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == INFO for route in server.routes):
        return
    # One request at a time reads from the disk.
    disk = asyncio.Lock()
    for path, handler in ((INFO, _info), (f"{ROUTES}/picture", _picture)):
        server.routes.get(path)(partial(_answer, disk, handler))


async def _answer(disk: asyncio.Lock, handler: Callable, request: web.Request) -> web.Response:
    """What the handler answers to the server's own pages, or why it does not."""
    if not is_same_origin(request.headers):
        return web.Response(status=403, text="Only pages of this server may ask.")
    name = request.query.get("name", "")
    async with disk:
        if not await asyncio.to_thread(lambda: lora_files.names().has(name)):
            return web.Response(status=404, text="There is no LoRA of that name. Press R to refresh the list.")
        try:
            return await asyncio.to_thread(handler, name, request.query)
        except (ValueError, OSError) as error:
            return web.Response(status=400, text=str(error))


def _info(name: str, _: Any) -> web.Response:
    known = lora_files.info(name)
    has_picture = lora_files.picture_beside(name) is not None
    return web.json_response({**known._asdict(), "has_picture": has_picture}, headers=NO_STORE)


def _picture(name: str, query: Any) -> web.Response:
    path = lora_files.picture_beside(name)
    if path is None:
        return web.Response(status=404, text="There is no such picture.")
    side = SIDES["small" in query]
    return web.Response(body=picture_of_file(path, side), content_type="image/jpeg", headers=KEPT)
