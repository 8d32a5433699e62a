"""The features of a diffusion model at its norms, seen through hooks that live for one call of the model.

AdaIN (arXiv 1703.06868) is done where a model normalises. Sites are named as the diffusion model names its modules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from ...delta.blocks.paths import count_by_block, weight_path
from ...delta.blocks.rules import parse_block_weights
from ...delta.statistics.tokens import TokenLayout, from_tokens, halved_grids, patched_grid, to_tokens

# Of wrappers; and in the options of a call: that a reference passes through the model.
KEY, CAPTURE = "styledelta_features", "styledelta_capture"
NORM_CLASS = re.compile(r"(?:Group|Layer|RMS)Norm")
# How sharp attention is; fused away by newer hosts.
QK_NORM = re.compile(r"(?:[qk]|query|key)_norm\d?|norm_(?:added_)?[qk](?:_img)?|ln_[qk]")
# Modules that see text, time, sound or another picture; `normC` is the text's in AuraFlow.
OTHER_STREAM = re.compile(
    r"(?:txt|text|context|cap|caption|clip|siglip|byt5|vision|audio|time|vector|distilled)(?:_.*)?|.*_(?:txt|context)|img_emb|normC\d"
)
# Where text and picture are one sequence with the picture last: beginnings of the sites, by class of the network.
JOINT_SITES = {
    "Flux": ("single_blocks.",),
    "Chroma": ("single_blocks.",),
    "NextDiT": ("layers.", "noise_refiner.", "final_layer."),
}

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


def norm_sites(model: Any) -> dict[str, torch.nn.Module]:
    """The norms through which a MODEL's picture passes. Raises ValueError where there is none."""
    network = model.model.diffusion_model
    sites = {name: module for name, module in network.named_modules() if _is_site(name, module)}
    if not sites:
        raise ValueError(
            f"{type(network).__name__} has no norm layer through which the picture passes, so there are no features to "
            "match. Use another model."
        )
    return sites


def _is_site(name: str, module: torch.nn.Module) -> bool:
    *path, last = name.split(".")
    return (
        NORM_CLASS.search(type(module).__name__) is not None
        and next(module.children(), None) is None
        and QK_NORM.fullmatch(last) is None
        and not any(OTHER_STREAM.fullmatch(part) for part in (*path, last))
    )


def site_factors(model: Any, rules: str) -> dict[str, float]:
    """The factor of each norm site by block rules, without those that are 0.

    Raises ValueError for rules that cannot be read, that match no site, or that switch all of them off.
    """
    weights = parse_block_weights(rules)
    paths = {name: weight_path(f"diffusion_model.{name}.weight") for name in norm_sites(model)}
    unused = weights.unused(list(paths.values()))
    if unused:
        raise ValueError(
            f"The block weights {', '.join(unused)} match no norm of this model. It has: {count_by_block(paths.values())}."
        )
    factors = {name: weights.factor(path) for name, path in paths.items()}
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
    layout, joint = _token_layout(network, call), _joint_sites(network)

    def hook(name: str, module: torch.nn.Module, _: tuple, output: torch.Tensor) -> torch.Tensor | None:
        if output.dim() < 3 or len(output) != len(call.x):
            return None
        channels_first = _has_channels_first(module)
        tokens, sizes = to_tokens(output, channels_first), output.shape[2:] if channels_first else output.shape[1:-1]
        if len(sizes) > 1:
            place = 0, (*(1,) * (3 - len(sizes)), *sizes)
        else:
            place = layout.picture(tokens.shape[1], name.startswith(joint))
        if place is None:
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


def _joint_sites(network: torch.nn.Module) -> tuple[str, ...]:
    return next((JOINT_SITES[kind.__name__] for kind in type(network).__mro__ if kind.__name__ in JOINT_SITES), ("\0",))


def _token_layout(network: torch.nn.Module, call: ModelCall) -> TokenLayout:
    """Where this call's sequences of tokens hold the picture."""
    if call.x.dim() < 4:
        return TokenLayout(())
    patch = getattr(network, "patch_size", None)
    if patch is None:
        return TokenLayout(halved_grids(*_size(call.x)))
    patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
    patch = (*(1,) * (3 - len(patch)), *patch)
    grids = (patched_grid(*_size(call.x), patch),)
    if hasattr(network, "pad_tokens_multiple"):
        # This kind has other pictures before its own, and fills up.
        return TokenLayout(grids, multiple=network.pad_tokens_multiple or 1)
    others = call.others.get("ref_latents") or ()
    return TokenLayout(grids, appended=sum(math.prod(patched_grid(*_size(other), patch)) for other in others))


def _size(latent: torch.Tensor) -> tuple[int, int, int]:
    """Frames, height and width."""
    return latent.shape[2] if latent.dim() == 5 else 1, latent.shape[-2], latent.shape[-1]
