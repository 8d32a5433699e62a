"""What weights, mask and schedule cost: a control net of Stable Diffusion 1.5's size, ours against core's, in one run."""

from __future__ import annotations

import asyncio

from norms import BASE, SD15, start_host
from timing import in_turns

GOAL = 1.05
SIDE = 256
CPU = "cpu"


def full_size_net():
    """A ControlNet of 361 million parameters, in float32, with weights drawn at random."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops
    import torch

    config = SD15 | {"dtype": torch.float32, "device": CPU, "operations": comfy.ops.disable_weight_init}
    del config["transformer_depth_output"]
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 0.02, generator=generator)
    return comfy.controlnet.ControlNet(network, load_device=torch.device(CPU))


def main() -> None:
    nodes = start_host()
    assert asyncio.run(nodes.load_custom_node(str(BASE / "custom_nodes/ComfyUI-StyleDelta"), set(), "custom_nodes"))
    import torch

    node = nodes.NODE_CLASS_MAPPINGS
    model = node["CheckpointLoaderSimple"]().load_checkpoint("styledelta_demo_sd15.safetensors")[0].model
    net, hint = full_size_net(), torch.rand(1, SIDE, SIDE, 3)
    empty = [[torch.zeros(1, 77, 768), {}]]
    weights = node["StyleDeltaControlWeights"].execute(net, "middle=0.5", 0.825, 0.9).args[0]
    schedule = node["StyleDeltaControlSchedule"].execute("1@0, 0@1", "ease", "constant", 0.0, 1.0, 1.0, 20).args[0]
    apply, arguments = node["StyleDeltaControlNetApply"], (net, hint, 0.8, 0.0, 1.0)
    ways = {
        "core": node["ControlNetApplyAdvanced"]().apply_controlnet(empty, empty, *arguments)[0],
        "ours": apply.execute(empty, empty, *arguments, "crop").args[0],
        "ours with weights, mask and schedule": apply.execute(
            empty, empty, *arguments, "crop", mask=torch.rand(1, SIDE, SIDE), weights=weights, schedule=schedule
        ).args[0],
    }
    controls = {name: conditioning[0][1]["control"] for name, conditioning in ways.items()}
    latent, context = torch.randn(2, 4, SIDE // 8, SIDE // 8), {"c_crossattn": torch.randn(2, 77, 768)}
    sigma = torch.full((2,), model.model_sampling.percent_to_sigma(0.4))
    for control in controls.values():
        control.pre_run(model, model.model_sampling.percent_to_sigma)
    options = {"cond_or_uncond": [1, 0]}

    def run(control):
        with torch.inference_mode():
            return control.get_control(latent, sigma, context, 2, options)

    seconds = in_turns({name: lambda c=control: run(c) for name, control in controls.items()}, rounds=3, repeats=2)
    print(f"one step of a ControlNet of SD 1.5 at {SIDE}x{SIDE}, positive and negative:")
    for name, value in seconds.items():
        ratio = value / seconds["core"]
        print(f"  {name}: {value:.2f} s, {ratio:.3f} times core's (goal at most {GOAL})")


if __name__ == "__main__":
    main()
