"""The features of a diffusion model at its norms, seen through hooks that live for one call of the model.

AdaIN (arXiv 1703.06868) is done where a model normalises. Sites are named as the diffusion model names its modules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from ...delta.blocks.paths import count_by_block, weight_path
from ...delta.blocks.rules import parse_block_weights
from ...delta.families.streams import stream_of
from ...delta.statistics.tokens import FIRST, LAST, TokenLayout, from_tokens, halved_grids, patched_grid, to_tokens

# Of wrappers; and in the options of a call: that a reference passes through the model.
KEY, CAPTURE = "styledelta_features", "styledelta_capture"
NORM_CLASS = re.compile(r"(?:Group|Layer|RMS)Norm")
# Sites where text and picture are one sequence, by class of the network: where the picture stands, and how their names begin.
JOINT_SITES = {
    "Flux": (LAST, ("single_blocks.",)),
    "Chroma": (LAST, ("single_blocks.",)),
    "NextDiT": (LAST, ("layers.", "noise_refiner.", "final_layer.")),
    # AuraFlow; Stable Diffusion 3 has the same class and no such layers.
    "MMDiT": (LAST, ("single_layers.",)),
    "OmniGen2Transformer2DModel": (LAST, ("layers.", "norm_out.")),
    "BooguTransformer2DModel": (LAST, ("double_stream_layers.", "single_stream_layers.", "norm_out.")),
    "SingleStreamDiT": (LAST, ("blocks.", "last.")),
    "Ideogram4Transformer2DModel": (LAST, ("layers.", "final_layer.")),
    "HiDreamImageTransformer2DModel": (FIRST, ("single_stream_blocks.",)),
    "ErnieImageModel": (FIRST, ("layers.", "final_norm.")),
}
# Networks whose sequences have the text before the picture or behind it, depending on the version of ComfyUI.
UNTOLD_SITES = {"HunyuanVideo": ("single_blocks.",)}
UNTOLD = "text and picture in an order that depends on the version of ComfyUI"
# The reason for sites that only a rule takes in.
OUTERMOST = "beside the noisy picture and the predicted noise, unless a block weight names them"
# Networks that are given other pictures before their own.
REFERENCES_BEFORE = ("NextDiT", "OmniGen2Transformer2DModel", "BooguTransformer2DModel")
# Networks with a patch size whose latents come in patches already.
PATCHED_LATENTS = ("Ideogram4Transformer2DModel", "LensTransformer2DModel")

Visit = Callable[[str, torch.Tensor, tuple[int, int, int]], "torch.Tensor | None"]


class ModelCall(NamedTuple):
    """The arguments of one call of a model, in the host's order, behind the executor that runs the rest of the wrappers."""

    executor: Any
    x: torch.Tensor
    sigmas: torch.Tensor
    concat: torch.Tensor | None
    context: torch.Tensor | None
    control: Any
    options: dict[str, Any]
    others: dict[str, Any]

    @property
    def model(self) -> Any:
        """The host's model that is called."""
        return self.executor.class_obj

    @property
    def sigma(self) -> float:
        """The noise level, which is the same for all rows."""
        return float(self.sigmas.max())

    @property
    def conditions(self) -> list[int]:
        """What each equal chunk of the rows is: 0 for the positive conditioning, others for what CFG holds against it."""
        return self.options.get("cond_or_uncond") or [0]

    @property
    def pictures(self) -> int:
        """The number of rows in a chunk."""
        return len(self.x) // len(self.conditions)

    def run(self) -> torch.Tensor:
        """The model's output, through the wrappers that are still to come."""
        return self.executor(self.x, self.sigmas, self.concat, self.context, self.control, self.options, **self.others)


def norm_modules(model: Any) -> dict[str, torch.nn.Module]:
    """All norms of a MODEL by their paths."""
    return {
        name: module
        for name, module in model.model.diffusion_model.named_modules()
        if NORM_CLASS.search(type(module).__name__) and next(module.children(), None) is None
    }


def norm_sites(model: Any) -> dict[str, torch.nn.Module]:
    """The norms through which a MODEL's picture passes. Raises ValueError where there is none."""
    network = model.model.diffusion_model
    sites = {name: module for name, module in norm_modules(model).items() if _left_alone(network, name) is None}
    if not sites:
        raise ValueError(
            f"{type(network).__name__} has no norm layer through which the picture passes, so there are no features to "
            "match. Use another model."
        )
    return sites


def describe_sites(model: Any, names: Iterable[str]) -> str:
    """Which norms of a MODEL are used, by block, and which are left alone and why."""
    network, used = model.model.diffusion_model, set(names)
    outermost, others = outermost_sites(model), {}
    for name in norm_modules(model):
        if name not in used:
            why = _left_alone(network, name) or (OUTERMOST if name in outermost else "block weights 0")
            others.setdefault(why, []).append(name)
    lines = [f"norms of the picture: {len(used)}: {count_by_block(map(site_path, sorted(used)))}"]
    if not any(part.isdigit() for name in used for part in name.split(".")):
        lines.append("none in the blocks of the model: their norms are not modules, or do not process the picture")
    return "\n".join(lines + [f"left alone, {why}: {len(left)}, such as {left[0]}" for why, left in others.items()])


def _left_alone(network: torch.nn.Module, name: str) -> str | None:
    """Why the features at a norm are not the picture's, None where they are."""
    return stream_of(name) or (UNTOLD if name.startswith(_of_class(network, UNTOLD_SITES, ("\0",))) else None)


def outermost_sites(model: Any) -> set[str]:
    """The norm sites of a U-Net's first level and the last norm of any network.

    What passes there is the noisy latent itself, and what is predicted of its noise: a reference's mean there is for the most
    part that of its noise, and colours come out opposite (docs/MEASURED.md). ControlNet's reference mode leaves that level
    alone too.
    """
    network, names = model.model.diffusion_model, list(norm_sites(model))
    if hasattr(network, "input_blocks"):
        first = next(iter(_resampling(network, "input_blocks", "Downsample")), 0)
        last = max(_resampling(network, "output_blocks", "Upsample"), default=-1)
        above = [f"input_blocks.{place}." for place in range(first)]
        above += [f"output_blocks.{place}." for place in range(last + 1, len(network.output_blocks))]
        return {name for name in names if name.startswith(("out.", *above))}
    in_blocks = [place for place, name in enumerate(names) if any(part.isdigit() for part in name.split("."))]
    return set(names[in_blocks[-1] + 1 :]) if in_blocks else set()


def _resampling(network: torch.nn.Module, half: str, kind: str) -> list[int]:
    """The numbers of the blocks of a U-Net's half that end in another resolution."""
    blocks = getattr(network, half)
    return [place for place, block in enumerate(blocks) if any(type(m).__name__ == kind for m in block.modules())]


def site_path(name: str) -> tuple[str, ...]:
    """The path of a norm site for block rules and reports."""
    return weight_path(f"diffusion_model.{name}.weight")


def site_factors(model: Any, rules: str) -> dict[str, float]:
    """The factor of each norm site by block rules, without those that are 0. Outermost sites need a rule.

    Raises ValueError for rules that cannot be read, that match no site, or that switch all of them off.
    """
    weights = parse_block_weights(rules)
    paths = {name: site_path(name) for name in norm_sites(model)}
    unused = weights.unused(list(paths.values()))
    if unused:
        raise ValueError(
            f"The block weights {', '.join(unused)} match no norm of this model. It has: {count_by_block(paths.values())}."
        )
    outermost = outermost_sites(model)
    factors = {name: weights.factor(path, float(name not in outermost)) for name, path in paths.items()}
    factors = {name: factor for name, factor in factors.items() if factor != 0}
    if not factors:
        raise ValueError(
            f"The block weights switch off all {len(paths)} norms of the model. Leave at least one on, or set the amount to 0."
        )
    return factors


def site_channels(module: torch.nn.Module) -> int | None:
    """How many channels a norm has, None where it does not tell."""
    if isinstance(module, torch.nn.GroupNorm):
        return module.num_channels
    shape = getattr(module, "normalized_shape", None) or getattr(getattr(module, "weight", None), "shape", None)
    return shape[-1] if shape else None


@contextmanager
def visited_features(call: ModelCall, names: Iterable[str], visit: Visit) -> Iterator[None]:
    """While this lasts, visit(name, tokens, grid) sees what the norms give: the picture's tokens [rows, positions, channels].

    grid: the picture's size in tokens as (frames, height, width). What visit returns, if anything, takes their place. The
    hooks are gone afterwards, whatever happens.
    """
    network = call.model.diffusion_model
    layout = _token_layout(network, call)
    joint, beginnings = _of_class(network, JOINT_SITES, (None, ()))

    def hook(name: str, module: torch.nn.Module, _: tuple, output: torch.Tensor) -> torch.Tensor | None:
        if output.dim() < 3 or len(output) != len(call.x):
            return None
        channels_first = _has_channels_first(module)
        tokens, sizes = to_tokens(output, channels_first), output.shape[2:] if channels_first else output.shape[1:-1]
        if len(sizes) > 1:
            place = 0, (*(1,) * (3 - len(sizes)), *sizes)
        else:
            place = layout.picture(tokens.shape[1], joint if name.startswith(beginnings) else None)
        if place is None or not (channels_first or place[1] in layout.grids):
            return None
        start, grid = place
        stop = start + math.prod(grid)
        changed = visit(name, tokens[:, start:stop], grid)
        if changed is None:
            return None
        changed = torch.cat([tokens[:, :start], changed, tokens[:, stop:]], 1)
        return from_tokens(changed, output.shape, channels_first).contiguous()

    with ExitStack() as stack:
        for name in names:
            handle = network.get_submodule(name).register_forward_hook(partial(hook, name))
            stack.callback(handle.remove)
        yield


def _has_channels_first(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.GroupNorm) or "2d" in type(module).__name__


def _of_class(network: torch.nn.Module, table: Mapping[str, Any], default: Any = None) -> Any:
    """What a table by class has for a network."""
    return next((table[kind.__name__] for kind in type(network).__mro__ if kind.__name__ in table), default)


def _is_one_of(network: torch.nn.Module, classes: Iterable[str]) -> bool:
    return not {kind.__name__ for kind in type(network).__mro__}.isdisjoint(classes)


def _token_layout(network: torch.nn.Module, call: ModelCall) -> TokenLayout:
    """Where this call's sequences of tokens hold the picture."""
    # HiDream is given another picture beside its own, in the same rows of tokens.
    if call.x.dim() < 4 or call.others.get("image_cond") is not None:
        return TokenLayout(())
    patch = _patch_size(network)
    if patch is None:
        return TokenLayout(halved_grids(*_size(call.x)))
    grids = (patched_grid(*_size(call.x), patch),)
    if _is_one_of(network, REFERENCES_BEFORE):
        # Lumina and Z-Image fill up, where they do.
        return TokenLayout(grids, multiple=getattr(network, "pad_tokens_multiple", None) or 1)
    others = call.others.get("ref_latents") or ()
    return TokenLayout(grids, appended=sum(math.prod(patched_grid(*_size(other), patch)) for other in others))


def _patch_size(network: torch.nn.Module) -> tuple[int, int, int] | None:
    """Frames, height and width of a token, None for U-Nets."""
    if _is_one_of(network, PATCHED_LATENTS):
        return 1, 1, 1
    spatial = getattr(network, "patch_spatial", None)
    if isinstance(spatial, int):
        return getattr(network, "patch_temporal", 1), spatial, spatial
    patch = getattr(network, "patch_size", getattr(network, "patch", None))
    if patch is None:
        return None
    patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
    if len(patch) == 2 and isinstance(frames := getattr(network, "patch_size_t", None), int):
        patch = (frames, *patch)
    return (*(1,) * (3 - len(patch)), *patch)


def _size(latent: torch.Tensor) -> tuple[int, int, int]:
    """Frames, height and width."""
    return latent.shape[2] if latent.dim() == 5 else 1, latent.shape[-2], latent.shape[-1]
