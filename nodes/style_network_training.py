"""Training a style network of one's own on paintings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..delta.feature_networks.bundled import bundled_features
from ..delta.perceptual.network_report import describe, loss_charts
from ..delta.perceptual.network_training import NetworkTraining, Settings, style_names
from ..delta.perceptual.trained_parts import EVERYTHING, PARTS
from ..delta.style_network.network import StyleNetwork
from . import menu
from .host import network_training, run
from .inputs import NetworkType, seed_input
from .report import tell

# Room for the feature maps of a few squares and their gradients.
WORKING_BYTES = 1_000_000_000


def _first_inputs() -> list[io.Input]:
    return [
        NetworkType.Input(
            "style_network",
            tooltip="The network to start from, one with a table of styles: the 26-style network, or a result of this node to "
            "resume from.",
        ),
        io.Image.Input(
            "painting",
            tooltip="The picture whose style is learned, of 64 pixels or more on each side. Each picture of a batch becomes a "
            "style of its own.",
        ),
        io.Image.Input(
            "photos",
            tooltip="Photos to practise on, of 128 pixels or more on each side. The more different photos the better; one works. "
            "A batch, or a list as Load Image Dataset from Folder gives it. The last quarter of the longer side is only used to measure "
            "the loss.",
        ),
        io.Combo.Input(
            "train",
            options=list(PARTS),
            default=EVERYTHING,
            tooltip="What is trained. Norms: gamma and beta of every layer for each style, 990 numbers in the 26-style network, as "
            "Fit Style. The last layers draw the strokes. Everything: all convolutions too.",
        ),
        io.Int.Input(
            "steps",
            default=600,
            min=1,
            max=100000,
            tooltip="Steps of training, 1 to 100000. 600 take 2 to 4 minutes on a processor with 2 cores. Several paintings share "
            "the steps.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.3,
            min=0.001,
            max=10.0,
            step=0.001,
            tooltip="How far numbers move in a step at first, 0.001 to 10, where 1 is about the distance between two styles, and for "
            "weights 3 % of their size.",
        ),
    ]


def _loss_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "style",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.05,
            tooltip="How much the strokes and colours of the painting count, 0 to 100.",
        ),
        io.Float.Input(
            "content",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.05,
            tooltip="How much counts that the photo can still be made out, 0 to 100.",
        ),
        io.Int.Input(
            "painting_size",
            default=512,
            min=64,
            max=4096,
            step=8,
            tooltip="The longer side in pixels at which paintings are looked at, 64 to 4096. Larger ones give larger strokes.",
        ),
        seed_input("Chooses the parts of the photos, 0 to 4294967295. The same seed gives the same network."),
        io.String.Input(
            "names",
            default="",
            multiline=True,
            tooltip="The names of the styles, one a line, in the order of the paintings. Empty lines become style 1, style 2 and "
            "so on.",
        ),
    ]


def _more_paintings() -> list[io.Input]:
    return [
        io.Image.Input(
            f"painting_{number}",
            optional=True,
            tooltip="Another painting, of any size of 64 pixels or more on each side, for another style of the same network.",
        )
        for number in (2, 3, 4)
    ]


class TrainStyleNetwork(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaTrainStyleNetwork",
            display_name="Train Style Network",
            category=menu.STYLE_NETWORK,
            description="Trains a style network on one painting or several and on photos, in minutes: it starts from a network that "
            "can paint. Cancel keeps the best so far.",
            inputs=[*_first_inputs(), *_loss_inputs(), *_more_paintings()],
            outputs=[
                NetworkType.Output(
                    display_name="style_network",
                    tooltip="The network with the new styles, for Save Style Network, Pick Style and Style Sheet.",
                ),
                io.Image.Output(display_name="plot", tooltip="The loss by step, with the step that was kept."),
                io.String.Output(
                    display_name="report",
                    tooltip="What was trained, the loss before and after, the time and the memory.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            # Pictures of many sizes come as a list, which is one training and not one for each.
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        style_network: list[StyleNetwork],
        painting: list[torch.Tensor],
        photos: list[torch.Tensor],
        train: list[str],
        steps: list[int],
        learning_rate: list[float],
        style: list[float],
        content: list[float],
        painting_size: list[int],
        seed: list[int],
        names: list[str],
        painting_2: Sequence[torch.Tensor] = (),
        painting_3: Sequence[torch.Tensor] = (),
        painting_4: Sequence[torch.Tensor] = (),
    ) -> io.NodeOutput:
        given = (*painting, *painting_2, *painting_3, *painting_4)
        paintings = [picture for batch in given for picture in batch.cpu().split(1)]
        practised = [batch.cpu() for batch in photos]
        numbers = (values[0] for values in (steps, train, learning_rate, style, content, painting_size, seed))
        device = run.compute_device(WORKING_BYTES)
        training = NetworkTraining(
            style_network[0],
            bundled_features(device),
            paintings,
            practised,
            style_names(names[0], len(paintings)),
            Settings(*numbers),
            device,
        )
        progress = run.progress(cls.hidden and cls.hidden.unique_id)
        network, memory = network_training.train(training, practised[0][:1], progress)
        told = tell(f"{describe(training)}\n{memory.line}", loss_charts(training))
        return io.NodeOutput(network, told.plot, told.text, ui=told.ui)


NODES = [TrainStyleNetwork]
