"""What the rows of LoRA Stack ask the host's server: what LoRA files tell, the pictures beside them, and whom they fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import web
from server import PromptServer

from ...delta.files.safe_text import writable
from ...delta.style_network.preview import FOREIGN_PAGE, NO_PICTURE, is_same_origin, picture_of_file
from . import lora_files

ROUTES = "/styledelta/loras"
INFO = f"{ROUTES}/info"
# Pixels, of the picture in the panel of a LoRA and in a list.
SIDES = (224, 96)
# How long one request reads headers.
SECONDS = 2.0
NO_STORE = {"Cache-Control": "no-store"}
KEPT = {"Cache-Control": "private, max-age=300"}


def register_routes() -> None:
    """Add the routes to the host's server, where there is one. A second copy of the pack adds none."""
    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == INFO for route in server.routes):
        return
    # One request at a time reads from the disk.
    disk = asyncio.Lock()
    handlers = {
        INFO: _info,
        f"{ROUTES}/picture": _picture,
        f"{ROUTES}/list": _list,
        f"{ROUTES}/model_family": _model_family,
    }
    for path, handler in handlers.items():
        server.routes.get(path)(partial(_answer, disk, handler))


async def _answer(disk: asyncio.Lock, handler: Callable, request: web.Request) -> web.Response:
    """What the handler answers to the server's own pages, or why it does not."""
    if not is_same_origin(request.headers):
        return web.Response(status=403, text=FOREIGN_PAGE)
    async with disk:
        try:
            return await asyncio.to_thread(handler, request.query)
        except (ValueError, OSError) as error:
            return web.Response(status=400, text=writable(str(error)))


def _listed(query: Mapping[str, str]) -> str:
    """The name of a LoRA that is asked for. Raises FileNotFoundError for one that is not in the list."""
    name = query.get("name", "")
    if not lora_files.names().has(name):
        raise FileNotFoundError("There is no LoRA of that name. Press R to refresh the list.")
    return name


def _list(_: Mapping[str, str]) -> web.Response:
    """Which files have a picture, and whom they fit; rest: of how many that is to be asked again."""
    fits, rest = lora_files.families(SECONDS)
    pictured = [name for name in fits if lora_files.picture_beside(name)]
    return web.json_response({"fits": fits, "pictured": pictured, "rest": rest}, headers=NO_STORE)


def _model_family(query: Mapping[str, str]) -> web.Response:
    family = lora_files.family_of_model(query.get("kind", ""), query.get("name", ""))
    return web.json_response({"family": family}, headers=NO_STORE)


def _info(query: Mapping[str, str]) -> web.Response:
    name = _listed(query)
    known = lora_files.info(name)
    has_picture = lora_files.picture_beside(name) is not None
    return web.json_response({**known._asdict(), "has_picture": has_picture}, headers=NO_STORE)


def _picture(query: Mapping[str, str]) -> web.Response:
    name = _listed(query)
    path = lora_files.picture_beside(name)
    if path is None:
        return web.Response(status=404, text=NO_PICTURE)
    side = SIDES["small" in query]
    return web.Response(body=picture_of_file(path, side), content_type="image/jpeg", headers=KEPT)
