"""Drive a real ComfyUI over its HTTP API and websocket, from synchronous code."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import aiohttp

LAUNCHER = Path(__file__).with_name("launch_host.py")
START_TIMEOUT = 180

Prompt = dict[str, dict[str, Any]]


class ServerError(Exception):
    """The server did not start, died, or answered with an HTTP error, whose status and body it keeps."""

    def __init__(self, message: str, status: int = 0, body: bytes = b""):
        self.status, self.body = status, body
        super().__init__(message)


class PromptError(Exception):
    """A prompt that the server refused or that failed; says which node and what the server said about it."""

    def __init__(self, node_id: str, node_class: str, title: str, message: str):
        self.node_id, self.node_class, self.title, self.message = node_id, node_class, title, message
        name = node_class if title in ("", node_class) else f'{node_class} "{title}"'
        super().__init__(f"Node {node_id} ({name}): {message}" if node_id else message)


@dataclass(frozen=True)
class Progress:
    """How far a running node is."""

    node_id: str
    node_class: str
    value: float
    max: float


class ComfyServer:
    """A headless ComfyUI on a free port, alive inside a `with` block.

    Entering it raises ServerError with the end of the log when the server does not come up.
    """

    def __init__(self, host_dir: Path, base_dir: Path, log_path: Path, extra_args: Sequence[str] = ()):
        self.host_dir, self.base_dir, self.log_path = Path(host_dir), Path(base_dir), Path(log_path)
        self.extra_args = extra_args

    def __enter__(self) -> ComfyServer:
        self.port = free_port()
        # Its own, because ComfyUI empties its temp folder when it starts and locks its database.
        self._temp = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._log = self.log_path.open("w", encoding="utf-8")
        command = [
            sys.executable, LAUNCHER, "--stop-on-eof", self.host_dir,
            "--base-directory", self.base_dir, "--temp-directory", self._temp.name,
            "--listen", "127.0.0.1", "--port", self.port, "--disable-auto-launch",
            "--database-url", f"sqlite:///{self._temp.name}/comfyui.db", *self.extra_args,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End the server's process and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._log.close()
        self._temp.cleanup()

    def get(self, path: str) -> Any:
        """Return the JSON answer to GET; raise ServerError for an HTTP error."""
        return json.loads(self._request(path))

    def post(self, path: str, body: Any) -> Any:
        """Send JSON by POST and return the JSON answer, None when it is empty; raise ServerError for an HTTP error."""
        answer = self._request(path, json.dumps(body).encode(), "application/json")
        return json.loads(answer) if answer else None

    def object_info(self, node_class: str | None = None) -> dict[str, Any]:
        """Return the description of one node class, or of all by class; raise KeyError for an unknown class."""
        if node_class is None:
            return self.get("/object_info")
        return self.get(f"/object_info/{quote(node_class)}")[node_class]

    def upload_image(self, path: Path) -> str:
        """Put a picture into the input folder and return the name that LoadImage knows it by."""
        boundary, name = uuid.uuid4().hex, Path(path).name
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        content = Path(path).read_bytes()
        body = f"{head}Content-Type: {kind}\r\n\r\n".encode() + content + f"\r\n--{boundary}--\r\n".encode()
        answer = json.loads(self._request("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return "/".join(filter(None, (answer["subfolder"], answer["name"])))

    def view(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """Return the bytes of an output, input or temp file; raise ServerError when there is none."""
        return self._request(f"/view?{urlencode({'filename': filename, 'subfolder': subfolder, 'type': type})}")

    def queue(self) -> dict[str, list]:
        """Return the running and the pending prompts: `queue_running` and `queue_pending`."""
        return self.get("/queue")

    def interrupt(self) -> None:
        """Cancel the running prompt."""
        self.post("/interrupt", {})

    def submit(self, prompt: Prompt, client_id: str = "") -> str:
        """Queue a prompt and return its id; raise PromptError when the server refuses it.

        The websocket of the client with that id, if any, gets the prompt's messages.
        """
        try:
            return self.post("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"]
        except ServerError as error:
            if error.status != 400:
                raise
            raise refusal(prompt, json.loads(error.body)) from None

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """Return what the server keeps about a finished prompt, None while it is queued or running."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def run(
        self, prompt: Prompt, on_progress: Callable[[Progress], None] | None = None, timeout: float = 600
    ) -> dict[str, dict[str, list]]:
        """Run a prompt and return its outputs by node id.

        on_progress is called for every step of every node that takes some time. Raises PromptError when the prompt
        is refused, fails or is interrupted, TimeoutError (and interrupts it) when it takes longer than the timeout,
        and ServerError when the server dies.
        """
        return asyncio.run(self._run(prompt, on_progress or (lambda progress: None), timeout))

    async def _run(self, prompt: Prompt, on_progress: Callable[[Progress], None], timeout: float) -> dict[str, dict]:
        # An id of its own, because the server forgets an id some time after its websocket has been closed.
        client_id = uuid.uuid4().hex
        address = f"http://127.0.0.1:{self.port}/ws?clientId={client_id}"
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as messages:
                prompt_id = self.submit(prompt, client_id)
                await asyncio.wait_for(follow(messages, prompt_id, prompt, on_progress), timeout)
        except asyncio.TimeoutError:
            self.interrupt()
            raise TimeoutError(f"The prompt took longer than {timeout:g} s and was interrupted.") from None
        except (aiohttp.ClientError, ConnectionError):
            raise ServerError(f"The server closed the connection.\n{self._log_tail()}") from None
        entry = self.history(prompt_id)
        if error := failure(prompt, entry["status"]["messages"]):
            raise error
        return entry["outputs"]

    def _request(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        request = Request(f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": kind} if body else {})
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.read()
        except HTTPError as error:
            message = f"{request.get_method()} {path} was answered with {error.code} {error.reason}."
            raise ServerError(message, error.code, error.read()) from None
        except OSError as error:
            raise ServerError(f"{path} was not answered: {error}.\n{self._log_tail()}") from None

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"ComfyUI ended with exit code {self._process.returncode}.\n{self._log_tail()}")
            try:
                self.get("/system_stats")
                return
            except ServerError:
                time.sleep(0.2)
        raise ServerError(f"ComfyUI did not answer within {START_TIMEOUT} s.\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {self.log_path}:", *lines[-25:]])


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def follow(
    messages: aiohttp.ClientWebSocketResponse, prompt_id: str, prompt: Prompt, on_progress: Callable[[Progress], None]
) -> None:
    """Report progress until the prompt has left the queue; raise ConnectionError when the server closes first."""
    async for message in messages:
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue
        event = json.loads(message.data)
        data = event.get("data", {})
        if data.get("prompt_id") != prompt_id:
            continue
        if event["type"] == "progress_state":
            for node in data["nodes"].values():
                if node["state"] == "running":
                    node_id = node["display_node_id"]
                    node_class = prompt.get(node_id, {}).get("class_type", "")
                    on_progress(Progress(node_id, node_class, node["value"], node["max"]))
        # Sent after the result has entered the history, unlike execution_success and execution_error.
        elif event["type"] == "executing" and data["node"] is None:
            return
    raise ConnectionError


def prompt_error(prompt: Prompt, node_id: str, node_class: str, message: str) -> PromptError:
    """Return the error for a node of a prompt, with the title that the prompt gives it."""
    title = prompt.get(node_id, {}).get("_meta", {}).get("title", "")
    return PromptError(node_id, node_class, title, message)


def refusal(prompt: Prompt, answer: dict[str, Any]) -> PromptError:
    """Return the error for a prompt that the server did not accept, about the first node that it complains of."""

    def text(error: dict[str, Any]) -> str:
        return ": ".join(filter(None, (error["message"], error["details"])))

    # The host blames every output that depends on a broken node too; those entries come without errors.
    errors = [
        prompt_error(prompt, node_id, node["class_type"], "; ".join(map(text, node["errors"])))
        for node_id, node in (answer["node_errors"] or {}).items()
        if node["errors"]
    ]
    if not errors:
        info = answer["error"].get("extra_info", {})
        return prompt_error(prompt, info.get("node_id", ""), info.get("class_type", ""), text(answer["error"]))
    first = errors[0]
    first.args = ("; ".join(map(str, errors)),)
    return first


def failure(prompt: Prompt, messages: list[tuple[str, dict[str, Any]]]) -> PromptError | None:
    """Return the error that a finished prompt's messages tell of, None when it succeeded."""
    for kind, data in messages:
        if kind == "execution_error":
            message = f"{data['exception_type'].split('.')[-1]}: {data['exception_message'].strip()}"
            return prompt_error(prompt, data["node_id"], data["node_type"], message)
        if kind == "execution_interrupted":
            return prompt_error(prompt, data["node_id"], data["node_type"], "interrupted")
    return None
