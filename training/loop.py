"""One loop for everything that is trained: steps of AdamW with warm-up and cosine, an average of the weights, resume."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

WARM_UP, LAST_RATE = 100, 0.03
SAVE_SECONDS, SAY_SECONDS = 60, 10
# How much of what was averaged so far stays at each step, once there are many.
AVERAGE = 0.997


@dataclass
class Progress:
    """How far a training is. losses: one number for each step."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def train(
    name: str,
    parameters: Sequence[nn.Parameter],
    loss_of: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    steps: int,
    rate: float,
    folder: Path,
    decay: float = 0.01,
) -> Progress:
    """Train parameters in place until all steps are done; they end as the average over the last steps.

    loss_of: what is minimised for the next batch, and the number that is shown of it. The state is kept in the folder
    under the name, so that a second call goes on where the first was stopped, and what the card tells of it. The generator
    depends on the name alone.
    """
    kept = folder / f"{name}.training.pt"
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)
    averages, done = [parameter.detach().clone() for parameter in parameters], Progress()
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        _restore(state, parameters, averages)
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        done = Progress(state["step"], state["seconds"], state["losses"])
    start, saved, said = time.monotonic() - done.seconds, time.monotonic(), 0.0
    while done.step < steps:
        for group in optimiser.param_groups:
            group["lr"] = rate * schedule(done.step, steps)
        loss, shown = loss_of(generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        done.step += 1
        share = 1 - min(AVERAGE, done.step / (done.step + 20))
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], share)
        done.losses.append(shown.item())
        now = time.monotonic()
        done.seconds = now - start
        if now - said > SAY_SECONDS or done.step == steps:
            said = now
            _say(name, done, steps)
        if now - saved > SAVE_SECONDS or done.step == steps:
            saved = now
            state = {"parameters": [parameter.detach() for parameter in parameters], "averages": averages}
            state |= {"optimiser": optimiser.state_dict(), "generator": generator.get_state()}
            _write(kept, state | {"step": done.step, "seconds": done.seconds, "losses": done.losses})
    with torch.no_grad():
        torch._foreach_copy_(parameters, averages)
    torch.save({"losses": done.losses, "seconds": done.seconds}, folder / f"{name}.card.pt")
    return done


def schedule(step: int, steps: int) -> float:
    """The learning rate at a step, as a part of the highest."""
    return min(1, (step + 1) / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _restore(state: dict, parameters: Sequence[nn.Parameter], averages: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for mine, kept in zip((*parameters, *averages), (*state["parameters"], *state["averages"]), strict=True):
            mine.copy_(kept)


def _write(path: Path, state: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _say(name: str, done: Progress, steps: int) -> None:
    recent = done.losses[-100:]
    left = done.seconds / done.step * (steps - done.step)
    line = f"{name}: step {done.step} of {steps}, loss {sum(recent) / len(recent):.4f}, {left / 60:.1f} min left"
    terminal = sys.stdout.isatty()
    print(("\r" if terminal else "") + line, end="" if terminal and done.step < steps else "\n", flush=True)
