"""Pictures of the trained networks and what the judge says of them, from the files of tests/models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import trained_models
from captions import Captions
from diffusion import ddim, guided
from drawings import STYLES, caption, icon_names
from judge import Judge
from torch import Tensor
from torch.func import functional_call
from unet import UNet
from vae import TinyVae

STEPS, GUIDANCE, BATCH = 20, 3.0, 60

Weights = Mapping[str, Tensor]


class Verdict(NamedTuple):
    """Shares of pictures, 0..1: with the subject of the caption, and in the style that was meant as far as the drawings of
    that subject tell."""

    subject: float
    style: float


def stored(name: str) -> dict[str, Tensor]:
    """The live weights of a file in tests/models."""
    return {key: torch.from_numpy(value) for key, value in trained_models.read(name).items()}


def every_subject() -> list[str]:
    """All captions, in the judge's order."""
    return list(map(caption, icon_names()))


class Studio:
    """tokenizer: the folder of CLIP's tokenizer. base: the weights of the UNet before any style."""

    def __init__(self, tokenizer: Path):
        self.captions, self.net, self.vae = Captions(tokenizer), UNet(), TinyVae()
        self.base = stored("base")
        self.vae.load_state_dict(stored("vae"))
        self.judge = Judge(len(every_subject()), len(STYLES))
        self.judge.load_state_dict(stored("judge"))
        for net in (self.net, self.vae, self.judge):
            net.to(memory_format=torch.channels_last).requires_grad_(False)

    def pictures(self, weights: Weights, texts: Sequence[str], seed: int, steps: int = STEPS) -> Tensor:
        """Pictures [n, 3, 64, 64] in 0..1 of captions, drawn with weights that take the place of the base's."""
        drawn, generator = [], torch.Generator().manual_seed(seed)
        changed = {**self.base, **weights}
        nothing = self.captions([""])
        for first in range(0, len(texts), BATCH):
            context, bias = self.captions(texts[first : first + BATCH])
            noise = torch.randn(len(context), 4, 8, 8, generator=generator)

            def predict(*given: Tensor) -> Tensor:
                return functional_call(self.net, changed, given)

            with torch.no_grad():
                latents = ddim(guided(predict, context, bias, nothing, GUIDANCE), noise, steps)
                drawn.append(self.vae.decoder(latents).clamp(0, 1))
        return torch.cat(drawn)

    def verdict(self, pictures: Tensor, texts: Sequence[str], style: str) -> Verdict:
        """What the judge says of pictures."""
        order = every_subject()
        wanted = torch.tensor([order.index(text) for text in texts])
        with torch.no_grad():
            of_subject, of_style = self.judge(pictures, wanted)
        return Verdict(share(of_subject.argmax(1) == wanted), share(of_style.argmax(1) == STYLES.index(style)))


def share(answers: Tensor) -> float:
    """How many of the answers are true, 0..1."""
    return answers.float().mean().item()
