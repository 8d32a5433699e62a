"""Train the decoder of StyleDelta's own AdaIN network: adain_decoder.py WORK_DIR FILE [--steps N]

Its encoder is the bundled style predictor, which stays as it is. What it learns from are photos of scikit-image and sheets of
the drawings that the demo's models learn, each of them as picture and as style, and in other colours. A run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from drawings import SIZE, drawings
from loop import train
from PIL import Image
from torch import Tensor, nn

from delta.feature_networks.decoder import Decoder
from delta.feature_networks.features import FeatureNetwork
from delta.feature_networks.own_networks import ENCODERS, PREDICTOR, save_adain_network
from delta.feature_networks.transforms import mean_and_deviation
from delta.statistics.adain import match

LAYER = "block.3.expand"
# Channels after each convolution, and those before which each position becomes two by two: 0.8 MB in float16.
WIDTHS, DOUBLED = (128, 96, 64, 64, 32, 16, 3), frozenset((2, 4))
STEPS, RATE, BATCH, SIDE = 2_000, 1e-3, 4, 128
# How much the style counts, and that a picture with its own statistics is that picture, beside the features of the content.
STYLE_WEIGHT, SAME_WEIGHT = 3.0, 10.0
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")
GREY = ("camera", "moon", "brick", "grass", "gravel")
# Sides of the parts of a photo that are shown, in pixels of it, and of a drawing on a sheet.
PARTS, TILES = (100, 400), (40, 128)


def new_decoder(channels: int) -> Decoder:
    """A decoder with random weights that can be trained, the same each time."""
    generator, convs = torch.Generator().manual_seed(0), []
    for width in WIDTHS:
        weight = torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
        convs.append((nn.Parameter(weight), nn.Parameter(torch.full((width,), 0.5 if width == 3 else 0.0))))
        channels = width
    return Decoder(tuple(convs), DOUBLED)


class Pictures:
    """photos: [H, W, 3], sheets: [n, 64, 64, 3] for each set of drawings; both uint8."""

    def __init__(self, photos: Sequence[np.ndarray], sheets: Sequence[np.ndarray]):
        self.photos, self.sheets = photos, sheets

    def batch(self, generator: torch.Generator) -> Tensor:
        """[BATCH, 3, SIDE, SIDE] in 0..1: half of them photos, all in other colours and some mirrored."""
        numbers = np.random.default_rng(int(torch.randint(1 << 31, (), generator=generator)))
        chosen = [self._part(numbers) if index % 2 else self._sheet(numbers) for index in range(BATCH)]
        return torch.stack([recoloured(picture, numbers) for picture in chosen])

    def _part(self, numbers: np.random.Generator) -> np.ndarray:
        photo = self.photos[numbers.integers(len(self.photos))]
        side = min(int(numbers.integers(*PARTS)), *photo.shape[:2])
        top, left = (int(numbers.integers(length - side + 1)) for length in photo.shape[:2])
        return resized(photo[top : top + side, left : left + side], SIDE)

    def _sheet(self, numbers: np.random.Generator) -> np.ndarray:
        drawn, tile = self.sheets[numbers.integers(len(self.sheets))], int(numbers.integers(*TILES))
        across = -(-SIDE // tile)
        rows = [
            np.concatenate([resized(drawn[numbers.integers(len(drawn))], tile) for _ in range(across)], 1)
            for _ in range(across)
        ]
        return np.concatenate(rows)[:SIDE, :SIDE]


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def recoloured(picture: np.ndarray, numbers: np.random.Generator) -> Tensor:
    """A picture [H, W, 3] as [3, H, W] in 0..1, with its colours exchanged, its light bent, and perhaps mirrored."""
    colours = picture[..., numbers.permutation(3)] if numbers.random() < 0.5 else picture
    colours = colours[:, ::-1] if numbers.random() < 0.5 else colours
    plane = torch.tensor(np.ascontiguousarray(colours)).movedim(-1, 0).float() / 255
    return plane ** float(np.exp(numbers.normal(0, 0.25)))


def collected(folder: Path) -> Pictures:
    """All pictures; raises RuntimeError when npm cannot fetch the drawings."""
    from skimage import data

    found = [getattr(data, name)() for name in (*PHOTOS, *GREY)]
    photos = [photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, 2) for photo in found]
    kept = drawings(folder)
    assert kept.pictures.shape[2:] == (SIZE, SIZE, 3)
    return Pictures(photos, [*kept.pictures, kept.more])


def losses(encoder: FeatureNetwork, decoder: Decoder, content: Tensor, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(content, style, sameness): the losses of Huang and Belongie 2017 (arXiv 1703.06868), by squared differences of
    features and of their means and deviations, and the mean difference of a picture to itself without any style."""
    layers = encoder.style_layers
    with torch.no_grad():
        features, wanted = encoder(content, [LAYER])[LAYER], encoder(style, layers)
        target = match(features, *mean_and_deviation(features), *mean_and_deviation(wanted[LAYER]))
    found = encoder(decoder(target), layers)
    apart = 0
    for layer in layers:
        pairs = zip(mean_and_deviation(found[layer]), mean_and_deviation(wanted[layer]))
        apart = apart + sum(F.mse_loss(have, want) for have, want in pairs)
    return F.mse_loss(found[LAYER], target), apart, F.l1_loss(decoder(features), content)


def learn(pictures: Pictures, folder: Path, path: Path, steps: int) -> None:
    """Train a decoder and write the network. Raises FileExistsError rather than replace a file."""
    if path.exists():
        raise FileExistsError(f"{path} exists already. Move it away, or choose another name.")
    encoder = ENCODERS[PREDICTOR]()
    decoder = new_decoder(next(layer.channels for layer in encoder.layers if layer.name == LAYER))

    def loss_of(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch = pictures.batch(generator), pictures.batch(generator)
        content, style, same = losses(encoder, decoder, *batch)
        total = content + STYLE_WEIGHT * style + SAME_WEIGHT * same
        return total, total.detach()

    train("adain", [part for conv in decoder.convs for part in conv], loss_of, steps, RATE, folder, decay=0.0)
    convs = tuple((weight.detach(), bias.detach()) for weight, bias in decoder.convs)
    save_adain_network(Decoder(convs, decoder.doubled), PREDICTOR, LAYER, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the decoder of StyleDelta's own AdaIN network.")
    parser.add_argument("folder", type=Path, help="where the work is kept")
    parser.add_argument("file", type=Path, help="the safetensors file to write")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"how many steps, {STEPS} if not given")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    learn(collected(options.folder), options.folder, options.file, options.steps)
    print(f"{options.file.stat().st_size / 1e6:.1f} MB: {options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
