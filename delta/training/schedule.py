"""Learning rates: of what is trained, and of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

AUTOMATIC, CONSTANT, COSINE = SCHEDULES = ("automatic", "constant", "cosine")
# Measured on a small model with 24 captions: norms take five times what a LoRA takes.
RATE_OF_NORMS, RATE_OF_LORA = 0.01, 0.002
# The share of the steps in which the rate rises where that is automatic.
WARM_UP_SHARE = 0.05
AUTOMATIC_WARM_UP = -1


@dataclass(frozen=True)
class Settings:
    """steps of `batch_size` draws each; seed of their latents and noise.

    learning_rate: 0 for what suits what is trained; schedule: one of SCHEDULES, where automatic is cosine for an automatic
    learning rate and constant for another; warm_up: steps in which the rate rises, -1 for a twentieth of a cosine and none
    of a constant.
    """

    steps: int
    learning_rate: float
    batch_size: int
    seed: int
    schedule: str = AUTOMATIC
    warm_up: int = AUTOMATIC_WARM_UP

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"There is no schedule {self.schedule}. Choose one of: {', '.join(SCHEDULES)}.")
        if self.learning_rate < 0:
            raise ValueError(f"The learning rate {self.learning_rate:g} is negative. Choose 0 or more; 0 is automatic.")
        if self.warm_up > self.steps:
            raise ValueError(
                f"The warm-up takes {self.warm_up} steps, but there are only {self.steps}. Choose fewer; -1 is "
                "automatic."
            )

    @property
    def decays(self) -> bool:
        """Whether the rate falls along a cosine."""
        return self.schedule == COSINE or (self.schedule == AUTOMATIC and not self.learning_rate)

    @property
    def rising(self) -> int:
        """In how many steps the rate rises."""
        if self.warm_up >= 0:
            return self.warm_up
        return round(WARM_UP_SHARE * self.steps) if self.decays else 0

    def rates(self, has_lora: bool) -> tuple[float, float]:
        """(rate of whole parameters, rate of factors). A rate that is given is that of the LoRA, if there is one."""
        if not self.learning_rate:
            return RATE_OF_NORMS, RATE_OF_LORA
        share = RATE_OF_NORMS / RATE_OF_LORA if has_lora else 1.0
        return share * self.learning_rate, self.learning_rate

    def factor(self, step: int) -> float:
        """What the rates are multiplied by at a step, the first of which is 1."""
        if step < self.rising:
            return step / self.rising
        if not self.decays:
            return 1.0
        return 0.5 + 0.5 * math.cos(math.pi * (step - self.rising) / (self.steps - self.rising + 1))
