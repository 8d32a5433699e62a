"""What other people's checkers say of the pack, where they are installed: pip install comfy-test comfy-cli comfy-import-guard."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from shipped import ROOT, shipped

from workflows import reason_to_skip

TWINS = sorted((ROOT / "tests/prompts").glob("*.json"))
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
# Starting comfy-cli takes seconds, so that all files go through one process. Prints one line of JSON for each.
VALIDATE = """
import contextlib, io, sys
from comfy_cli.cmdline import app
for path in sys.argv[2:]:
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer), contextlib.suppress(SystemExit):
        arguments = ["workflow", "validate", "--workflow", path, "--input", sys.argv[1]]
        app(["--skip-prompt", "--json", *arguments], standalone_mode=False)
    print(answer.getvalue().splitlines()[-1])
"""
GUARD = "import sys; from comfy_import_guard.cli import main; sys.exit(main())"


def need(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{package} is not installed: `pip install {package}` in .venv to run its checks.")


def run(*arguments: str | Path, home: Path, accepted: tuple[int, ...] = (0,)) -> str:
    """What Python prints with these arguments; fail with all of it. home: where a checker keeps what it keeps."""
    env = os.environ | {"HOME": str(home), "COMFY_NO_TRACKING": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode in accepted, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    """The pack as the registry hands it out, in the custom_nodes of an otherwise empty folder."""
    folder = tmp_path_factory.mktemp("install") / "custom_nodes/ComfyUI-StyleDelta"
    for path in shipped():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder


def test_comfy_test_finds_no_fault_in_the_sources(pack, tmp_path):
    need("comfy_test", "comfy-test")
    said = run("-m", "comfy_test", "lint", "--strict", pack, home=tmp_path)
    assert "[JAVASCRIPT] PASSED" in said and "[SYNTAX] PASSED" in said


def test_comfy_cli_accepts_every_prompt_and_workflow_of_this_host(server: ComfyServer, tmp_path):
    need("comfy_cli", "comfy-cli")
    info = server.object_info()
    nodes = tmp_path / "object_info.json"
    nodes.write_text(json.dumps(info), encoding="utf-8")
    prompts = {twin.name: json.loads(twin.read_text(encoding="utf-8"))["prompt"] for twin in TWINS}
    prompts = {name: prompt for name, prompt in prompts.items() if not reason_to_skip(prompt, info)}
    workflows = [path for path in WORKFLOWS if path.name in prompts]
    paths = []
    for name, prompt in prompts.items():
        paths.append(tmp_path / f"prompt_{name}")
        paths[-1].write_text(json.dumps(prompt), encoding="utf-8")
    said = run("-c", VALIDATE, nodes, *paths, *workflows, home=tmp_path)
    answers = dict(zip([*paths, *workflows], map(json.loads, said.splitlines()), strict=True))
    found = {path.name: answer["data"]["errors"] + answer["data"]["warnings"] for path, answer in answers.items()}
    for path in paths:
        assert found[path.name] == []
    for path in workflows:
        # They name models and pictures of users.
        assert {error["code"] for error in found[path.name]} <= {"unknown_enum_value"}, found[path.name]


def test_comfy_import_guard_finds_everything_in_the_host(pack, host_dir, tmp_path):
    need("comfy_import_guard", "comfy-import-guard")
    if shutil.which("git") is None:
        pytest.skip("comfy-import-guard reads the host from git, which is not installed.")
    # It reads a clone of the host; this one is made of the host's sources.
    clone = tmp_path / "ComfyUI"
    for path in host_dir.rglob("*.py"):
        name = path.relative_to(host_dir)
        if not {"custom_nodes", "tests", "tests-unit", ".git"}.intersection(name.parts):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, clone / name)
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "host"]):
        subprocess.run(["git", *arguments], cwd=clone, check=True)
    options = ["--comfy-dir", pack.parents[1], "--target", "HEAD", "--strict"]
    said = run("-c", GUARD, "--offline", "--quiet", "--cache-dir", tmp_path, "check", *options, home=tmp_path)
    assert "1 pack(s): 0 will break, 1 safe, 0 warn" in said
