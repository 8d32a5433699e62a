"""Learning a style of one's own for a CIN style network."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..delta.feature_networks.bundled import predictor_features
from ..delta.perceptual.network_report import describe, loss_charts
from ..delta.perceptual.network_training import NetworkTraining, Settings
from ..delta.perceptual.trained_parts import NORMS
from ..delta.style_network.fit import check_kinds, fit_style, picture_teacher
from ..delta.style_network.network import StyleNetwork
from ..delta.style_network.params import StyleParams
from . import menu
from .host import network_training, run
from .inputs import NetworkType, StyleType, seed_input
from .report import tell

# Room for the feature maps of a few small squares and their gradients.
WORKING_BYTES = 500_000_000
PAINTED, FEATURES = LEARN_FROM = ("teacher's painting", "features of the painting")
NAME = "fitted style"


class FitStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaFitStyle",
            display_name="Fit Style",
            category=menu.STYLE_NETWORK,
            description="Learns one more style for a network with a style table from one painting: its gamma and beta, 990 "
            "numbers for the 26-style network. The any-picture network shows how the painting's style looks on photos.",
            inputs=[
                NetworkType.Input(
                    "style_network", tooltip="The network that gets the style: one with a table of 2 styles or more."
                ),
                NetworkType.Input("teacher", tooltip="The network that takes its style from a picture (Ghiasi 2017)."),
                io.Image.Input(
                    "painting",
                    tooltip="The picture whose style is learned, of 64 pixels or more on each side. A batch gives the mean of "
                    "its styles.",
                ),
                io.Image.Input(
                    "photos",
                    tooltip="Photos to practise on, of 128 pixels or more on each side. The more different photos the better; "
                    "one works. The last quarter of the longer side is only used to measure the error.",
                ),
                io.Int.Input(
                    "steps",
                    default=1000,
                    min=1,
                    max=100000,
                    tooltip="Steps of learning, 1 to 100000. 1000 take 2 to 3 minutes on a processor with 2 cores; 250 come close.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.3,
                    min=0.001,
                    max=10.0,
                    step=0.001,
                    tooltip="How far a number moves in a step at first, 0.001 to 10, where 1 is its spread over the network's "
                    "styles. 0.3 suits the 26-style network.",
                ),
                seed_input("Chooses the parts of the photos, 0 to 4294967295. The same seed gives the same style."),
                io.Combo.Input(
                    "learn_from",
                    options=list(LEARN_FROM),
                    default=PAINTED,
                    optional=True,
                    tooltip="What shows how to paint: photos that the teacher has painted, or the strokes and colours of the "
                    "painting itself, as the features of the teacher's style predictor tell them.",
                ),
            ],
            outputs=[
                StyleType.Output(display_name="style", tooltip="The style, for Stylize and Save Style."),
                io.Image.Output(
                    display_name="plot", tooltip="The error on the held-out parts of the photos, step by step."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="The error of the nearest existing style and of the new one, the share recovered, and the time.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        style_network: StyleNetwork,
        teacher: StyleNetwork,
        painting: torch.Tensor,
        photos: torch.Tensor,
        steps: int,
        learning_rate: float,
        seed: int,
        learn_from: str = PAINTED,
    ) -> io.NodeOutput:
        device = run.compute_device(WORKING_BYTES)
        progress = run.progress(cls.hidden and cls.hidden.unique_id)
        if learn_from == FEATURES:
            check_kinds(style_network, teacher)
            settings = Settings(steps, NORMS, learning_rate, seed=seed)
            training = NetworkTraining(
                style_network,
                predictor_features(teacher, device),
                [painting.cpu()],
                [photos.cpu()],
                [NAME],
                settings,
                device,
            )
            return _from_features(training, photos[:1].cpu(), progress)
        paint = picture_teacher(style_network, teacher, painting.cpu(), device)
        fit = fit_style(style_network, paint, photos.cpu(), steps, learning_rate, seed, device, progress)
        told = tell(fit.report(style_network), fit.charts())
        return io.NodeOutput(fit.style(style_network), told.plot, told.text, ui=told.ui)


def _from_features(training: NetworkTraining, photo: torch.Tensor, progress: run.Progress) -> io.NodeOutput:
    """Norms alone are trained, so the style is one of the network that training began with."""
    learned, memory = network_training.train(training, photo, progress)
    told = tell(f"{describe(training)}\n{memory.line}", loss_charts(training))
    return io.NodeOutput(StyleParams(learned.fingerprint, (learned.style(0),)), told.plot, told.text, ui=told.ui)


NODES = [FitStyle]
