"""What deltas do, seen: rows of pictures that the demo's trained models draw, one row for each claim."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_server import ComfyServer, PromptError
from PIL import Image, ImageDraw, ImageFont
from sketch import Link, Sketch, picture_of
from trained_models import is_whole

# Of a picture in a row, of the room between two, and of the headings, in pixels.
CELL, GAP, HEADING, SIDE = 176, 10, 26, 84
INK, PAPER = "#1d2126", "#ffffff"
FOLDER = "claims"
# Makers draw it differently.
SUBJECT = "house"
STYLES = ("noto", "fluent", "ink", "night", "poster")
PRESETS = ("encoder half", "middle only", "decoder half")


@dataclass(frozen=True)
class Row:
    """A claim. lines: a heading and the nodes that show the pictures under `columns`, "" for none."""

    title: str
    columns: Sequence[str]
    lines: Sequence[tuple[str, Sequence[str]]]


def styles(sketch: Sketch) -> Row:
    words = sketch.words(SUBJECT)

    def line(style: str) -> list[str]:
        files = [f"emoji_{style}_rank{rank}" for rank in (16, 4)] + [
            f"emoji_{n}/{style}" for n in ("norms_biases", "norms")
        ]
        models = [sketch.with_lora(sketch.lora(f"{file}.safetensors")) for file in files]
        # Not every style was learnt whole: its place stays empty.
        whole = sketch.sampled(sketch.fine_tune(style), words) if is_whole(style) else ""
        return [sketch.sampled(sketch.model, words), whole, *(sketch.sampled(model, words) for model in models)]

    return Row(
        "One house, five styles, five kinds of delta",
        ("Base model", "Full fine-tune", "LoRA, rank 16", "LoRA, rank 4", "Norms and biases", "Norms"),
        [(style.capitalize(), line(style)) for style in STYLES],
    )


def stack_and_merge(sketch: Sketch) -> Row:
    words = sketch.words(SUBJECT)

    def line(first: str, second: str) -> list[str]:
        files = [f"emoji_{style}_rank16.safetensors" for style in (first, second)]
        loras = {f"lora_{number}": sketch.lora(file) for number, file in enumerate(files, 1)}
        halves = {f"strength_{number}": 0.5 for number in (1, 2)} | {"strength_3": 1.0, "strength_4": 1.0}
        settings = {"method": "linear", "parameters": "", "rank": 0, "seed": 0, "model": sketch.model}
        merged = sketch.out("StyleDeltaMergeLoras", **settings, **halves, **loras)
        models = [
            *map(sketch.with_lora, loras.values()),
            sketch.stacked([(file, 0.5, "all blocks") for file in files]),
            sketch.with_lora(merged),
        ]
        return [sketch.sampled(model, words) for model in models]

    return Row(
        "Two LoRAs at half strength each: stacked, and merged into one file",
        ("The first", "The second", "Stacked, half each", "Merged, half each"),
        [("", line("ink", "poster")), ("", line("noto", "night"))],
    )


def resized(sketch: Sketch) -> Row:
    words, lora = sketch.words(SUBJECT), sketch.lora("emoji_noto_rank16.safetensors")

    def picture(percent: float) -> str:
        policy = sketch.out("StyleDeltaRankPolicy", mode="size", value=FULL_SIZE * percent / 100, text_encoder_mb=0.0)
        small = sketch.out("StyleDeltaResizeLora", lora_model=lora, rank=0, rank_policy=policy)
        return sketch.sampled(sketch.with_lora(small), words)

    parts = (50, 25, 10, 5, 2, 1)
    whole = sketch.sampled(sketch.with_lora(lora), words)
    columns = ("100 %", *(f"{part} %" for part in parts))
    return Row("A LoRA made smaller", columns, [("", [whole, *map(picture, parts)])])


# Of the LoRA of rank 16, in MB.
FULL_SIZE = 3.7


def block_weights(sketch: Sketch) -> Row:
    words = sketch.words(SUBJECT)

    def line(style: str) -> list[str]:
        file = f"emoji_{style}_rank16.safetensors"
        models = [sketch.stacked([(file, 1.0, preset)]) for preset in ("all blocks", *PRESETS)]
        return [sketch.sampled(model, words) for model in (sketch.model, *models)]

    columns = ("Without", "All blocks", *(preset.capitalize() for preset in PRESETS))
    return Row("A LoRA on some blocks only", columns, [(name.capitalize(), line(name)) for name in ("ink", "poster")])


def norms(sketch: Sketch) -> Row:
    words, usual = sketch.words(SUBJECT), {"norms": True, "modulation": True, "qk_norms": False}
    files = {name: f"emoji_norms/{name}.safetensors" for name in ("ink", "night", "poster")}
    ink, night, poster = map(sketch.lora, files.values())
    swapped = [
        sketch.out("StyleDeltaNormSwap", model=sketch.model, lora_model=style, amount=1.0, block_weights="", **usual)
        for style in (ink, night, poster)
    ]
    weights = {"weight_1": 0.5, "weight_2": 0.5, "weight_3": 1.0, "weight_4": 1.0}
    mixed = sketch.out(
        "StyleDeltaMixNorms", model=sketch.model, normalise=True, lora_1=ink, lora_2=night, **weights, **usual
    )
    shares = zip(files.values(), (0.5, 0.25, 0.25))
    palette = json.dumps({"styles": [{"style": file, "weight": weight} for file, weight in shares]})
    by_hand = sketch.out("StyleDeltaNormPalette", model=sketch.model, amount=1.0, palette=palette, **usual)
    models = [sketch.model, *swapped, mixed, by_hand]
    pictures = [sketch.sampled(model, words) for model in models]
    grows = sketch.sampled(sketch.model, growing(sketch, words, files["ink"]))
    columns = ("Base model", "Ink", "Night", "Poster", "Half Ink, half Night", "Palette of three", "Ink, growing")
    return Row("Norms alone: swapped, mixed, and growing while sampling", columns, [("", [*pictures, grows])])


def growing(sketch: Sketch, words: tuple[Link, Link], file: str) -> tuple[Link, Link]:
    """Conditionings under ComfyUI's LoRA hooks: the file comes between 30 and 80 % of the steps."""
    hook = sketch.out("CreateHookLoraModelOnly", lora_name=file, strength_model=1.0)
    frames = sketch.out(
        "CreateHookKeyframesInterpolated",
        strength_start=0.0,
        strength_end=1.0,
        interpolation="ease_in_out",
        start_percent=0.3,
        end_percent=0.8,
        keyframes_count=8,
        print_keyframes=False,
    )
    hooks = sketch.out("SetHookKeyframes", hooks=hook, hook_kf=frames)
    both = sketch.add(
        "PairConditioningSetProperties",
        positive_NEW=words[0],
        negative_NEW=words[1],
        strength=1.0,
        set_cond_area="default",
        hooks=hooks,
    )
    return [both, 0], [both, 1]


def layer_swap(sketch: Sketch) -> Row:
    words = sketch.words(SUBJECT)

    def line(style: str) -> list[str]:
        other = sketch.fine_tune(style)
        swap = {"model": sketch.model, "other_model": other, "amount": 1.0, "part": "everything", "block_weights": ""}
        models = [sketch.out("StyleDeltaLayerSwap", preset=preset, **swap) for preset in PRESETS]
        return [sketch.sampled(model, words) for model in (sketch.model, *models, other)]

    columns = ("Base model", *(f"Its {preset.removesuffix(' only')}" for preset in PRESETS), "All of the other")
    return Row(
        "Blocks of one model in another", columns, [(name.capitalize(), line(name)) for name in ("noto", "night")]
    )


def edges(sketch: Sketch) -> Row:
    def line(caption: str, drawing: str) -> list[str]:
        words, hint = sketch.words(caption), sketch.edges(drawing)
        with_net = sketch.controlled(words, sketch.net, hint)
        images = [sketch.shown(image) for image in (sketch.loaded(drawing), hint)]
        return [*images, sketch.sampled(sketch.model, words), sketch.sampled(sketch.model, with_net)]

    return Row(
        "A ControlNet keeps the edges",
        ("Drawing", "Its edges", "Without the net", "With the net"),
        [("", line("fish", "drawn_fish.png")), ("", line("automobile", "drawn_car.png"))],
    )


def regions(sketch: Sketch) -> Row:
    words = sketch.words("red apple")
    left, right = sketch.edges("drawn_apple.png"), sketch.edges("drawn_tall_apple.png")
    mask = sketch.out("LoadImageMask", image="mask_left.png", channel="red")
    inverse = sketch.out("InvertMask", mask=mask)
    one = sketch.controlled(words, sketch.net, left)
    both = sketch.controlled(sketch.controlled(words, sketch.net, left, mask=mask), sketch.net, right, mask=inverse)
    images = [sketch.shown(image) for image in (left, right)]
    pictures = [sketch.sampled(sketch.model, asked) for asked in (words, one, both)]
    columns = (
        "Edges for the left",
        "Edges for the right",
        "Without nets",
        "The first net alone",
        "Each net in its half",
    )
    return Row("Two nets, each in its own half", columns, [("", [*images, *pictures])])


def schedule(sketch: Sketch) -> Row:
    words, hint = sketch.words("fish"), sketch.edges("drawn_fish.png")
    usual = {"interpolation": "linear", "shape": "fade out", "shape_start": 0.0, "shape_end": 1.0}
    times = {
        "Throughout": "1@0",
        "To 40 %, then gone": "1@0, 1@0.4, 0@0.41",
        "Fading": "1@0, 0@1",
        "From 40 % on": "0@0, 0@0.4, 1@0.41",
    }

    def picture(keyframes: str) -> str:
        when = sketch.out("StyleDeltaControlSchedule", keyframes=keyframes, plot_strength=1.0, plot_steps=20, **usual)
        return sketch.sampled(sketch.model, sketch.controlled(words, sketch.net, hint, schedule=when))

    pictures = [sketch.shown(hint), sketch.sampled(sketch.model, words), *map(picture, times.values())]
    return Row("A ControlNet on a schedule", ("Edges", "Without the net", *times), [("", pictures)])


def control_lora(sketch: Sketch) -> Row:
    words, hint = sketch.words("fish"), sketch.edges("drawn_fish.png")
    usual = {"conv_rank": 0, "ignore_noise": False, "device": "auto", "precision": "float16"}
    source = {"control_net": "styledelta_emoji_canny.safetensors", "base": "checkpoints/styledelta_emoji.safetensors"}
    ranks = (64, 16, 4, 1)
    small = [
        sketch.out(
            "StyleDeltaExtractControlLora", rank=rank, filename_prefix=f"controlnet/claim_r{rank}", **source, **usual
        )
        for rank in ranks
    ]
    asked = [words, *(sketch.controlled(words, net, hint) for net in (sketch.net, *small))]
    columns = ("Without a net", "The full net", *(f"Control-LoRA, rank {rank}" for rank in ranks))
    return Row("A Control-LoRA against its net", columns, [("", [sketch.sampled(sketch.model, one) for one in asked])])


def reference(sketch: Sketch) -> Row:
    words = sketch.words(SUBJECT)
    # Amount, block weights and latent amount.
    settings = {
        "Features": (1.0, "", 0.0),
        "Latent, half": (0.0, "", 0.5),
        "Both": (1.0, "", 0.5),
        "Features at all norms": (1.0, "*=1", 0.0),
    }

    def line(name: str) -> list[str]:
        image = sketch.loaded(name)
        models = [sketch.model, *(sketch.matched(image, *setting) for setting in settings.values())]
        return [sketch.shown(image), *(sketch.sampled(model, words) for model in models)]

    lines = [("", line(name)) for name in ("drawn_apple.png", "night_fox.png")]
    return Row("Statistics of a reference", ("Reference", "Without it", *settings), lines)


def training(sketch: Sketch) -> Row:
    words, animals = sketch.words("rabbit face"), ("dog", "fox", "owl", "panda")
    captions = "dog face\nfox\nowl\npanda"
    usual = {"steps": 100, "learning_rate": 0.0, "batch_size": 1, "seed": 0, "preview_every": 0}
    usual |= {"train": "norms", "norms": True, "modulation": True, "qk_norms": False}
    usual |= {"rank": 8, "lora_layers": "attention", "schedule": "automatic", "warm_up": -1}

    def line(style: str) -> list[str]:
        names = [f"{style}_{animal}.png" for animal in animals]
        latents = sketch.latent(sketch.batch(names))
        given = {"model": sketch.model, "latents": latents, "clip": sketch.clip, "captions": captions}
        trained = sketch.with_lora(sketch.out("StyleDeltaTrainNorms", **given, **usual))
        images = [sketch.shown(sketch.loaded(name)) for name in names]
        return [*images, *(sketch.sampled(model, words) for model in (sketch.model, trained))]

    columns = ("Trained on", "", "", "", "Before", "After")
    lines = [(name.capitalize(), line(name)) for name in ("noto", "night")]
    return Row("Norms trained from four pictures, seen on a fifth animal", columns, lines)


# What the pictures show, and what they do not.
SEEN = {
    "styles": "The base draws Twemoji's house. Whole fine-tunes, which are kept of Noto and Night, and LoRAs of rank 16 and 4 "
    "carry the red roofs of Noto and Fluent, the lines of Ink, the dark of Night and the two colours of Poster. Norms, with "
    "biases or without, draw Ink's lines on its paper and bring Night's dark and Poster's light; but forms suffer, and of "
    "another maker's house they make none.",
    "stack_and_merge": "Ink and Poster, Noto and Night, half of each. The stack and the one merged file give the same "
    "picture, with something of both.",
    "resized": "A LoRA of rank 16 for Noto, from 3.7 MB down to 37 KB. At 50 % the house is still the same, at 25 % the roof is "
    "red and the drawing goes, from 10 % on little is left.",
    "block_weights": "The style is in the decoder: its half alone draws as all blocks do, the encoder half and the middle "
    "change next to nothing.",
    "norms": "Norms of three looks are swapped in, two of them are mixed, three of them by hand; and Ink comes "
    "while sampling, between 30 and 80 % of the steps, which leaves the house as it was laid out. Forms "
    "blur where norms move far.",
    "layer_swap": "The decoder of a fine-tune brings its roof, its colours and its dark; its encoder and its middle "
    "bring little.",
    "edges": "Without the net the model draws the fish and the car that it has learnt. With it they lie and bulge "
    "as those in the drawings do.",
    "regions": "An apple that is broad at the left and narrow at the right.",
    "schedule": "The small model settles its forms late: a net that is gone from 40 % on leaves them half-way, one that comes "
    "at 40 % still brings nearly all of them.",
    "control_lora": "As a Control-LoRA of any rank down to 1 the net draws the same fish: the layers of its own, which a "
    "Control-LoRA keeps whole, do most of the work in this small net.",
    "reference": "The latent amount brings the reference's colours, its ground too. Features move next to nothing in this "
    "small model, and matched at all norms, which takes a rule, they turn colours into their opposites: its first level "
    "carries the noisy picture.",
    "training": "Four pictures and few steps move little: on a fifth animal Noto's leave less colour, Night's darken it and "
    "tint its ground. Neither makes the rabbit that the style would have.",
}
CLAIMS: tuple[Callable[[Sketch], Row], ...] = (
    styles,
    stack_and_merge,
    resized,
    block_weights,
    norms,
    layer_swap,
    edges,
    regions,
    schedule,
    control_lora,
    reference,
    training,
)


def run_claims(server: ComfyServer, out_dir: Path) -> dict[str, Row]:
    """All claims by their names, whose pictures are written into FOLDER; those of which a node fails are left out."""
    (out_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    rows = {}
    for claim in CLAIMS:
        name, start = claim.__name__, time.perf_counter()
        try:
            rows[name], picture = run_claim(server, claim)
        except PromptError as error:
            print(f"{name}: FAILED. {error}", flush=True)
            continue
        save(picture, out_dir / FOLDER / f"{name}.jpg")
        print(f"{rows[name].title}: {time.perf_counter() - start:.1f} s", flush=True)
    return rows


def run_claim(server: ComfyServer, claim: Callable[[Sketch], Row]) -> tuple[Row, Image.Image]:
    """A claim and its row as one picture; raise PromptError when a node fails."""
    sketch = Sketch()
    row = claim(sketch)
    outputs = server.run(sketch.prompt)

    cells = [[picture_of(server, outputs, node) if node else None for node in nodes] for _, nodes in row.lines]
    return row, drawn(row, cells)


def drawn(row: Row, lines: Sequence[Sequence[Image.Image | None]]) -> Image.Image:
    """The pictures of a row under its headings."""
    left = SIDE if any(name for name, _ in row.lines) else 0
    width = left + len(row.columns) * (CELL + GAP) - GAP
    sheet = Image.new("RGB", (width, HEADING + len(lines) * (CELL + GAP) - GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for column, text in enumerate(row.columns):
        draw.text((left + column * (CELL + GAP), 2), text, INK, font)
    for number, ((name, _), pictures) in enumerate(zip(row.lines, lines, strict=True)):
        top = HEADING + number * (CELL + GAP)
        draw.text((0, top + CELL // 2 - 10), name, INK, font)
        for column, picture in enumerate(pictures):
            if picture:
                sheet.paste(picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (left + column * (CELL + GAP), top))
    return sheet


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture of rows."""
    picture.save(path, quality=90, optimize=True)
