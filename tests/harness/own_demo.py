"""Run the example workflows on a user's own models, as `python dev.py demo --checkpoint NAME --models DIR` does.

Their prompts and their settings stay; what the user has no model for is skipped, with the reason. The models folder is only read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from comfy_server import ComfyServer, ServerError
from demo import PROMPTS, Result, place, run_prompt, skipped_section, told_skip, write_gallery
from demo_models import make_pictures
from own_models import MissingModel, OwnModels, Prompt, extra_model_paths, own_models, with_own

from workflows import reason_to_skip, to_prompt

WORKFLOWS = PROMPTS.parents[1] / "workflows"
# A large model on a CPU takes its time.
TIMEOUT = 4 * 3600


def run_on(server: ComfyServer, path: Path, own: OwnModels, out_dir: Path) -> Result | str:
    """The result of the workflow of a twin on the user's models, or why it is skipped."""
    twin = json.loads(path.read_text(encoding="utf-8"))
    workflow = json.loads((WORKFLOWS / path.name).read_text(encoding="utf-8"))
    info = server.object_info()
    if reason := reason_to_skip(twin["prompt"], info):
        return told_skip(path.stem, reason)
    try:
        prompt: Prompt = with_own(to_prompt(workflow, info), twin["prompt"], own)
    except MissingModel as error:
        return told_skip(path.stem, str(error))
    return run_prompt(server, prompt, Result(path.stem, twin["title"], twin["description"], ""), out_dir, TIMEOUT)


def main(options: argparse.Namespace) -> int:
    """Run what can be run, write the gallery, and return 1 when a workflow failed."""
    base_dir, out_dir = options.base_dir, options.out_dir
    make_pictures(base_dir)
    own = own_models(options.models, options.checkpoint, options.loras)
    paths = base_dir / "own_model_paths.yaml"
    paths.write_text(extra_model_paths(options.models), encoding="utf-8")
    out_dir.mkdir(parents=True, exist_ok=True)
    print("Starting ComfyUI", flush=True)
    extra = ["--extra-model-paths-config", str(paths)]
    wanted = [path for path in PROMPTS.glob("*.json") if not options.only or path.stem in options.only]
    with ComfyServer(options.host_dir, base_dir, base_dir / "demo-server.log", extra) as server:
        done = [run_on(server, path, own, out_dir) for path in sorted(wanted, key=place)]
    results = [one for one in done if isinstance(one, Result)]
    reasons = [one for one in done if isinstance(one, str)]
    gallery = write_gallery(out_dir, f"The workflows on {options.checkpoint}", results, skipped_section(reasons))
    failed = [result.name for result in results if result.error]
    print(f"{len(results) - len(failed)} of {len(done)} workflows ran, {len(reasons)} were skipped.")
    if failed:
        print(f"Failed: {', '.join(failed)}")
    print(f"Gallery: {gallery}")
    return 1 if failed else 0


def parse_arguments() -> argparse.Namespace:
    """The arguments, as dev.py gives them."""
    parser = argparse.ArgumentParser(description="Run the example workflows on your own models.")
    for name in ("host_dir", "base_dir", "out_dir", "models"):
        parser.add_argument(name, type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("loras", nargs="*")
    parser.add_argument("--only", action="append", metavar="WORKFLOW")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(parse_arguments()))
    except ServerError as error:
        sys.exit(str(error))
