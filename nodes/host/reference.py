"""What features are matched to: a reference that passes through the model, or recorded statistics; and recording them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import comfy.model_management
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import torch

from ...delta.statistics.feature_statistics import LATENT, FeatureStatistics, StatisticsMix, check_sites
from ...delta.statistics.tokens import table, to_tokens
from .features import CAPTURE, KEY, ModelCall, norm_modules, norm_sites, site_channels, visited_features
from .sampling import model_name

NOISE_SEED = 0


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
        tables: dict[str, list[torch.Tensor]] = {}

        def visit(name: str, tokens: torch.Tensor, _: tuple) -> None:
            tables.setdefault(name, []).append(table(tokens))

        for row in noised:
            comfy.model_management.throw_exception_if_processing_interrupted()
            # A ControlNet's residuals have the size of the latent, and describe it.
            capture = call._replace(
                x=torch.stack([row] * len(call.x)), control=None, options={**call.options, CAPTURE: True}
            )
            with visited_features(capture, names, visit):
                capture.run()
        return {name: torch.stack(visits).mean(0) for name, visits in tables.items()}


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


def saved_reference(model: Any, mix: StatisticsMix) -> SavedReference:
    """Recorded statistics as a reference for a MODEL.

    Raises ValueError when they were recorded on another model, or when their weights sum to zero.
    """
    mix.weights()
    # Files of earlier versions have norms that are no longer taken for the picture's.
    there = {name: site_channels(module) for name, module in norm_modules(model).items()}
    there[LATENT] = model.get_model_object("latent_format").latent_channels
    for component in mix.components:
        recorded = component.statistics.channels()
        channels = {name: count or recorded.get(name, 0) for name, count in there.items()}
        check_sites(component, channels, f"the model, {model_name(model)}")
    return SavedReference(mix)


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
        raise RuntimeError(f"The picture was not found at any norm of {model_name(model)}. Use another model.")
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
                f"This model also receives {name} in the latent's size {tuple(size)}, but the reference is "
                f"{tuple(other)}. Resize the reference to the size that is sampled."
            )
