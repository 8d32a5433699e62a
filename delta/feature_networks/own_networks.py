"""Our own file of an AdaIN network (safetensors, `format: styledelta.adain_network`).

It holds the decoder alone: `decoder.<n>.weight` [out, in, 3, 3] and `decoder.<n>.bias`, run in that order. Metadata:
`encoder` (its name in `ENCODERS`), `layer` (of the encoder, whose features the decoder reads), `doubled` (numbers with
commas: the convolutions before which each position becomes two by two).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..files.tensor_files import read_tensors, write_tensors
from .bundled import bundled_features
from .decoder import Decoder, check_convs
from .feature_transfer import FeatureTransfer, Level, check_levels
from .features import FeatureNetwork
from .transfer_style import fingerprint_of
from .transforms import ADAIN, WCT

FORMAT = "styledelta.adain_network"
PREDICTOR = "bundled style predictor"


ENCODERS: dict[str, Callable[[], FeatureNetwork]] = {PREDICTOR: bundled_features}
# The one that comes with the pack, and the names under which it paints.
BUNDLED_FILE = Path(__file__).with_name("adain.safetensors")
BUNDLED = {"AdaIN (StyleDelta)": ADAIN, "WCT (StyleDelta)": WCT}


def load_bundled_network(name: str) -> FeatureTransfer:
    """The network that comes with the pack, under one of the names of `BUNDLED`. Its decoder was trained for AdaIN; whole
    covariances carry more of a style through it."""
    network = adain_network_of(BUNDLED_FILE, *read_tensors(BUNDLED_FILE))
    layer = network.levels[0].layer
    return replace(
        network, name=name, transform=BUNDLED[name], fingerprint=fingerprint_of(f"{name} {PREDICTOR} {layer}", ())
    )


def save_adain_network(decoder: Decoder, encoder: str, layer: str, path: str | Path) -> None:
    """Write an AdaIN network in float16. Raises ValueError for NaN, FileExistsError rather than replace a file."""
    tensors = {}
    for number, (weight, bias) in enumerate(decoder.convs):
        tensors[f"decoder.{number}.weight"], tensors[f"decoder.{number}.bias"] = weight.half(), bias.half()
    if unfit := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(f"The tensor {unfit[0]} holds NaN or numbers too large for float16. Nothing was written.")
    doubled = ",".join(str(number) for number in sorted(decoder.doubled))
    write_tensors(path, tensors, {"format": FORMAT, "encoder": encoder, "layer": layer, "doubled": doubled})


def adain_network_of(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> FeatureTransfer:
    """The network of such a file. Raises ValueError that says what is missing, unknown or does not fit together."""
    names = [f"decoder.{number}" for number in range(len(tensors) // 2)]
    wanted = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    encoder, layer, doubled = (metadata.get(key, "") for key in ("encoder", "layer", "doubled"))
    if not names or tensors.keys() != wanted or not layer or not re.fullmatch(r"(\d+(,\d+)*)?", doubled):
        raise ValueError(f"{path.name} is not a whole AdaIN network of StyleDelta. Use another copy of the file.")
    if encoder not in ENCODERS:
        raise ValueError(
            f"{path.name} is for the encoder {encoder or 'without a name'}, and only {', '.join(ENCODERS)} is known here. "
            "Update StyleDelta."
        )
    convs = tuple((tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()) for name in names)
    check_convs(path, names, convs)
    decoder = Decoder(convs, frozenset(int(number) for number in doubled.split(",") if number))
    features, levels = ENCODERS[encoder](), (Level(layer, decoder),)
    check_levels(path, features, levels)
    return FeatureTransfer(path.stem, features, levels, ADAIN, fingerprint_of(f"AdaIN {encoder} {layer}", ()))
