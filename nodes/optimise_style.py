"""Optimise Style: a painting without a network of its own, by the method of Gatys et al. 2016 (arXiv 1508.06576)."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io

from ..delta.feature_networks.bundled import bundled_features
from ..delta.feature_networks.features import FeatureNetwork
from ..delta.feature_networks.vgg import read_vgg
from ..delta.perceptual.batch import StylePicture, painted_batch
from ..delta.perceptual.descent import METHODS
from ..delta.perceptual.optimise import LAYERS, STARTS, Settings
from ..delta.perceptual.report import describe, loss_charts
from . import menu
from .host import folders, optimisation, run
from .inputs import keep_colours_input, seed_input
from .report import tell

BUNDLED = "bundled style predictor"
STYLES = 3


def _vgg_files() -> list[str]:
    return [
        name for name in folders.file_names(folders.STYLE_NETWORKS) if Path(name).suffix in (".pth", ".safetensors")
    ]


def _main_inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "image",
            tooltip="The picture or pictures to paint, of 32 pixels or more on each side. A batch is painted one by one.",
        ),
        io.Image.Input(
            "style_image",
            tooltip="The picture whose style is taken, of any size from 32 pixels. A batch gives the mean of its styles.",
        ),
        io.Float.Input(
            "style_strength",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.05,
            tooltip="How much the style counts, 0 to 100. 1 suits most pictures; 3 and more paint over details.",
        ),
        io.Float.Input(
            "content_strength",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.05,
            tooltip="How much the picture counts, 0 to 100. 3 keeps faces, 0.3 lets the strokes decide, 0 keeps nothing.",
        ),
        io.Int.Input(
            "paint_size",
            default=512,
            min=64,
            max=4096,
            step=8,
            tooltip="The longer side at which is painted, in pixels, 64 to 4096. Time and memory grow with its square; the report "
            "tells both. The painting is brought back to the picture's size.",
        ),
        io.Int.Input(
            "steps",
            default=60,
            min=1,
            max=10000,
            tooltip="Steps at each of up to three sizes, 1 to 10000. 60 are enough for most styles.",
        ),
        io.Float.Input(
            "stroke_size",
            default=1.0,
            min=0.1,
            max=4.0,
            step=0.05,
            tooltip="How large the style's strokes are, 0.1 to 4. At 1 the style image is looked at in the size of the painting.",
        ),
        io.Combo.Input(
            "look_for",
            options=list(LAYERS),
            default=LAYERS[0],
            tooltip="What is taken from the style: its fine strokes, its larger shapes, or both. Colours always are.",
        ),
        io.Combo.Input(
            "start",
            options=list(STARTS),
            default=STARTS[0],
            tooltip="What the painting begins with. picture before: for the frames of a video, the painting of the frame before, "
            "which keeps strokes where they are.",
        ),
        io.Combo.Input(
            "method",
            options=list(METHODS),
            default=METHODS[0],
            tooltip="How the painting is found. L-BFGS gets as far in 40 steps as Adam in 100; Adam is steadier at high strengths.",
        ),
        seed_input(
            "Chooses the noise where that is the start, 0 to 4294967295. The same seed gives the same painting."
        ),
        io.Combo.Input(
            "features",
            options=[BUNDLED, *_vgg_files()],
            default=BUNDLED,
            tooltip="The network that tells styles apart: the bundled one, or a VGG-16 or VGG-19 of your own in models/style_networks "
            "(torchvision's, or vgg_normalised.pth of pytorch-AdaIN).",
        ),
    ]


def _weight_input(name: str, which: str) -> io.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=0.0,
        max=10.0,
        step=0.05,
        optional=True,
        tooltip=f"The share of the {which} style in a mix, from 0 to 10. 0 leaves it out.",
    )


def _mask_input(name: str, which: str) -> io.Input:
    return io.Mask.Input(
        name,
        optional=True,
        tooltip=f"White is where the {which} style holds. Styles without a mask share the rest; where no style holds, the picture "
        "stays.",
    )


def _more_inputs() -> list[io.Input]:
    more = [keep_colours_input(), _weight_input("weight", "first"), _mask_input("mask", "first")]
    for number, which in ((2, "second"), (3, "third")):
        more += [
            io.Image.Input(
                f"style_image_{number}",
                optional=True,
                tooltip=f"A {which} style, mixed with the others or for its mask.",
            ),
            _weight_input(f"weight_{number}", which),
            _mask_input(f"mask_{number}", which),
        ]
    start = io.Image.Input(
        "start_image",
        optional=True,
        tooltip="What the painting begins with, where start says so. One, or one for each picture.",
    )
    return [*more, start]


class OptimiseStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaOptimiseStyle",
            display_name="Optimise Style",
            category=menu.STYLE_NETWORK,
            description="Paints a picture in the style of another, stroke by stroke, without a network of its own: the slowest "
            "way and the truest to the strokes (Gatys 2016). Cancel keeps the best so far.",
            inputs=[*_main_inputs(), *_more_inputs()],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The painting, in the size of the picture."),
                io.Image.Output(display_name="plot", tooltip="The losses of the painting, step by step."),
                io.String.Output(
                    display_name="report", tooltip="How near the style is, the time, the memory, and what was left out."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, features: str = BUNDLED, **_: object) -> str:
        return "" if features == BUNDLED else folders.file_stamp(folders.STYLE_NETWORKS, features)

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        style_image: torch.Tensor,
        style_strength: float,
        content_strength: float,
        paint_size: int,
        steps: int,
        stroke_size: float,
        look_for: str,
        start: str,
        method: str,
        seed: int,
        features: str,
        keep_colours: float = 0.0,
        weight: float = 1.0,
        mask: torch.Tensor | None = None,
        start_image: torch.Tensor | None = None,
        **more: torch.Tensor | float | None,
    ) -> io.NodeOutput:
        styles = [StylePicture(style_image.cpu(), weight, _on_cpu(mask))]
        for number in range(2, STYLES + 1):
            if more.get(f"style_image_{number}") is not None:
                picture, part = more[f"style_image_{number}"], more.get(f"mask_{number}")
                styles.append(StylePicture(picture.cpu(), more.get(f"weight_{number}", 1.0), _on_cpu(part)))
        settings = Settings(
            steps, paint_size, style_strength, content_strength, stroke_size, look_for, method, start, seed
        )
        device = run.compute_device(0)
        network = _features(features).to(device)
        batch = painted_batch(network, image.cpu(), styles, settings, keep_colours, _on_cpu(start_image), device)
        progress = run.progress(cls.hidden and cls.hidden.unique_id)
        paintings, needed = optimisation.paint(batch, progress)
        told = tell(describe(batch, needed), loss_charts(batch))
        return io.NodeOutput(run.to_output(paintings), told.plot, told.text, ui=told.ui)


def _features(name: str) -> FeatureNetwork:
    if name == BUNDLED:
        return bundled_features()
    return read_vgg(folders.file_path(folders.STYLE_NETWORKS, name))


def _on_cpu(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.cpu()


NODES = [OptimiseStyle]
