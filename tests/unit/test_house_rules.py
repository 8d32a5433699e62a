"""The two rules that hold the house up: delta/ knows no host, nodes/ does no linear algebra."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST_MODULES = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "server"}
LINEAR_ALGEBRA = {"matmul", "mm", "bmm", "addmm", "einsum", "svd", "qr", "eigh", "svd_lowrank", "linalg", "conv2d"}


def imported_modules(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", modules("delta"), ids=lambda path: path.stem)
def test_delta_imports_no_host(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported_modules(tree) & HOST_MODULES
    # A relative import above the package would reach the nodes.
    depth = len(path.relative_to(ROOT / "delta").parts)
    assert all(node.level <= depth for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("path", modules("nodes"), ids=lambda path: path.stem)
def test_nodes_do_no_linear_algebra(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & LINEAR_ALGEBRA
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)]


@pytest.mark.parametrize("path", modules("nodes"), ids=lambda path: path.stem)
def test_only_the_host_modules_call_the_host(path: Path) -> None:
    allowed = HOST_MODULES if path.stem.split("_")[0] == "host" else {"comfy_api"}
    assert imported_modules(ast.parse(path.read_text(encoding="utf-8"))) & HOST_MODULES <= allowed


def test_delta_imports_from_a_plain_prompt() -> None:
    script = "import sys, delta.style_network.network, delta.lora.stack; print('comfy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=lambda command: command[0])
def test_ruff_is_content(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
