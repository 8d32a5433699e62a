"""Train Style Network: how near networks of one painting, trained for three minutes, come to pictures whose pixels were optimised.

    train_style_network.py [seconds] [paintings]

Every learner has the same practice photos and the same time. Distances to the optimised pictures are measured on whole photos
that nothing was learned from: the root mean square of the differences of pixels in 0..1, and the distance of moments of features,
which is what style is told by. Pixels favour pale pictures: one loss allows many ways to share out the colours of a painting. The
existing style is, for each distance, the one that is nearest on these very photos.
Fit Style by the features of the painting is the row of norms.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from fit_style import DEMO_PAINTING, picture  # noqa: E402
from PIL import Image  # noqa: E402

from delta.feature_networks.bundled import predictor_features  # noqa: E402
from delta.feature_networks.features import FeatureNetwork  # noqa: E402
from delta.perceptual.loss import Region, loss_beside  # noqa: E402
from delta.perceptual.moments import COLOURS, distance, picture_moments, scale_of  # noqa: E402
from delta.perceptual.network_training import NetworkTraining, Settings  # noqa: E402
from delta.perceptual.optimise import Optimisation  # noqa: E402
from delta.perceptual.optimise import Settings as Optimising  # noqa: E402
from delta.perceptual.places import Reference, places_of  # noqa: E402
from delta.perceptual.trained_parts import PARTS  # noqa: E402
from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, load_bundled  # noqa: E402
from delta.style_network.finish import at_paint_size  # noqa: E402
from delta.style_network.fit import StyleFit, fit_style, picture_teacher  # noqa: E402
from delta.style_network.network import StyleNetwork, stylize  # noqa: E402
from delta.style_network.params import StyleParams  # noqa: E402

THREADS = 2
SECONDS, PROBE_STEPS = 180.0, 60
# Steps at each size of the optimised pictures, and the longer side of all pictures.
OPTIMISED_STEPS, SIDE = 60, 512
PRACTISED = ("rocket", "motorcycle_left", "coffee")
HELD_OUT = ("astronaut", "chelsea")
PAINTINGS = ("painting", "immunohistochemistry")
BYTES_PER_NUMBER = 4
PICTURES = ROOT / "demo_output"

Pictures = list[torch.Tensor]


class Learned(NamedTuple):
    """What paints planes [1, 3, height, width], how many bytes decide the style, and what else there is to say."""

    pictures: Pictures
    bytes: int
    note: str = ""


def photo(name: str) -> torch.Tensor:
    """A photo [1, 3, height, width] with sides that every network takes as they are."""
    planes = at_paint_size(picture(name).movedim(-1, 1), SIDE, 1)
    height, width = (length // 4 * 4 for length in planes.shape[-2:])
    return planes[..., :height, :width].contiguous()


def middle(planes: torch.Tensor) -> torch.Tensor:
    """The middle of a photo, [1, SIDE, SIDE, 3]: a batch holds pictures of one size."""
    side = min(planes.shape[-2:])
    top, left = ((length - side) // 2 for length in planes.shape[-2:])
    square = planes[..., top : top + side, left : left + side]
    return F.interpolate(square, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)


def paint(network: StyleNetwork, style: StyleParams, photos: Pictures) -> Pictures:
    return [stylize(network, planes.movedim(1, -1), style).movedim(-1, 1) for planes in photos]


def of_table(network: StyleNetwork, index: int) -> StyleParams:
    return StyleParams(network.fingerprint, (network.style(index),))


def pixels(painted: Pictures, targets: Pictures) -> float:
    """Root mean square over all photos together."""
    return float(torch.cat([(a - b).flatten() for a, b in zip(painted, targets)]).square().mean().sqrt())


def style_distance(features: FeatureNetwork) -> Callable[[Pictures, Pictures], float]:
    """The mean over photos and layers of the distance of moments, where 1 is their own size."""
    layers = [COLOURS, *features.style_layers]

    def measure(painted: Pictures, targets: Pictures) -> float:
        total = 0.0
        for planes, target in zip(painted, targets):
            found, wanted = (picture_moments(features, each, layers) for each in (planes, target))
            total += sum(float(distance(found[n], wanted[n], scale_of(n, found[n], wanted[n]))) for n in layers)
        return total / len(painted) / len(layers)

    return measure


def steps_in(seconds: float, run: Callable[[int, Callable[..., None]], object]) -> int:
    """How many steps take that long, with what comes before the first. run(steps, on_step) is a short run."""
    stamps = [time.perf_counter()]
    run(PROBE_STEPS, lambda *_: stamps.append(time.perf_counter()))
    steps = [after - before for before, after in pairwise(stamps[-PROBE_STEPS:])]
    # Every third is followed by a measurement, which a whole run has far fewer of.
    return max(1, round((seconds - (stamps[-PROBE_STEPS] - stamps[0])) / statistics.median(steps)))


def optimised(features: FeatureNetwork, painting: torch.Tensor, photos: Pictures) -> Pictures:
    settings = Optimising(steps=OPTIMISED_STEPS, side=SIDE)
    places, _ = places_of([Reference(painting.movedim(-1, 1))])
    runs = [Optimisation(features, places, settings) for _ in photos]
    return [run.run(planes, planes, lambda done, total: None) for run, planes in zip(runs, photos)]


def trained(
    network: StyleNetwork,
    features: FeatureNetwork,
    painting: torch.Tensor,
    practised: torch.Tensor,
    part: str,
    seconds: float,
) -> tuple[StyleNetwork, NetworkTraining]:
    def training(steps: int) -> NetworkTraining:
        return NetworkTraining(
            network, features, [painting], [practised], ["painting"], Settings(steps, part, painting_size=SIDE)
        )

    whole = training(steps_in(seconds, lambda steps, on_step: training(steps).run(on_step)))
    return whole.run(), whole


def fitted(
    network: StyleNetwork, teacher: StyleNetwork, painting: torch.Tensor, practised: torch.Tensor, seconds: float
) -> tuple[StyleParams, str]:
    paints = picture_teacher(network, teacher, painting)

    def fit(steps: int, on_step: Callable[..., None] = lambda *_: None) -> StyleFit:
        return fit_style(network, paints, practised, steps, 0.3, 0, on_step=on_step)

    found = fit(steps_in(seconds, fit))
    return found.style(network), f"{found.errors[-1][0]} steps, {found.seconds:.0f} s"


def losses(features: FeatureNetwork, painting: torch.Tensor, photos: Pictures, painted: Pictures) -> float:
    """The mean of the loss itself, which the optimised pictures are the lowest of."""
    layers = [COLOURS, *features.style_layers]
    target = Region(picture_moments(features, at_paint_size(painting.movedim(-1, 1), SIDE, 1), layers))
    return sum(float(loss_beside(features, a, [target], 1, 1)(b).total) for a, b in zip(photos, painted)) / len(photos)


def compare(name: str, seconds: float) -> None:
    table, any_picture = load_bundled(TABLE_NETWORK), load_bundled(PICTURE_NETWORK)
    features, painting = predictor_features(any_picture), picture(name)[..., :3]
    photos = [photo(each) for each in HELD_OUT]
    practised = torch.cat([middle(photo(each)) for each in PRACTISED])
    targets = optimised(features, painting, photos)
    in_style = style_distance(features)
    known = [paint(table, of_table(table, index), photos) for index in range(len(table.style_names))]
    of_style = BYTES_PER_NUMBER * 2 * table.channels
    nearest = min(known, key=lambda each: pixels(each, targets))
    nearest_style = min(known, key=lambda each: in_style(each, targets))
    own = StyleParams(any_picture.fingerprint, (any_picture.style_from_image(painting, name),))
    rows = {
        "optimised": Learned(targets, 0),
        "nearest of 26 by pixels": Learned(nearest, of_style),
        "nearest of 26 by style": Learned(nearest_style, of_style),
        "any-picture network": Learned(paint(any_picture, own, photos), BYTES_PER_NUMBER * own.style_vector().numel()),
    }
    style, note = fitted(table, any_picture, painting, practised, seconds)
    rows["Fit Style, teacher's painting"] = Learned(paint(table, style, photos), of_style, note)
    for part in PARTS:
        network, training = trained(table, features, painting, practised, part, seconds)
        note = f"{len(training.losses)} steps, {training.seconds:.0f} s, best after {training.best_step}"
        pictures = paint(network, of_table(network, 0), photos)
        rows[f"trained: {part}"] = Learned(pictures, BYTES_PER_NUMBER * training.numbers, note)
    print(f"{name}: pixels, way from the nearest | style, way | loss | bytes that decide the style | training")
    first = pixels(nearest, targets), in_style(nearest_style, targets)
    for label, learned in rows.items():
        reached = pixels(learned.pictures, targets), in_style(learned.pictures, targets)
        ways = [f"{value:.4f}, {1 - value / start:.0%}" for value, start in zip(reached, first)]
        loss = losses(features, painting, photos, learned.pictures)
        print(f"{label} | {' | '.join(ways)} | {loss:.3f} | {learned.bytes} | {learned.note}", flush=True)
    write_row(name, photos, [learned.pictures for learned in rows.values()])


def write_row(name: str, photos: Pictures, columns: list[Pictures]) -> None:
    """One line of pictures for each photo: the photo, then what each row of the table painted."""
    lines = [torch.cat(line, dim=-1)[0] for line in zip(photos, *columns)]
    PICTURES.mkdir(exist_ok=True)
    width = max(line.shape[-1] for line in lines)
    whole = torch.cat([F.pad(line, (0, width - line.shape[-1]), value=1.0) for line in lines], dim=1)
    path = PICTURES / f"train_style_network_{name}.png"
    Image.fromarray((255 * whole.movedim(0, -1)).round().byte().numpy()).save(path)
    print(f"pictures: {path.relative_to(ROOT)}", flush=True)


def main(arguments: list[str]) -> None:
    seconds = float(arguments[0]) if arguments else SECONDS
    names = arguments[1:] or [name for name in PAINTINGS if name != "painting" or DEMO_PAINTING.exists()]
    print(
        f"{seconds:.0f} s each, {THREADS} threads; learned from {', '.join(PRACTISED)}; held out {', '.join(HELD_OUT)}"
    )
    for name in names:
        compare(name, seconds)


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    main(sys.argv[1:])
