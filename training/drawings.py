"""The drawings that are learnt: the same emoji by three makers, and three looks over those of the first.

The packages come from npm as they are published, one JSON file of SVG bodies each; nothing of them is run.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from looks import LOOKS
from PIL import Image

HERE = Path(__file__).resolve().parent
SIZE = 64
# A drawing fills this part of its square, and is drawn this large before it is made small.
FILLED, DRAWN = 15 / 16, 256
# An edge of a drawing is where it covers more than this, of 255.
COVERED = 40


@dataclass(frozen=True)
class Maker:
    """A set of emoji. package, version: on npm. licence, author: what the model card says of it."""

    package: str
    version: str
    licence: str
    author: str

    @property
    def archive(self) -> str:
        """The file that `npm pack` writes."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


MAKERS = {
    "twemoji": Maker("@iconify-json/twemoji", "1.2.5", "CC-BY 4.0", "Twitter, Inc. and other contributors"),
    "noto": Maker("@iconify-json/noto", "1.2.9", "Apache 2.0", "Google LLC"),
    "fluent": Maker("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation"),
}
# The base model learns this maker, and the looks are drawn over it.
BASE_MAKER = "twemoji"
STYLES = (*MAKERS, *LOOKS)
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")


@dataclass(frozen=True)
class Drawings:
    """pictures: uint8 [style, subject, 64, 64, 3] in the order of STYLES. subjects: their names, as captions have them.

    more: uint8 [n, 64, 64, 3], other drawings of the makers, which the VAE alone learns.
    """

    pictures: np.ndarray
    subjects: list[str]
    more: np.ndarray

    def of(self, style: str) -> np.ndarray:
        """The pictures of one style, [subject, 64, 64, 3]."""
        return self.pictures[STYLES.index(style)]


def drawings(folder: Path) -> Drawings:
    """All drawings, from the cache in the folder or rendered anew; raise RuntimeError when npm cannot fetch them."""
    cache = folder / f"drawings{SIZE}.npz"
    if not cache.is_file():
        sets = {name: icons(maker, folder) for name, maker in MAKERS.items()}
        subjects = icon_names()
        missing = [name for name in subjects if any(name not in found["icons"] for found in sets.values())]
        if missing:
            raise RuntimeError(f"Not every package has {', '.join(missing)}: take them out of training/subjects.txt.")
        _render(sets, subjects, cache)
    with np.load(cache) as kept:
        return Drawings(kept["pictures"], list(map(caption, kept["subjects"])), kept["more"])


def icon_names() -> list[str]:
    """The subjects, as the packages name their icons."""
    return (HERE / "subjects.txt").read_text(encoding="utf-8").split()


def caption(icon_name: str) -> str:
    """What a picture of an icon is asked for by."""
    return icon_name.replace("-", " ")


def icons(maker: Maker, folder: Path) -> dict:
    """The content of a maker's icons.json, fetched with npm unless the folder has the package."""
    archive = folder / maker.archive
    if not archive.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError("npm is needed to fetch the drawings: install Node.js.")
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", "--silent", "--pack-destination", str(folder), f"{maker.package}@{maker.version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"npm could not fetch {maker.package}: check the network.\n{done.stderr.strip()}")
    with tarfile.open(archive) as package:
        return json.load(package.extractfile("package/icons.json"))


def _render(sets: dict[str, dict], subjects: list[str], cache: Path) -> None:
    """Draw the subjects in every style and what else all makers have, and write them to the cache."""
    pictures = [[shrink(on_white(draw(found, name))) for name in subjects] for found in sets.values()]
    plain = [draw(sets[BASE_MAKER], name) for name in subjects]
    pictures += [[shrink(look(drawing)) for drawing in plain] for look in LOOKS.values()]
    others = sorted(set.intersection(*(set(found["icons"]) for found in sets.values())) - set(subjects))
    more = [shrink(on_white(draw(found, name))) for found in sets.values() for name in others[::3]]
    part = cache.with_suffix(".part.npz")
    np.savez_compressed(part, pictures=np.array(pictures), subjects=subjects, more=np.array(more))
    part.replace(cache)


def draw(found: dict, name: str) -> np.ndarray:
    """One icon as float32 [256, 256, 4] in 0..1, centred, its longer side at FILLED of the square."""
    # Only the one who trains has it: the pack does without.
    import resvg_py

    icon = found["icons"][name]
    width, height = (icon.get(side, found.get(side, 16)) for side in ("width", "height"))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
        f'width="{DRAWN}" height="{DRAWN}">{icon["body"]}</svg>'
    )
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda alpha: 255 * (alpha > COVERED)).getbbox())
    scale = DRAWN * FILLED / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (DRAWN, DRAWN))
    square.paste(picture, ((DRAWN - width) // 2, (DRAWN - height) // 2))
    return np.asarray(square, np.float32) / 255


def on_white(drawing: np.ndarray) -> np.ndarray:
    """A drawing [H, W, 4] over white paper, [H, W, 3]."""
    colour, alpha = drawing[..., :3], drawing[..., 3:]
    return colour * alpha + 1 - alpha


def shrink(picture: np.ndarray) -> np.ndarray:
    """A picture [256, 256, 3] in 0..1 as uint8 [64, 64, 3], each pixel the mean of 4x4."""
    side = DRAWN // SIZE
    means = picture.reshape(SIZE, side, SIZE, side, 3).mean((1, 3))
    return np.round(255 * means.clip(0, 1)).astype(np.uint8)


def photo_crops(count: int = 240) -> np.ndarray:
    """Squares out of scikit-image's own photos, uint8 [count, 64, 64, 3], for a VAE that is shown photos too."""
    from skimage import data

    numbers, crops = np.random.default_rng(1906), []
    photos = [Image.fromarray(getattr(data, name)()) for name in PHOTOS]
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(min(photo.size) * numbers.uniform(0.3, 1))
        left, top = (int(numbers.integers(0, length - side + 1)) for length in photo.size)
        crops.append(np.asarray(photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE))))
    return np.array(crops)
