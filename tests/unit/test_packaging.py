"""What the registry gets: which files ship, that its scanner finds nothing in them, and that their description is right."""

import ast
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "tests/pictures"
LARGEST_PICTURE = 300_000
# What the registry's scanner reports, even where it is harmless.
NETWORK = {
    "urllib",
    "urllib3",
    "requests",
    "http",
    "httpx",
    "socket",
    "ssl",
    "ftplib",
    "smtplib",
    "websocket",
    "websockets",
}
COMMANDS = {"subprocess", "pty", "multiprocessing", "pip", "ensurepip", "ctypes", "marshal"}
RUNNING = {"eval", "exec", "compile", "__import__"}
SYSTEM_CALLS = {"system", "popen", "startfile", "putenv", "unsetenv", "environ", "getenv"}
BROWSER_NETWORK = re.compile(
    r"https?:|//cdn|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|\.connect\(|\beval\(|new Function|\bfetch\((?!App|new URL\(`\.\./|\s*[`'\"]/)"
)


def with_ending(*endings: str) -> list[Path]:
    return [path for path in shipped() if path.suffix in endings]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def table(name: str) -> str:
    """The text of one table of pyproject.toml: Python 3.10 has no reader of TOML."""
    return re.search(rf"^\[{re.escape(name)}\]\n(.*?)(?=^\[|\Z)", read(ROOT / "pyproject.toml"), re.S | re.M)[1]


def setting(name: str, key: str) -> str:
    return re.search(rf"^\"?{re.escape(key)}\"? = (.+)$", table(name), re.M)[1]


def by_path(paths: list[Path]) -> pytest.MarkDecorator:
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_only_the_pack_ships():
    top = {path.relative_to(ROOT).parts[0] for path in shipped()}
    texts = {"LICENSE", "README.md", "README.zh.md", "CHANGELOG.md"}
    assert top == texts | {
        "__init__.py",
        "delta",
        "nodes",
        "docs",
        "js",
        "locales",
        "workflows",
        "pyproject.toml",
        "requirements.txt",
    }


@by_path(with_ending(".py"))
def test_python_runs_no_command_reaches_no_network_and_leaves_the_environment(path):
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            imported = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            imported = set()
        roots = imported | {name.split(".")[0] for name in imported}
        assert not roots & (NETWORK | COMMANDS)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in RUNNING, node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in SYSTEM_CALLS, node.lineno


@by_path(with_ending(".py", ".toml", ".txt"))
def test_sources_can_be_read_on_windows(path):
    read(path).encode("cp1252")


def test_scripts_reach_no_other_origin():
    # The name of a language, which nothing fetches.
    scripts = {path.name: read(path).replace("'http://www.w3.org/2000/svg'", "") for path in with_ending(".js", ".mjs")}
    found = [(name, match) for name, script in scripts.items() for match in BROWSER_NETWORK.findall(script)]
    assert not found


@pytest.mark.parametrize(
    ("script", "is_found"),
    [
        ("fetch('https://example.org')", True),
        ("source.connect(gain)", True),
        ("new WebSocket(address)", True),
        ("api.fetchApi('/styledelta/preview')", False),
        ("import { app } from '../../scripts/app.js'", False),
    ],
)
def test_what_counts_as_network_in_scripts(script, is_found):
    assert bool(BROWSER_NETWORK.search(script)) == is_found


@by_path(with_ending(".json"))
def test_json_parses(path):
    assert json.loads(read(path))


def test_requirements_are_those_of_the_project():
    assert read(ROOT / "requirements.txt").split() == json.loads(setting("project", "dependencies"))


def test_the_project_is_described():
    assert re.fullmatch(r'"\d+\.\d+\.\d+"', setting("project", "version"))
    assert f"## {setting('project', 'version')[1:-1]}\n" in read(ROOT / "CHANGELOG.md")
    assert "LICENSE" in setting("project", "license") and read(ROOT / "LICENSE").startswith("MIT License")
    assert setting("project.urls", "Repository").startswith('"https://github.com/')
    assert setting("tool.comfy", "PublisherId") and setting("tool.comfy", "requires-comfyui")


@pytest.mark.parametrize("name", ["Icon", "Banner"])
def test_pictures_of_the_registry_have_its_shapes(name):
    address = setting("tool.comfy", name).strip('"')
    repository = setting("project.urls", "Repository").strip('"')
    start = repository.replace("//github.com", "//raw.githubusercontent.com") + "/main/"
    assert address.startswith(start)
    width, height = Image.open(ROOT / address.removeprefix(start)).size
    assert width == height <= 400 if name == "Icon" else width * 9 == height * 21


def test_pictures_are_small():
    pictures = [path for path in [*PICTURES.iterdir(), *(ROOT / "workflows").glob("*.jpg")] if path.is_file()]
    assert pictures and not [path.name for path in pictures if path.stat().st_size > LARGEST_PICTURE]


@pytest.mark.parametrize(("page", "language"), [("docs/NODES.md", "en"), ("docs/NODES.zh.md", "zh")])
def test_every_node_is_in_the_list(page, language):
    names = [node["display_name"] for node in json.loads(read(ROOT / f"locales/{language}/nodeDefs.json")).values()]
    text = read(ROOT / page)
    assert names and not [name for name in names if name not in text]


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/NODES.md", "docs/NODES.zh.md", "docs/MEASURED.md"])
def test_every_file_that_a_page_names_is_there(page):
    text = read(ROOT / page)
    links = [f"{Path(page).parent}/{link}" for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = re.findall(r"`((?:workflows|tests)/[\w./]+\.\w+)`", text) + re.findall(
        r"dev\.py test (tests/[\w/]+\.py)", text
    )
    assert links or named
    assert not [name for name in links + named if not (ROOT / name).exists()]
    measured = re.findall(r"dev\.py bench (\w+)", text)
    assert not [name for name in measured if not (ROOT / "benchmarks" / f"{name}.py").exists()]
