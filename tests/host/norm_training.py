"""Training of norms on tiny models, for tests."""

import re
import sys
from pathlib import Path
from types import ModuleType

import torch

from . import tiny_models
from .tiny_models import LATENT_SHAPES, normal, tiny_model

# The U-Net is as small as it gets, and takes most of the time all the same.
STEPS = {"sd15": 12, "flux": 40, "wan": 40, "ltx": 40, "lumina": 40}
# A parameter that no host uses, which older ones have.
UNUSED = "diffusion_model.norm_final.weight"
SETTINGS = {"batch_size": 1, "seed": 0, "norms": True, "modulation": True, "qk_norms": False}

LORA = {"train": "LoRA", "rank": 4, "learning_rate": 0.02}
BOTH = {**LORA, "train": "norms and LoRA", "lora_layers": "attention and convolutions", "learning_rate": 0.01}


def module(host, name: str) -> ModuleType:
    """A module of the pack, as the host has loaded it."""
    package = host.node("StyleDeltaTrainNorms").__module__.rpartition(".nodes.")[0]
    return sys.modules[f"{package}.{name}"]


def model_of(layout: str):
    """A tiny model whose weights are inference tensors, as those of every model that a node loads."""
    with torch.inference_mode():
        return tiny_model(layout, channels=32)


def latents(layout: str, count: int = 2) -> dict[str, torch.Tensor]:
    shape = LATENT_SHAPES[layout][1:]
    return {"samples": 1 + 0.3 * normal("latents", (count, *shape[:-2], min(shape[-2], 8), min(shape[-1], 8)), 0)}


def conditioning(layout: str, count: int = 1) -> list:
    return [tiny_models.conditioning(layout, f"{number}", 0)[0] for number in range(count)]


def train(host, layout: str, model, **changes):
    """The node's three outputs."""
    inputs = {"latents": latents(layout), "conditioning": conditioning(layout), "steps": STEPS[layout], **SETTINGS}
    with torch.inference_mode():
        return host.node("StyleDeltaTrainNorms").execute(model, **{**inputs, "learning_rate": 0.05, **changes})


def losses(report: str) -> tuple[float, float]:
    return tuple(map(float, re.search(r"draws: ([\d.e+-]+) before, ([\d.e+-]+) after", report).groups()))


def evaluate(host, layout: str, model) -> float:
    """The loss on the fixed draws of a model as it is."""
    plan, settings = module(host, "delta.training.plan").Plan({}), module(host, "delta.training.schedule").Settings
    fixed = module(host, "delta.training.training").StyleTraining(plan, 2, settings(1, 1.0, 1, 0)).fixed
    nothing, values = module(host, "delta.training.style").Style(), []

    def work(loss) -> None:
        with torch.no_grad():
            values.extend(float(loss(nothing, draw)) for draw in fixed)

    with torch.inference_mode():
        prompts = conditioning(layout) * 2
        module(host, "nodes.host.training").run_with_loss(model, latents(layout)["samples"], prompts, work)
    return sum(values) / len(values)


def site_sizes(host, model, tiers=("norms", "modulation")) -> dict[str, int]:
    """The numbers of each parameter that can be trained."""
    weights = dict(model.model.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    names = module(host, "delta.families.norm_sites").find_sites(shapes).of(tiers)
    return {name: weights[name].numel() for name in names if name != UNUSED}


def replace_tables(host, applied, lora: dict[str, torch.Tensor]) -> None:
    """Put in what the host takes and never applies: parameters of modules that have others inside."""
    weights = applied.model.state_dict()
    for name in [name for name in site_sizes(host, applied) if f"{name}.diff" in lora]:
        moved = torch.nn.Parameter(weights[name] + lora[f"{name}.diff"], requires_grad=False)
        applied.add_object_patch(name, moved)


def files(base_dir: Path, beginning: str) -> set[Path]:
    """The LoRAs in the output folder."""
    return set((base_dir / "output/loras").glob(f"{beginning}*"))
