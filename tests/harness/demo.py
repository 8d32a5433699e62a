"""Run every example workflow on a headless ComfyUI: demo.py <host_dir> <base_dir> <out_dir>

Writes the pictures of each workflow to <out_dir>/<name>/, those of the claims to <out_dir>/claims/, and a gallery to
<out_dir>/index.html.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import claims
import readme_pictures
import thumbnails
import widget_picture
from claims import Row
from comfy_server import ComfyServer, Progress, Prompt, PromptError, ServerError
from PIL import Image

from workflows import reason_to_skip

HARNESS = Path(__file__).resolve().parent
PROMPTS = HARNESS.parent / "prompts"

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>StyleDelta demo</title>
<style>
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5c6670; --line: #d9dee3; --paper: #fff; --error: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #363c43; --paper: #16191d; --error: #ff8a80; }
}
body { max-width: 70rem; margin: 0 auto; padding: 2rem 1.25rem; font: 1rem/1.55 system-ui, sans-serif;
       color: var(--ink); background: var(--paper); }
section { border-top: 1px solid var(--line); padding: 1.5rem 0; }
h1, h2 { line-height: 1.2; margin: 0 0 .5rem; }
p { max-width: 46rem; margin: 0 0 .75rem; }
.note { color: var(--soft); font-size: .9rem; }
.error { color: var(--error); font-weight: 600; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
img { display: block; max-width: 100%; max-height: 20rem; border: 1px solid var(--line); border-radius: 4px; }
figcaption { color: var(--soft); font-size: .8rem; }
pre { overflow-x: auto; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: 4px; font-size: .85rem; }
.small { width: 12rem; }
.rows { max-height: none; }
</style>
"""
# What `python dev.py bench train_style` made.
LEARNT = HARNESS.parent / "pictures/train_style.jpg"
LEARNT_SEEN = (
    "Train Style made a LoRA of rank 8 from these eight drawings in one minute and in three, on two cores. Subjects that it was "
    "not shown get the paper and the ink lines; after three minutes the lines are firmer, and forms begin to suffer."
)
# Pictures of up to so many pixels are shown larger than they are.
SMALL = 128


@dataclass
class Picture:
    """A picture file of the gallery and the title of the node that loaded or made it."""

    file: Path
    caption: str


@dataclass
class Result:
    """What came out of one example workflow."""

    name: str
    title: str
    description: str
    seen: str
    seconds: float = 0.0
    pictures: list[Picture] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    error: str = ""


class ProgressLine:
    """The progress of one workflow: one line that is rewritten on a terminal, a line for each node elsewhere."""

    def __init__(self, name: str):
        self.name, self.last_node = name, ""

    def __call__(self, progress: Progress) -> None:
        if sys.stdout.isatty():
            text = f"{self.name}: {progress.node_class} {progress.value:g}/{progress.max:g}"
            print("\r" + fill_line(text), end="", flush=True)
        elif progress.node_id != self.last_node:
            print(f"{self.name}: {progress.node_class} (node {progress.node_id})", flush=True)
        self.last_node = progress.node_id

    def finish(self, text: str) -> None:
        """Print how the workflow ended, in place of its progress."""
        if sys.stdout.isatty():
            print("\r" + fill_line(""), end="\r")
        print(f"{self.name}: {text}", flush=True)


def fill_line(text: str) -> str:
    """Return the text cut or padded to the width of the terminal."""
    width = shutil.get_terminal_size().columns - 1
    return text[:width].ljust(width)


def place(path: Path) -> int:
    """Where an example stands in the gallery."""
    return json.loads(path.read_text(encoding="utf-8"))["order"]


def run_example(server: ComfyServer, path: Path, out_dir: Path) -> Result | str:
    """Run one example and return its result, with the error in it if the workflow failed; or why the host cannot run it."""
    example = json.loads(path.read_text(encoding="utf-8"))
    if reason := reason_to_skip(example["prompt"], server.object_info()):
        return told_skip(path.stem, reason)
    result = Result(path.stem, *(example.get(key, "") for key in ("title", "description", "seen")))
    return run_prompt(server, example["prompt"], result, out_dir)


def told_skip(name: str, reason: str) -> str:
    """Say that a workflow is skipped, and return the line that the gallery has for it."""
    print(f"{name}: skipped, {reason}", flush=True)
    return f"{name}: {reason}."


def skipped_section(reasons: list[str]) -> str:
    """The gallery's HTML for what was not run."""
    lines = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    return f"<section><h2>Skipped</h2><ul>{lines}</ul></section>" if reasons else ""


def run_prompt(server: ComfyServer, prompt: Prompt, result: Result, out_dir: Path, timeout: float = 600) -> Result:
    """Run a prompt and put what comes out of it into its result."""
    line = ProgressLine(result.name)
    start = time.perf_counter()
    try:
        outputs = server.run(prompt, line, timeout)
    except (PromptError, TimeoutError) as error:
        outputs, result.error = {}, str(error)
    result.seconds = time.perf_counter() - start
    result.pictures = download(server, prompt, outputs, out_dir / result.name)
    result.texts = list(dict.fromkeys(text for output in outputs.values() for text in output.get("text", ())))
    line.finish(f"FAILED. {result.error}" if result.error else f"{result.seconds:.1f} s")
    return result


def download(server: ComfyServer, prompt: Prompt, outputs: dict[str, dict[str, list]], folder: Path) -> list[Picture]:
    """Save the pictures that a prompt was given and those that it made in the folder, and return them in that order."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = {
        node_id: {"images": [{"filename": node["inputs"]["image"], "type": "input"}]}
        for node_id, node in prompt.items()
        if node["class_type"] in ("LoadImage", "LoadImageMask")
    }
    pictures, shown = [], set()
    made = {node_id: outputs[node_id] for node_id in prompt if node_id in outputs}
    for node_id, output in [*given.items(), *made.items()]:
        for index, image in enumerate(output.get("images", ())):
            # A photo that several nodes load is shown once.
            if tuple(image.values()) in shown:
                continue
            shown.add(tuple(image.values()))
            file = folder / f"node{node_id.replace(':', '-')}_{index}{Path(image['filename']).suffix}"
            file.write_bytes(server.view(**image))
            pictures.append(Picture(file, prompt[node_id]["_meta"]["title"]))
    return pictures


def figure(file: Path, caption: str, out_dir: Path) -> str:
    """Return the gallery's HTML for a picture file."""
    address, text = quote(file.relative_to(out_dir).as_posix()), html.escape(caption)
    kind = ' class="small"' if max(Image.open(file).size) <= SMALL else ""
    link = f'<a href="{address}"><img src="{address}" alt="{text}"{kind}></a>'
    return f"<figure>{link}<figcaption>{text}</figcaption></figure>"


def section(result: Result, out_dir: Path) -> str:
    """Return the gallery's HTML for one workflow."""
    parts = ["<section>", f"<h2>{html.escape(result.title or result.name)}</h2>"]
    parts += [f"<p>{html.escape(result.description)}</p>", f'<p class="note">{html.escape(result.seen)}</p>']
    if result.error:
        parts.append(f'<p class="error">{html.escape(result.error)}</p>')
    pictures = "".join(figure(picture.file, picture.caption, out_dir) for picture in result.pictures)
    parts.append(f'<div class="pictures">{pictures}</div>')
    parts += [f"<pre>{html.escape(text)}</pre>" for text in result.texts]
    parts.append(f'<p class="note">{result.seconds:.1f} s, workflows/{html.escape(result.name)}.json</p></section>')
    return "\n".join(parts)


def row_section(name: str, row: Row) -> str:
    """Return the gallery's HTML for the pictures of a claim."""
    return rows_section(f"{claims.FOLDER}/{name}.jpg", row.title, claims.SEEN[name])


def rows_section(address: str, title: str, text: str) -> str:
    """Return the gallery's HTML for rows of pictures in one file."""
    picture = f'<a href="{address}"><img class="rows" src="{address}" alt="{html.escape(title)}"></a>'
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{picture}</section>"


def learnt_section(out_dir: Path) -> str:
    """Return the gallery's HTML for a training of minutes, which the demo shows and does not repeat."""
    shutil.copy(LEARNT, out_dir / claims.FOLDER / LEARNT.name)
    return rows_section(f"{claims.FOLDER}/{LEARNT.name}", "A look learnt from eight pictures", LEARNT_SEEN)


def write_gallery(out_dir: Path, title: str, results: Sequence[Result], *more: str) -> Path:
    """Write the gallery's page: what is more, and a section for each workflow; return its path."""
    heading = f"<h1>{html.escape(title)}</h1>"
    parts = [PAGE, heading, *more, *(section(result, out_dir) for result in results)]
    gallery = out_dir / "index.html"
    gallery.write_text("\n".join(parts), encoding="utf-8")
    return gallery


def main(host_dir: Path, base_dir: Path, out_dir: Path) -> int:
    """Run the claims and the examples, write the gallery and return 1 when one of them failed."""
    subprocess.run([sys.executable, HARNESS / "fill_base.py", base_dir], check=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    print("Starting ComfyUI", flush=True)
    with ComfyServer(host_dir, base_dir, base_dir / "demo-server.log") as server:
        done = [run_example(server, path, out_dir) for path in sorted(PROMPTS.glob("*.json"), key=place)]
        rows = claims.run_claims(server, out_dir)
    results = [one for one in done if isinstance(one, Result)]
    skipped = skipped_section([one for one in done if isinstance(one, str)])
    sections = [*(row_section(name, row) for name, row in rows.items()), learnt_section(out_dir), skipped]
    gallery = write_gallery(out_dir, "StyleDelta demo", results, *sections)
    failed = [result.name for result in results if result.error]
    failed += [claim.__name__ for claim in claims.CLAIMS if claim.__name__ not in rows]
    if failed:
        print(f"Failed: {', '.join(failed)}")
    else:
        folder = readme_pictures.main(out_dir)
        try:
            widget_picture.main(host_dir, base_dir, folder / "widgets.png")
        except FileNotFoundError as error:
            print(f"No picture of the widgets: {error}")
        thumbnails.main(out_dir, [result.name for result in results])
    print(f"Gallery: {gallery}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*map(Path, sys.argv[1:])))
    except (ServerError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
