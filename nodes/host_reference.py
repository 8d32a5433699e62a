"""Sampling with features matched to those of a reference, and recording what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import comfy.model_management
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import torch

from ..delta.feature_matching import from_tokens, mask_tokens, match_tokens, table, to_tokens
from ..delta.feature_statistics import LATENT, FeatureStatistics, StatisticsMix, check_sites
from .host_features import ModelCall, norm_sites, site_channels, site_factors, visited_features

KEY = "styledelta_features"
# In the options of a call: that it is a pass over the reference, and which matchings are at work around it.
CAPTURE, AROUND = "styledelta_capture", "styledelta_around"
NOISE_SEED = 0


class Settings(NamedTuple):
    """How features are matched. mask: [pictures, height, width], white where they are; None for everywhere."""

    amount: float = 1.0
    style_fidelity: float = 0.5
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


class Reference(Protocol):
    """What features are matched to."""

    def tables(self, call: ModelCall, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Tables [rows or 1, 2, channels] by norm site at the noise level of a call."""

    def latent_table(self, model: Any, sigma: float) -> torch.Tensor:
        """The table [1, 2, channels] of the predicted latent."""


class LiveReference:
    """A reference latent, or several whose statistics are averaged: at each noise level it goes through the model too."""

    def __init__(self, latent: torch.Tensor):
        self.latent, self.noise = latent.float().cpu(), _fixed_noise(latent)
        self.sigma: float | None = None
        self.known: dict[Any, dict[str, torch.Tensor]] = {}

    def tables(self, call: ModelCall, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The statistics under the conditioning of each chunk. They are computed once for each noise level."""
        if call.sigma != self.sigma:
            self.sigma, self.known = call.sigma, {}
        keys = call.options.get("uuids") or [object() for _ in call.conditions]
        if not all(key in self.known for key in keys):
            tables = self._capture(call, names)
            for index, key in enumerate(keys):
                self.known[key] = {name: rows.chunk(len(keys))[index] for name, rows in tables.items()}
        chunks = [self.known[key] for key in keys]
        return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def latent_table(self, model: Any, sigma: float) -> torch.Tensor:
        """The statistics of the reference latent itself, at every noise level."""
        return table(to_tokens(model.process_latent_in(self.latent), True)).mean(0, keepdim=True)

    def _capture(self, call: ModelCall, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The mean over the references of the tables [rows, 2, channels] that the model gives for them."""
        _check_size(call, self.latent)
        latent = call.model.process_latent_in(self.latent.to(call.x))
        noised = call.model.model_sampling.noise_scaling(call.sigmas[:1], self.noise.to(call.x), latent)
        tables: dict[str, torch.Tensor] = {}

        def visit(name: str, tokens: torch.Tensor, _: tuple) -> None:
            tables[name] = tables.get(name, 0) + table(tokens) / len(noised)

        for row in noised:
            comfy.model_management.throw_exception_if_processing_interrupted()
            # A ControlNet's residuals have the size of the latent, and describe it.
            capture = call._replace(
                x=torch.stack([row] * len(call.x)), control=None, options={**call.options, CAPTURE: True}
            )
            with visited_features(capture, names, visit):
                capture.run()
        return tables


class SavedReference:
    """Recorded statistics."""

    def __init__(self, mix: StatisticsMix):
        self.mix = mix
        self.place: tuple[float, torch.device] | None = None
        self.current: dict[str, torch.Tensor] = {}

    def tables(self, call: ModelCall, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The statistics at the noise level of the call, the same for all rows."""
        place = call.sigma, call.x.device
        if place != self.place:
            tables = self.mix.at(call.sigma)
            self.current = {name: tables[name][None].to(call.x.device) for name in names if name in tables}
            self.place = place
        return self.current

    def latent_table(self, model: Any, sigma: float) -> torch.Tensor:
        """The recorded statistics of the reference latent."""
        return self.mix.at(sigma)[LATENT][None]


class FeatureMatching:
    """A wrapper around a model's call, that moves the picture's features at the norms to the reference's statistics."""

    def __init__(self, reference: Reference, factors: dict[str, float], settings: Settings):
        self.reference, self.factors, self.settings = reference, factors, settings
        self.is_paused = False

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
                f"Reference AdaIN matched nothing: at none of the {len(self.factors)} norms of "
                f"{type(call.model.diffusion_model).__name__} was the picture found. Remove the node for this model."
            )
        return output

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


def reference_latent(model: Any, latent: dict[str, Any]) -> torch.Tensor:
    """The samples of a LATENT as a reference for a MODEL. Raises ValueError for a latent of another kind of model."""
    samples, form = latent["samples"], model.get_model_object("latent_format")
    if samples.is_nested:
        raise ValueError("The reference is a latent of several streams. Use a latent of pictures or of video alone.")
    if form.latent_dimensions == 3 and samples.dim() == 4:
        samples = samples[:, :, None]
    if samples.shape[1] != form.latent_channels or samples.dim() != form.latent_dimensions + 2:
        raise ValueError(
            f"The reference latent is {tuple(samples.shape)}, but {model_name(model)} has latents of {form.latent_channels} "
            f"channels and {form.latent_dimensions + 2} dimensions. Encode the reference with this model's VAE."
        )
    return samples


def saved_reference(model: Any, mix: StatisticsMix) -> SavedReference:
    """Recorded statistics as a reference for a MODEL.

    Raises ValueError when they were recorded on another model, or when their weights sum to zero.
    """
    mix.weights()
    there = {name: site_channels(module) for name, module in norm_sites(model).items()}
    there[LATENT] = model.get_model_object("latent_format").latent_channels
    for component in mix.components:
        recorded = component.statistics.channels()
        channels = {name: count or recorded.get(name, 0) for name, count in there.items()}
        check_sites(component, channels, f"the model, {model_name(model)}")
    return SavedReference(mix)


def match_to_reference(model: Any, reference: Reference, settings: Settings, rules: str) -> Any:
    """A clone of a MODEL whose features are matched while it samples. The MODEL itself stays as it is.

    Raises ValueError for rules that match no norm, an empty range, or a mask without white.
    """
    factors = site_factors(model, rules)
    if settings.start_percent >= settings.end_percent:
        raise ValueError("start_percent is not below end_percent, so no step would be matched. Widen the range.")
    if settings.mask is not None and not (settings.mask > 0).any():
        raise ValueError(
            "The mask is black everywhere, so no feature would be matched. Paint where the style is to go."
        )
    model = model.clone()
    if settings.amount:
        matching = FeatureMatching(reference, factors, settings)
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, matching)
    if settings.latent_amount:
        model.set_model_sampler_post_cfg_function(LatentMatching(reference, settings))
    return model


def record_statistics(
    model: Any, latent: torch.Tensor, positive: list, bins: int, step: Callable[[int, int], None]
) -> FeatureStatistics:
    """The statistics of a reference latent at so many noise levels, spaced as the model's own time steps.

    Several references are averaged. step(done, total) is called after each level. Raises ValueError when the model has no
    norm, RuntimeError when the picture is found at none.
    """
    recorder = _Recorder(list(norm_sites(model)))
    model = model.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, recorder)
    levels = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", bins)[:bins]
    tables: list[dict[str, torch.Tensor]] = []

    def visit_levels(denoiser, x, sigmas, extra_args, **_: Any) -> torch.Tensor:
        own = table(to_tokens(denoiser.latent_image, True)).mean(0).cpu()
        sampling = denoiser.inner_model.inner_model.model_sampling
        for done, sigma in enumerate(sigmas, 1):
            noised = sampling.noise_scaling(sigma, denoiser.noise, denoiser.latent_image)
            denoiser(noised, sigma.expand(len(noised)), **extra_args)
            tables.append({**recorder.taken(), LATENT: own})
            step(done, len(sigmas))
        return x

    sampler = comfy.samplers.KSAMPLER(visit_levels)
    # At CFG 1 the negative conditioning is not computed.
    comfy.sample.sample_custom(
        model,
        _fixed_noise(latent),
        1.0,
        sampler,
        levels,
        positive,
        positive,
        latent,
        disable_pbar=True,
        seed=NOISE_SEED,
    )
    if tables[0].keys() == {LATENT}:
        raise RuntimeError(f"At none of the norms of {model_name(model)} was the picture found. Use another model.")
    sites = {name: torch.stack([level[name] for level in tables]) for name in tables[0]}
    return FeatureStatistics(model_name(model), levels.float(), sites)


class _Recorder:
    """A wrapper around a model's call that keeps the statistics at norm sites."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self.tables: dict[str, list[torch.Tensor]] = {}

    def __call__(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **others
    ) -> torch.Tensor:
        call = ModelCall(executor, x, t, c_concat, c_crossattn, control, transformer_options or {}, others)
        if CAPTURE in call.options:
            return call.run()

        def visit(name: str, tokens: torch.Tensor, _: tuple) -> None:
            chunks = table(tokens).cpu().chunk(len(call.conditions))
            own = [chunk for chunk, condition in zip(chunks, call.conditions) if condition == 0]
            self.tables.setdefault(name, []).extend(own)

        with visited_features(call, self.names, visit):
            return call.run()

    def taken(self) -> dict[str, torch.Tensor]:
        """The means [2, channels] of what was kept since this was called last."""
        tables, self.tables = self.tables, {}
        return {name: torch.cat(rows).mean(0) for name, rows in tables.items() if rows}


def model_name(model: Any) -> str:
    """The kind of a MODEL as the host names it, such as SDXL."""
    return type(model.model.model_config).__name__


def _fixed_noise(latent: torch.Tensor) -> torch.Tensor:
    """The noise of the reference: the same at every step and in every run."""
    return torch.randn(latent.shape, generator=torch.Generator().manual_seed(NOISE_SEED))


def _check_size(call: ModelCall, latent: torch.Tensor) -> None:
    """Raise ValueError for a reference of another size where the model is given pictures of the latent's size."""
    size, other = call.x.shape[2:], latent.shape[2:]
    for name, value in {"c_concat": call.concat, **call.others}.items():
        if (
            size != other
            and isinstance(value, torch.Tensor)
            and value.dim() == call.x.dim()
            and value.shape[2:] == size
        ):
            raise ValueError(
                f"This model is also given {name} of the latent's size {tuple(size)}, but the reference is {tuple(other)}. "
                "Resize the reference to the size that is sampled."
            )
