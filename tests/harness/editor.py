"""ComfyUI's graph editor in Chromium, as the browser tests and the pictures of the README use it.

Playwright keeps an event loop of its own, so that nothing here may call ComfyServer.run: prompts are queued by the editor itself.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from comfy_server import ComfyServer, PromptError, failure
from playwright.sync_api import Browser, Locator, Playwright

# Playwright brings no Chromium of its own here: it is the system's.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# ComfyUI's canvas, and "Nodes 2.0", whose nodes are Vue components.
RENDERERS = ("classic", "vue")
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Canvas.SelectionToolbox": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Minimap.Visible": False,
}
# What the front end itself complains of, with any pack.
NOISE = (
    "Version Compatibility Warning",
    "favicon",
    "user.css",
    "userdata",
    "templates",
    "ERR_INTERNET_DISCONNECTED",
    "ERR_NAME_NOT_RESOLVED",
    # The minimap, when a subgraph of a loaded workflow is opened.
    "Attempted to cleanup event listeners for graph that was never set up",
)
# The host's events at the end of a prompt.
ENDINGS = ["execution_success", "execution_error", "execution_interrupted"]
BLANK = {"version": 0.4, "last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "config": {}}
START_TIMEOUT = 120_000
# Free room around nodes in pictures, in pixels: the menus are at the top and on the left.
LEFT, TOP, MARGIN = 100, 130, 40
# Pictures of the screen in a row in which nothing moves, by which the page is taken to be at rest; and after which it is not awaited.
CALM_FRAMES, MAX_FRAMES = 30, 1800
# Views in a row after which nodes are taken to have their sizes.
MAX_VIEWS = 5

Value = TypeVar("Value")


def launch_chromium(playwright: Playwright) -> Browser:
    """Chromium without a window; raise FileNotFoundError with the remedy where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise FileNotFoundError("There is no Chromium: install Debian's package chromium to test in the browser.")
    return playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)


class Editor:
    """A page with the editor in one renderer.

    errors: what the console and the page complained of since `clear`. folder: where `screenshot` writes.
    """

    def __init__(
        self, server: ComfyServer, browser: Browser, renderer: str, folder: Path, locale: str = "en", size=(1500, 950)
    ):
        self.server, self.renderer, self.folder = server, renderer, folder
        self._browser, self._locale, self._size = browser, locale, size
        self.errors: list[str] = []

    def __enter__(self) -> Editor:
        chosen = {"Comfy.VueNodes.Enabled": self.renderer == "vue", "Comfy.Locale": self._locale}
        for name, value in (SETTINGS | chosen).items():
            self.server.post(f"/settings/{name}", value)
        width, height = self._size
        self.page = self._browser.new_page(viewport={"width": width, "height": height})
        # The front end's advertisement of Nodes 2.0 above the classic canvas.
        self.page.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
        self.page.on(
            "console", lambda message: message.type == "error" and self._complain(message.text, message.location)
        )
        self.page.on("pageerror", lambda error: self._complain(str(error), {}))
        self.reload()
        return self

    def __exit__(self, *exception: object) -> None:
        self.page.close()

    def reload(self) -> None:
        """Load the page anew, and wait until the pack's nodes are there. The editor's own errors while it starts are left aside."""
        before = len(self.errors)
        self.page.goto(f"http://127.0.0.1:{self.server.port}/")
        ready = "window.app?.graph && LiteGraph.registered_node_types['StyleDeltaAddLora'] && app.extensionManager"
        self.page.wait_for_function(ready, timeout=START_TIMEOUT)
        # The editor opens its default workflow last.
        self.page.wait_for_function("app.extensionManager.workflow.activeWorkflow", timeout=START_TIMEOUT)
        self.settle()
        self.errors[before:] = [error for error in self.errors[before:] if "StyleDelta" in error]

    def speak(self, language: str) -> None:
        """Load the page anew in another language, with an empty graph."""
        self.server.post("/settings/Comfy.Locale", language)
        self.reload()
        self.clear()

    def settle(self) -> None:
        """Wait until what is on the page stays where it is: on a machine that is busy this takes longer."""
        script = """async ([calm, most]) => {
            const places = () => [...document.querySelectorAll('[data-node-id], .dom-widget, .p-dialog, .p-toast-message')]
                .map((element) => element.getBoundingClientRect()).map(({ x, y, width, height }) => [x, y, width, height])
            const look = () => JSON.stringify([places(), app.graph.nodes.map(({ pos, size }) => [...pos, ...size])])
            for (let frame = 0, same = 0, last = ''; same < calm && frame < most; frame++) {
                await new Promise(requestAnimationFrame)
                const now = look()
                same = now === last ? same + 1 : 0
                last = now
            }
        }"""
        self.page.evaluate(script, [CALM_FRAMES, MAX_FRAMES])

    def until(self, read: Callable[[], Value], expected: Value, timeout: float = 30) -> None:
        """Wait until what is read is as expected; fail with what it was last."""
        deadline = time.monotonic() + timeout
        while (found := read()) != expected and time.monotonic() < deadline:
            self.page.wait_for_timeout(100)
        assert found == expected

    def clear(self) -> None:
        """An empty graph in the view of a new one, without results and errors so far."""
        self.page.keyboard.press("Escape")
        # Without this mark the editor's undo takes the graph for one of an unknown renderer: it adds steps and moves nodes.
        extra = {"workflowRendererVersion": "Vue" if self.renderer == "vue" else "LG"}
        # The classic canvas hides the widgets of nodes out of view, and the last graph may have left any view behind.
        extra["ds"] = {"scale": 1, "offset": [LEFT, TOP]}
        script = "(blank) => app.loadGraphData(blank, true, true, app.extensionManager.workflow.activeWorkflow)"
        self.page.evaluate(script, BLANK | {"extra": extra})
        self.drop_messages()
        self.errors.clear()

    def drop_messages(self) -> None:
        """Take away the editor's messages in a corner of the page; front end 1.58 has no call for it."""
        self.page.evaluate("app.extensionManager.toast.removeAll?.()")

    def complaints(self) -> list[str]:
        """Errors of the console since `clear`, messages that the editor shows now, and nodes of the graph that it does not know."""
        shown = self.page.locator(".p-toast-message, .p-dialog").all_inner_texts()
        # Newer front ends count missing nodes and missing models together.
        script = """() => app.graph.nodes
            .filter((node) => !node.subgraph && !LiteGraph.registered_node_types[node.type])
            .map(({ type }) => `Missing node: ${type}`)"""
        unknown = self.page.evaluate(script)
        return [*self.errors, *unknown, *(text for text in shown if not any(noise in text for noise in NOISE))]

    def add(self, node_type: str, x: float = 0, y: float = 0, **widgets: Any) -> int:
        """Place a node, set widgets by name, and return its id."""
        script = """([type, x, y]) => {
            const node = LiteGraph.createNode(type)
            node.pos = [x, y]
            app.graph.add(node)
            return node.id
        }"""
        node = self.page.evaluate(script, [node_type, x, y])
        self.set(node, **widgets)
        return node

    def set(self, node: int, **widgets: Any) -> None:
        """Set widgets of a node by name, as a script would."""
        script = """([id, widgets]) => {
            const node = app.graph.getNodeById(id)
            for (const [name, value] of Object.entries(widgets)) {
                const widget = node.widgets.find((widget) => widget.name === name)
                widget.value = value
                widget.callback?.(value)
            }
        }"""
        self.page.evaluate(script, [node, widgets])

    def link(self, source: int, output: int, target: int, name: str) -> None:
        """Connect an output to the input of that name."""
        script = """([source, output, target, name]) => {
            const node = app.graph.getNodeById(target)
            const slot = node.inputs.findIndex((input) => input.name === name)
            app.graph.getNodeById(source).connect(output, node, slot)
        }"""
        self.page.evaluate(script, [source, output, target, name])

    def value(self, node: int, name: str) -> Any:
        """The value of a widget."""
        script = "([node, name]) => app.graph.getNodeById(node).widgets.find((w) => w.name === name).value"
        return self.page.evaluate(script, [node, name])

    def show(self, *nodes: int, scale: float | None = None) -> None:
        """Move the view so that these nodes, or all of them, fill it; scale: of the view, instead of the largest that fits."""
        script = """([ids, scale, left, top, margin]) => {
            const all = ids.length ? ids.map((id) => app.graph.getNodeById(id)) : [...app.graph.nodes, ...app.graph.groups]
            const x = Math.min(...all.map((n) => n.pos[0])), y = Math.min(...all.map((n) => n.pos[1] - 30))
            const right = Math.max(...all.map((n) => n.pos[0] + n.size[0]))
            const bottom = Math.max(...all.map((n) => n.pos[1] + n.size[1]))
            const width = innerWidth - left - margin, height = innerHeight - top - margin
            const fitted = Math.min(width / (right - x), height / (bottom - y), 1.5)
            const ds = app.canvas.ds, before = JSON.stringify([ds.scale, ...ds.offset])
            ds.scale = scale ?? fitted
            ds.offset = [-x + left / ds.scale, -y + top / ds.scale]
            app.canvas.setDirty(true, true)
            return before !== JSON.stringify([ds.scale, ...ds.offset])
        }"""
        # In Nodes 2.0 a node learns its size from what is drawn, so that a first view may be of an older size.
        for _ in range(MAX_VIEWS):
            moved = self.page.evaluate(script, [list(nodes), scale, LEFT, TOP, MARGIN])
            self.settle()
            if not moved:
                return

    def boxes(self) -> list[dict[str, Any]]:
        """Where each node is drawn, in pixels of the page: id, title, left, top, right and bottom, with the title bar."""
        script = """() => app.graph.nodes.map((node) => {
            const { id, title, pos, size } = node
            const element = document.querySelector(`[data-node-id="${id}"]`)
            if (element) {
                const { left, top, right, bottom } = element.getBoundingClientRect()
                return { id, title, left, top, right, bottom }
            }
            const { scale, offset } = app.canvas.ds
            const place = (value, axis) => (value + offset[axis]) * scale
            return {
                id, title, left: place(pos[0], 0), right: place(pos[0] + size[0], 0),
                top: place(pos[1] - 30, 1), bottom: place(pos[1] + Math.max(size[1], node.computeSize()[1]), 1),
            }
        })"""
        return self.page.evaluate(script)

    def groups(self) -> list[dict[str, Any]]:
        """Where each group is drawn, in pixels of the page: title, left, top, right and bottom."""
        script = """() => app.graph.groups.map(({ title, pos, size }) => {
            const { scale, offset } = app.canvas.ds
            const place = (value, axis) => (value + offset[axis]) * scale
            const [left, right] = [pos[0], pos[0] + size[0]].map((x) => place(x, 0))
            const [top, bottom] = [pos[1], pos[1] + size[1]].map((y) => place(y, 1))
            return { title, left, top, right, bottom }
        })"""
        return self.page.evaluate(script)

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow as a user would open its file."""
        self.page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
        self.settle()

    def serialize(self) -> dict[str, Any]:
        """The workflow as it would be saved."""
        # As text, because evaluate gives null for what is undefined, which the editor refuses.
        return json.loads(self.page.evaluate("JSON.stringify(app.graph.serialize())"))

    def prompt(self) -> dict[str, Any]:
        """The prompt that would be queued."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def run(self, timeout: float = 300) -> dict[str, Any]:
        """Queue the graph, wait, and return its outputs by node id; raise PromptError when it fails."""
        known = self.server.get("/history")
        script = """(endings) => {
            window.runEnded = false
            for (const ending of endings) app.api.addEventListener(ending, () => { window.runEnded = true }, { once: true })
            app.queuePrompt(0, 1)
        }"""
        self.page.evaluate(script, ENDINGS)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for entry in (entry for key, entry in self.server.get("/history").items() if key not in known):
                # The page learns of it by its own connection.
                self.page.wait_for_function("window.runEnded")
                self.settle()
                if error := failure(entry["prompt"][2], entry["status"]["messages"]):
                    raise error
                return entry["outputs"]
            self.page.wait_for_timeout(200)
        raise TimeoutError(f"The prompt was not done in {timeout:g} s.")

    def element(self, selector: str) -> Locator:
        """A part of the page."""
        return self.page.locator(selector)

    def screenshot(self, name: str) -> Path:
        """Write the page as a picture, and return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}_{self.renderer}.png"
        self.page.screenshot(path=path)
        return path

    def _complain(self, text: str, location: dict) -> None:
        line = f"{text} {location.get('url', '')}".strip()
        if not any(noise in line for noise in NOISE):
            self.errors.append(line)


__all__ = ["RENDERERS", "Editor", "PromptError", "launch_chromium"]
