"""Sampling with features matched to those of a reference."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import comfy.patcher_extension
import torch

from ...delta.statistics.tokens import from_tokens, mask_tokens, match_tokens, to_tokens
from .features import CAPTURE, KEY, ModelCall, describe_sites, site_factors, visited_features
from .reference import Reference

# In the options of a call: the matchings that are at work around it.
AROUND = "styledelta_around"

log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """How features are matched. mask: [pictures, height, width], white where they are; None for everywhere."""

    amount: float = 1.0
    style_fidelity: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    latent_amount: float = 0.0
    mask: torch.Tensor | None = None

    def is_active(self, model: Any, sigma: float) -> bool:
        """Whether features are matched at this noise level."""
        start, end = map(model.model_sampling.percent_to_sigma, (self.start_percent, self.end_percent))
        return float(end) <= sigma <= float(start)

    def mask_rows(self, grid: tuple[int, int, int], rows: int, pictures: int, device: Any) -> torch.Tensor | None:
        """The mask as weights [rows, positions, 1]. Masks repeat over the pictures, and these over the chunks."""
        if self.mask is None:
            return None
        weights = mask_tokens(self.mask.to(device), grid)
        return weights[[row % pictures % len(weights) for row in range(rows)]]


class FeatureMatching:
    """A wrapper around a model's call, that moves the picture's features at the norms to the reference's statistics."""

    def __init__(self, reference: Reference, factors: dict[str, float], settings: Settings):
        self.reference, self.factors, self.settings = reference, factors, settings
        self.is_paused, self.is_told = False, False

    def __call__(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **others
    ) -> torch.Tensor:
        call = ModelCall(executor, x, t, c_concat, c_crossattn, control, transformer_options or {}, others)
        amounts = self._amounts(call)
        if CAPTURE in call.options or not self.settings.is_active(call.model, call.sigma) or not any(amounts):
            return call.run()
        around = call.options.get(AROUND, ())
        with _paused(around):
            targets = self.reference.tables(call, list(self.factors))
        amount = torch.tensor(amounts, device=x.device)[:, None, None]
        masks, matched = {}, set()

        def visit(name: str, tokens: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor | None:
            if self.is_paused or name not in targets:
                return None
            if grid not in masks:
                masks[grid] = self.settings.mask_rows(grid, len(x), call.pictures, x.device)
            matched.add(name)
            return match_tokens(tokens, targets[name], amount * self.factors[name], masks[grid])

        call = call._replace(options={**call.options, AROUND: (*around, self)})
        with visited_features(call, self.factors, visit):
            output = call.run()
        if not matched:
            raise RuntimeError(
                f"Reference AdaIN matched nothing: the picture was not found at any of the {len(self.factors)} "
                f"norms of {type(call.model.diffusion_model).__name__}. Remove the node for this model."
            )
        self._tell([name for name in self.factors if name not in matched])
        return output

    def _tell(self, missed: list[str]) -> None:
        """Say once at which norms the picture was not found."""
        if missed and not self.is_told:
            some = f"{len(missed)} of {len(self.factors)} norms, such as {missed[0]}"
            log.warning("Reference AdaIN did not find the picture at %s. Features there are not changed.", some)
        self.is_told = True

    def _amounts(self, call: ModelCall) -> list[float]:
        """The amount of each row: the full one for the positive conditioning, the share of style fidelity for others."""
        shares = [1.0 if condition == 0 else self.settings.style_fidelity for condition in call.conditions]
        return [self.settings.amount * share for share in shares for _ in range(call.pictures)]


class LatentMatching:
    """A post-CFG function that moves the channels of the predicted latent to the reference's statistics."""

    def __init__(self, reference: Reference, settings: Settings):
        self.reference, self.settings = reference, settings

    def __call__(self, arguments: dict[str, Any]) -> torch.Tensor:
        latent, model, sigma = arguments["denoised"], arguments["model"], float(arguments["sigma"].max())
        if not self.settings.is_active(model, sigma):
            return latent
        target = self.reference.latent_table(model, sigma).to(latent.device)
        amount = torch.full((1, 1, 1), self.settings.latent_amount, device=latent.device)
        grid = (latent.shape[2] if latent.dim() == 5 else 1, *latent.shape[-2:])
        mask = self.settings.mask_rows(grid, len(latent), len(latent), latent.device)
        return from_tokens(match_tokens(to_tokens(latent, True), target, amount, mask), latent.shape, True)


@contextmanager
def _paused(matchings: Sequence[FeatureMatching]) -> Iterator[None]:
    """While this lasts, these matchings leave features as they are: another reference passes through the model."""
    for matching in matchings:
        matching.is_paused = True
    try:
        yield
    finally:
        for matching in matchings:
            matching.is_paused = False


def match_to_reference(model: Any, reference: Reference, settings: Settings, rules: str) -> tuple[Any, str]:
    """A clone of a MODEL whose features are matched while it samples, and which norms that takes.

    The MODEL itself stays as it is.

    Raises ValueError for rules that match no norm, an empty range, or a mask without white.
    """
    factors = site_factors(model, rules)
    if settings.start_percent >= settings.end_percent:
        raise ValueError("start_percent is not below end_percent, so no step would be matched. Widen the range.")
    if settings.mask is not None and not (settings.mask > 0).any():
        raise ValueError(
            "The mask is black everywhere, so no feature would be matched. Paint the area that should get the style."
        )
    model = model.clone()
    if settings.amount:
        matching = FeatureMatching(reference, factors, settings)
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, matching)
    if settings.latent_amount:
        model.set_model_sampler_post_cfg_function(LatentMatching(reference, settings))
    return model, describe_sites(model, factors)
