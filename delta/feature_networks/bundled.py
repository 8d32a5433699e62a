"""The features of the predictor of an any-picture network, for gradients."""

from __future__ import annotations

import torch

from ..style_network.files import PICTURE_NETWORK, load_bundled
from ..style_network.network import StyleNetwork
from ..style_network.predictor import StylePredictor
from .mobilenet import PredictorFeatures


def predictor_features(network: StyleNetwork, device: torch.device | str = "cpu") -> PredictorFeatures:
    """The features of a network's style predictor on a device, as copies that gradients pass whatever mode the network was
    loaded in. Raises ValueError for a network without a predictor."""
    if network.predictor is None:
        raise ValueError(
            f"{network.name} does not take its style from a picture, so it has no features that tell styles apart. "
            "Choose the any-picture network in its Load Style Network."
        )
    with torch.inference_mode(False):
        convs = network.predictor.convs
        return PredictorFeatures(
            StylePredictor({name: tuple(part.to(device, copy=True) for part in conv) for name, conv in convs.items()})
        )


def bundled_features(device: torch.device | str = "cpu") -> PredictorFeatures:
    """Those of the bundled any-picture network. Raises ModuleNotFoundError with the remedy when its package is missing."""
    return predictor_features(load_bundled(PICTURE_NETWORK), device)
