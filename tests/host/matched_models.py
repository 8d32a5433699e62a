"""Matching the features of tiny models through the host's own sampler, and looking on."""

import torch

from .tiny_models import CONTEXT_TOKENS, LATENT_SHAPES, conditioning, normal

LAYOUTS = ("sd15", "sdxl", "flux", "wan", "qwen", "z_image", "lumina", "ltx", "sd3")
SETTINGS = {
    "amount": 1.0,
    "style_fidelity": 1.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "latent_amount": 0.0,
    # All norms, those too that need a rule.
    "block_weights": "*=1",
}
# A late norm of each model, and how many tokens stand before the picture there: Z-Image fills the text up to 32.
LATE_SITES = {
    "sd15": ("output_blocks.11.0.out_layers.0", None),
    "sdxl": ("output_blocks.5.1.transformer_blocks.1.norm3", 0),
    "flux": ("single_blocks.1.pre_norm", CONTEXT_TOKENS),
    "wan": ("head.norm", 0),
    "qwen": ("transformer_blocks.1.img_norm2", 0),
    "z_image": ("layers.1.ffn_norm1", 32),
    "lumina": ("layers.1.ffn_norm1", CONTEXT_TOKENS),
    "ltx": ("norm_out", 0),
    "sd3": ("joint_blocks.1.x_block.norm1", 0),
}
PICTURE_TOKENS = {"flux": 16, "z_image": 16}
LAST_NORM = "*=0, out.0=1"


def latent(layout: str, seed: int = 7, count: int = 1, side: int | None = None) -> dict:
    """A LATENT whose channels have means and deviations of their own."""
    _, channels, *frames, height, width = LATENT_SHAPES[layout]
    shape = (count, channels, *frames, side or height, side or width)
    ones = (1, channels, *(1,) * (len(shape) - 2))
    mean, deviation = (normal(f"latent.{part}", ones, seed) for part in ("mean", "deviation"))
    return {"samples": mean + deviation.exp() * normal("latent", shape, seed)}


def matched(host, model, **inputs):
    return host.node("StyleDeltaReferenceAdaIN").execute(model, **{**SETTINGS, **inputs})[0]


def hooks(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules())


def wrapped(model, wrapper):
    """A clone with one more wrapper inside those that it has."""
    from comfy.patcher_extension import WrappersMP

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", wrapper)
    return clone


def watched(model, *names):
    """A clone that notes what each call leaves at these modules: (whether the reference passes, its options, outputs)."""
    calls = []

    def wrapper(executor, *arguments, **others):
        outputs, options = {}, arguments[5]
        modules = [(name, executor.class_obj.diffusion_model.get_submodule(name)) for name in names]
        handles = [
            module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output.clone()}))
            for name, module in modules
        ]
        try:
            return executor(*arguments, **others)
        finally:
            for handle in handles:
                handle.remove()
            calls.append(("styledelta_capture" in options, options["cond_or_uncond"], outputs))

    return wrapped(model, wrapper), calls


def mean_and_deviation(output: torch.Tensor, layout: str) -> torch.Tensor:
    """Of the picture's part of a late site's output: [2, rows, channels]."""
    start = LATE_SITES[layout][1]
    tokens = output.flatten(2).transpose(1, 2) if start is None else output[:, start:]
    tokens = tokens[:, : PICTURE_TOKENS.get(layout, tokens.shape[1])].double()
    return torch.stack([tokens.mean(1), tokens.std(1, correction=0)])


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    """The same but for the rounding of float32, which depends on the size of the batch."""
    assert (one - other).norm() < 1e-5 * other.norm()


def sampled(model, layout, count=1, steps=2, cfg=2.0, sampler="euler", **given):
    """Like tiny_models.sample, for several pictures with noise of their own. given: what prompts hold besides text."""
    import comfy.sample

    noise = torch.cat([normal("noise", LATENT_SHAPES[layout], seed) for seed in range(count)])
    prompts = [conditioning(layout, prompt, 0) for prompt in ("positive", "negative")]
    for prompt in prompts:
        prompt[0][1].update(given)
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, "normal", *prompts, torch.zeros_like(noise), disable_pbar=True, seed=0
    )
