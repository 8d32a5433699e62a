"""The stages of the training, each trained unless the folder has it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import deltas
import diffusion
import numpy as np
import torch
from captions import Captions
from control import ControlNet, copied
from drawings import BASE_MAKER, STYLES, Drawings, drawings, photo_crops
from judge import Judge, disturbed
from looks import LOOKS
from loop import train
from torch import Tensor
from torch.func import functional_call
from unet import UNet, started
from vae import TinyVae, start, varied
from warps import copies, edges, warped

SEED = 1906
VAE_RATE, VAE_BATCH = 2e-3, 8
# The decoder goes on alone, as the latents that the UNet learns may no longer change.
VAE_STEPS, DECODER_STEPS = 1850, 1800
# Of a batch of the VAE: how much are other drawings of the makers, and photos.
OTHERS, PHOTOS = 2, 1
JUDGE_STEPS, JUDGE_RATE, JUDGE_BATCH = 2400, 2e-3, 32
# Disturbed copies of every drawing, by which its place among the styles is found.
JUDGE_COPIES = 12
# How often a caption is left out, so that a sampler can be guided.
DROPPED = 0.1
# A control net sees so many warped pictures of each subject, and more often no caption.
WARPS, DROPPED_FOR_CONTROL = 24, 0.3


@dataclass(frozen=True)
class Kind:
    """How a delta is trained. make: of the base's weights. looks: in how many steps for a look, whose drawings are the base's;
    0 for as many as for a maker."""

    make: Callable[[deltas.Weights], deltas.Delta]
    steps: int
    rate: float
    looks: int = 0
    batch: int = 16


BASE = Kind(deltas.replaced, 7000, 1.1e-3)
CONTROL = Kind(deltas.replaced, 1500, 8e-4)
KINDS = {
    "full": Kind(deltas.replaced, 2000, 4e-4, 600),
    "lora16": Kind(lambda weights: deltas.lora(weights, 16), 6000, 2e-3, 3000),
    "lora4": Kind(lambda weights: deltas.lora(weights, 4), 1500, 2e-3),
    "norms": Kind(lambda weights: deltas.norms(weights, False), 1500, 1e-2),
    "norms_biases": Kind(lambda weights: deltas.norms(weights, True), 1500, 1e-2),
}
# The one that is to show how little a LoRA of its size needs to lose of the subjects.
LONGER = {"noto_lora16": 15000}
# One maker and one look are learnt whole too.
WHOLE = ("noto", "night")
# Every style and kind that is trained of the base.
DELTAS = [
    (style, kind) for kind in KINDS for style in STYLES if style != BASE_MAKER and (kind != "full" or style in WHOLE)
]
# The VAE and the base are trained before what needs them.
NAMES = ["base", "decoder", "judge", "canny", *(f"{style}_{kind}" for style, kind in DELTAS)]


def as_pictures(pixels: np.ndarray) -> Tensor:
    """uint8 [..., H, W, 3] as float32 [n, 3, H, W] in 0..1."""
    return torch.from_numpy(pixels.reshape(-1, *pixels.shape[-3:])).permute(0, 3, 1, 2).float() / 255


class Training:
    """folder: where the work is kept. tokenizer: the folder of CLIP's tokenizer. scale: of the numbers of steps."""

    def __init__(self, folder: Path, tokenizer: Path, scale: float = 1.0):
        self.folder, self.scale = folder, scale
        self.captions = Captions(tokenizer)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def found(self) -> Drawings:
        return drawings(self.folder)

    @cached_property
    def contexts(self) -> tuple[Tensor, Tensor]:
        """Contexts and biases of all subjects and, last, of no caption."""
        context, bias = self.captions([*self.found.subjects, ""])
        return context.to(self.device), bias.to(self.device)

    @cached_property
    def vae(self) -> TinyVae:
        """Both halves, of which only the encoder is final."""
        torch.manual_seed(SEED)
        vae = TinyVae()
        if not (self.folder / "vae.pt").is_file():
            start(vae, as_pictures(self.found.pictures))
        return self._drawn_back("vae", vae, vae, VAE_STEPS)

    @cached_property
    def decoder(self) -> TinyVae:
        """The VAE with its decoder trained on."""
        vae = copy.deepcopy(self.vae)
        return self._drawn_back("decoder", vae, vae.decoder.requires_grad_(True), DECODER_STEPS)

    def _drawn_back(self, name: str, vae: TinyVae, learner: torch.nn.Module, steps: int) -> TinyVae:
        """A VAE of which the learner's part was trained to draw pictures back."""
        done = self.folder / f"{name}.pt"
        vae.to(self.device, memory_format=torch.channels_last)
        if not done.is_file():
            sources = [as_pictures(pixels) for pixels in (self.found.pictures, self.found.more, photo_crops())]
            counts = (VAE_BATCH - OTHERS - PHOTOS, OTHERS, PHOTOS)

            def loss_of(generator: torch.Generator) -> tuple[Tensor, Tensor]:
                picked = [
                    source[torch.randint(len(source), (count,), generator=generator)]
                    for source, count in zip(sources, counts)
                ]
                pictures = varied(torch.cat(picked), generator).to(self.device, memory_format=torch.channels_last)
                return vae.loss(pictures, generator)

            train(name, list(learner.parameters()), loss_of, self._steps(steps), VAE_RATE, self.folder, decay=1e-3)
            torch.save(vae.state_dict(), done)
        vae.load_state_dict(torch.load(done, weights_only=True, map_location=self.device))
        return vae.eval().requires_grad_(False)

    @cached_property
    def judge(self) -> Judge:
        """The classifier, which learns from the drawings alone."""
        done, pictures = self.folder / "judge.pt", as_pictures(self.found.pictures)
        count = len(self.found.subjects)
        torch.manual_seed(SEED)
        judge = Judge(count, len(STYLES)).to(self.device)
        if not done.is_file():

            def loss_of(generator: torch.Generator) -> tuple[Tensor, Tensor]:
                rows = torch.randint(len(pictures), (JUDGE_BATCH,), generator=generator)
                shown = disturbed(pictures[rows], generator).to(self.device)
                return judge.loss(shown, (rows % count).to(self.device))

            train("judge", list(judge.parameters()), loss_of, self._steps(JUDGE_STEPS), JUDGE_RATE, self.folder)
            generator = torch.Generator().manual_seed(SEED)
            with torch.no_grad():
                copies = [disturbed(part, generator) for _ in range(JUDGE_COPIES) for part in pictures.split(count)]
                features = torch.cat([judge.features(part.to(self.device)) for part in copies])
            judge.learn_styles(features.view(JUDGE_COPIES, len(STYLES), count, -1))
            torch.save(judge.state_dict(), done)
        judge.load_state_dict(torch.load(done, weights_only=True, map_location=self.device))
        return judge.eval().requires_grad_(False)

    def latents(self, pictures: Tensor) -> Tensor:
        """Latents [n, 4, 8, 8] of pictures [n, 3, 64, 64]."""
        # It is trained here where it is not yet, which takes gradients.
        encoder = self.vae.encoder
        with torch.no_grad():
            return torch.cat([encoder(part.to(self.device)) for part in pictures.split(64)])

    @cached_property
    def base(self) -> UNet:
        net = started(self.captions.end).to(self.device)
        net.load_state_dict(self._trained("base", BASE, net, dict(net.named_parameters()), self._batches(BASE_MAKER)))
        return net.eval().requires_grad_(False)

    def learn(self, name: str) -> None:
        """Train the stage of that name of NAMES."""
        if name in ("base", "decoder", "judge"):
            getattr(self, name)
        elif name == "canny":
            self.canny()
        else:
            self.style(*name.split("_", 1))

    def style(self, style: str, kind: str) -> deltas.Weights:
        """What was trained of the base for a style."""
        name, chosen, weights = f"{style}_{kind}", KINDS[kind], dict(self.base.named_parameters())
        chosen = replace(chosen, steps=LONGER.get(name, (style in LOOKS and chosen.looks) or chosen.steps))
        return self._trained(name, chosen, self.base, weights, self._batches(style))

    def canny(self) -> deltas.Weights:
        """The control net for Canny edges, trained on the frozen base."""
        net = copied(self.base).to(self.device)
        return self._trained("canny", CONTROL, Controlled(self.base, net), dict(net.named_parameters()), self._warped)

    def _steps(self, steps: int) -> int:
        return max(1, round(steps * self.scale))

    def _trained(self, name: str, kind: Kind, net, weights: deltas.Weights, batches: Callable) -> deltas.Weights:
        """A delta of a net. batches: gives what draws a batch: latents, and the net's arguments after the times."""
        done = self.folder / f"{name}.pt"
        if done.is_file():
            return torch.load(done, weights_only=True, map_location=self.device)
        delta = kind.make(weights)
        pick = batches()

        def loss_of(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            latents, given = pick(kind.batch, generator)
            noisy, noise, times = diffusion.noised(latents, generator)
            # Without a gradient for the input, torch 2.13 crashes on norms alone in channels_last.
            noisy.requires_grad_(True)
            return diffusion.loss(functional_call(net, delta.effective(), (noisy, times, *given)), noise, times)

        decay = 0.01 if kind.make is deltas.replaced else 0.0
        parameters = list(delta.parameters.values())
        train(name, parameters, loss_of, self._steps(kind.steps), kind.rate, self.folder, decay)
        result = {key: parameter.detach() for key, parameter in delta.parameters.items()}
        torch.save(result, done)
        return result

    def _captioned(self, subjects: Tensor, dropped: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        context, bias = self.contexts
        nothing = torch.rand(len(subjects), generator=generator) < dropped
        rows = torch.where(nothing, len(context) - 1, subjects)
        return context[rows], bias[rows]

    def _batches(self, style: str) -> Callable:
        """Draws mirrored and moved pictures of a style with their captions."""

        def prepared() -> Callable:
            pictures = copies(as_pictures(self.found.of(style)))
            latents = self.latents(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])

            def pick(count: int, generator: torch.Generator) -> tuple[Tensor, tuple[Tensor, Tensor]]:
                place = torch.randint(len(latents), (count,), generator=generator)
                subjects = torch.randint(latents.shape[1], (count,), generator=generator)
                return latents[place, subjects], self._captioned(subjects, DROPPED, generator)

            return pick

        return prepared

    def _warped(self) -> Callable:
        """Draws warped pictures of the base's maker with their captions and edges."""
        pictures, generator = as_pictures(self.found.of(BASE_MAKER)), torch.Generator().manual_seed(SEED)
        count = len(pictures)
        shown = torch.cat([warped(pictures, generator) for _ in range(WARPS)])
        latents, hints = self.latents(shown), edges(shown)[:, :1].bool()

        def pick(batch: int, generator: torch.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
            rows = torch.randint(len(latents), (batch,), generator=generator)
            hint = hints[rows].float().expand(-1, 3, -1, -1).to(self.device)
            return latents[rows], (*self._captioned(rows % count, DROPPED_FOR_CONTROL, generator), hint)

        return pick


class Controlled(torch.nn.Module):
    """A UNet that a control net steers; only the names of the control net are those of its parameters."""

    def __init__(self, unet: UNet, net: ControlNet):
        super().__init__()
        self.__dict__["unet"] = unet
        for name, child in net.named_children():
            self.add_module(name, child)
        self.__dict__["net"] = net

    def forward(self, x: Tensor, times: Tensor, context: Tensor, bias: Tensor, hint: Tensor) -> Tensor:
        return self.unet(x, times, context, bias, self.net(x, times, context, bias, hint))
