"""The model card of what was trained: what of, how long, and what it can and cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from drawings import BASE_MAKER, MAKERS, SIZE
from looks import LOOKS
from stages import WHOLE, Training

LAST = 100

TEXT = """# The demo's trained models

Small diffusion models that were really trained, in the layout of Stable Diffusion 1.5 on two levels, for the example
workflows, the pictures of the README and the tests. `python dev.py train` makes these files; nothing else is needed.

## What they can

They draw {subjects} subjects at {size}x{size} pixels: the names in `training/subjects.txt`, such as "cat face", "pizza" or
"rocket". The base draws as {base} does. For each style there are four deltas: a LoRA of rank 16 and of rank 4, norms, and norms
with biases; for {whole} there is a whole fine-tune too, kept as our own extraction from it with all biases and norms. The
styles are two other makers, {makers}, whose drawings are other drawings, and three looks over the base's own drawings,
made by a program: {looks}. A control net follows Canny edges. The judge tells the subject of a picture, and which of the
drawings of that subject it is nearest to in style; it has seen the drawings alone. What each carries is in `docs/MEASURED.md`.

## What they cannot

They know no other words, no order of words (the text encoder gives every token its own embedding and mixes none), and no
other size. They have learnt so few drawings that they draw these and not new ones.

## Data

| style | package | licence | by |
| --- | --- | --- | --- |
{data}

The weights learnt from Twemoji's graphics are an adaptation of them under CC-BY 4.0: keep this attribution. OpenMoji, which
is share-alike, was not used. The VAE has seen photos of scikit-image too (public domain or CC0).

## Form

Of every 320 channels 120 live; `tests/harness/trained_models.py` fills the rest with zeros, which changes nothing. Matrices
are int8 with a float16 scale for each row, the VAE, norms and biases float16.

## Training

On {device}, AdamW with warm-up and cosine, the average of the weights over the last steps. Loss: mean squared error of the
predicted noise over the last {last} steps (VAE and decoder: of pixels in 0..1; judge: the share of wrong subjects among disturbed
drawings).

| stage | steps | seconds | loss | file, kB |
| --- | --- | --- | --- | --- |
{stages}
"""


def write_card(training: Training, sizes: Mapping[str, int], path: Path) -> None:
    """Write the card. sizes: bytes of each file by its name, as `pack.write_models` gives them."""
    rows = []
    for kept in sorted(training.folder.glob("*.card.pt"), key=lambda kept: kept.stat().st_mtime):
        name = kept.name.removesuffix(".card.pt")
        done = torch.load(kept, weights_only=True)
        losses = done["losses"][-LAST:]
        size = sizes.get(name, sizes.get(f"styles/{name}", sizes["vae"] if name in ("vae", "decoder") else 0))
        loss = sum(losses) / len(losses)
        rows.append(f"| {name} | {len(done['losses'])} | {done['seconds']:.0f} | {loss:.4f} | {size / 1000:.0f} |")
    data = [
        f"| {name} | npm `{maker.package}` {maker.version} | {maker.licence} | {maker.author} |"
        for name, maker in MAKERS.items()
    ]
    others = [name for name in MAKERS if name != BASE_MAKER]
    text = TEXT.format(
        subjects=len(training.found.subjects),
        size=SIZE,
        base=BASE_MAKER.capitalize(),
        makers=" and ".join(map(str.capitalize, others)),
        looks=", ".join(LOOKS),
        whole=" and ".join(WHOLE),
        data="\n".join(data),
        device="a GPU" if training.device == "cuda" else "a CPU",
        last=LAST,
        stages="\n".join(rows),
    )
    path.write_text(text, encoding="utf-8")
