import importlib.util
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "harness"), str(TESTS.parent / "training")]

# delta/ must work without ComfyUI, and the host's module `nodes` would hide the package of that name.
assert importlib.util.find_spec("comfy") is None, "ComfyUI is on sys.path: run the unit tests on their own"
