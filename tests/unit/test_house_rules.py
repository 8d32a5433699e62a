"""The rules that hold the house up: who may import whom, and how large a room and a file may grow."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST_MODULES = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "server"}
LINEAR_ALGEBRA = {"matmul", "mm", "bmm", "addmm", "einsum", "svd", "qr", "eigh", "svd_lowrank", "linalg", "conv2d"}
# What node files share; all else that they have in common lies in nodes/host or in delta.
SHARED = {
    "nodes.inputs",
    "nodes.control_inputs",
    "nodes.hint_inputs",
    "nodes.pose_inputs",
    "nodes.menu",
    "nodes.report",
    "nodes.aliases",
    "nodes.errors",
}
MOST_ROOMS = 22
MOST_LINES = 350


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def by_path(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(path: Path) -> set[str]:
    """The top-level modules that a file imports by their absolute names."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def own_imports(path: Path) -> set[str]:
    """The modules of the pack that a file imports, by their names from the root; the names in them are left out."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            parent = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{parent}.{alias.name}"
                found.add(name if module_file(name) else parent)
    assert all(module_file(name) for name in found), found
    return found


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


@by_path(modules("delta"))
def test_delta_imports_no_host(path: Path) -> None:
    assert not imported_modules(path) & HOST_MODULES
    # A relative import above the package would reach the nodes.
    depth = len(path.relative_to(ROOT / "delta").parts)
    assert all(node.level <= depth for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom))


def test_rooms_import_each_other_in_one_direction() -> None:
    graph: dict[str, set[str]] = {}
    for path in modules("delta"):
        own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        graph.setdefault(own, set()).update(room(name) for name in own_imports(path))
        graph[own].discard(own)
    assert graph["delta.linear_algebra"] == set()
    assert len(graph) > 10 and sum(map(len, graph.values())) > 20
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"These rooms import each other: {' <- '.join(error.args[1])}")


def test_all_of_delta_is_seen_at_first_sight() -> None:
    rooms = [path for path in (ROOT / "delta").iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert len(rooms) <= MOST_ROOMS


@by_path(modules("nodes"))
def test_nodes_do_no_linear_algebra(path: Path) -> None:
    tree = parsed(path)
    assert not {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & LINEAR_ALGEBRA
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)]


@by_path(modules("nodes"))
def test_only_the_host_room_calls_the_host(path: Path) -> None:
    allowed = HOST_MODULES if path.parent.name == "host" else {"comfy_api"}
    assert imported_modules(path) & HOST_MODULES <= allowed


@by_path([path for path in modules("nodes") if path != ROOT / "nodes/__init__.py"])
def test_no_node_file_imports_another(path: Path) -> None:
    above = {name for name in own_imports(path) if not name.startswith(("delta.", "nodes.host."))} - {"nodes.host"}
    assert above <= (set() if path.parent.name == "host" else SHARED)


@by_path([*modules("delta"), *modules("nodes")])
def test_files_can_be_read_in_one_go(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, name


def test_delta_imports_from_a_plain_prompt() -> None:
    script = "import sys, delta.style_network.network, delta.lora.stack; print('comfy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=lambda command: command[0])
def test_ruff_is_content(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
