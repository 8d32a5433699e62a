"""What is read from a model's file against the weights that ComfyUI has when it loads it."""

import importlib

import pytest
import torch
from safetensors.torch import save_file

from .tiny_models import is_of_flux2

DEMO = "styledelta_demo_sd15.safetensors"
# What ComfyUI makes itself where the file has none.
MADE_BY_HOST = {"text_encoders.clip_l.logit_scale", "text_encoders.clip_l.transformer.text_projection.weight"}


@pytest.fixture(scope="module")
def module(host):
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.delta.files.checkpoint")


@pytest.fixture(scope="module")
def loaded(host) -> dict[str, torch.Tensor]:
    """The weights of the demo checkpoint as ComfyUI has them, by the names that a LoRA patches."""
    model, clip, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(DEMO)
    denoiser = {name: value for name, value in model.model.state_dict().items() if name.startswith("diffusion_model.")}
    return denoiser | {f"text_encoders.{name}": value for name, value in clip.cond_stage_model.state_dict().items()}


def test_every_weight_is_the_hosts(module, loaded, base_dir):
    checkpoint = module.Checkpoint(base_dir / "models/checkpoints" / DEMO)
    assert loaded.keys() - checkpoint.shapes.keys() <= MADE_BY_HOST
    assert checkpoint.shapes.keys() <= loaded.keys()
    for name, shape in checkpoint.shapes.items():
        value = checkpoint.read(name).value
        assert value.shape == shape == loaded[name].shape
        assert torch.equal(value, loaded[name].float()), name


def open_clip(width: int = 8, blocks: int = 2) -> dict[str, torch.Tensor]:
    shapes = {
        "positional_embedding": (77, width),
        "token_embedding.weight": (20, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, 6),
    }
    for number in range(blocks):
        block = f"transformer.resblocks.{number}"
        shapes |= {f"{block}.{norm}.{end}": (width,) for norm in ("ln_1", "ln_2") for end in ("weight", "bias")}
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
        }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_open_clip_is_converted_as_the_host_does(module, host, tmp_path):
    import comfy.utils

    weights = open_clip()
    prefix = "conditioner.embedders.1.model."
    save_file({prefix + name: value for name, value in weights.items()}, tmp_path / "clip.safetensors")
    checkpoint = module.Checkpoint(tmp_path / "clip.safetensors")
    target = "text_encoders.clip_g.transformer."
    expected = comfy.utils.clip_text_transformers_convert(
        {f"in.{name}": value for name, value in weights.items()}, "in.", target
    )
    assert checkpoint.shapes.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(checkpoint.read(name).value, value), name


def host_maps() -> dict[str, dict]:
    """ComfyUI's map from diffusers' weights to its own, of each architecture that has one; parts are 1536 rows apart."""
    import comfy.utils

    sdxl = {
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    }
    return {
        "sdxl": comfy.utils.unet_to_diffusers(sdxl),
        "flux": comfy.utils.flux_to_diffusers({"depth": 19, "depth_single_blocks": 38, "hidden_size": ROWS_APART}),
        "auraflow": comfy.utils.auraflow_to_diffusers({"n_double_layers": 4, "n_layers": 36}),
        "pixart": comfy.utils.pixart_to_diffusers({"depth": 28, "hidden_size": ROWS_APART}),
        "sd3": comfy.utils.mmdit_to_diffusers({"depth": ROWS_APART // 64, "num_blocks": ROWS_APART // 64}),
        "z_image": comfy.utils.z_image_to_diffusers({"n_layers": 30, "dim": ROWS_APART}),
    }


ROWS_APART = 1536
# Rows of the host's maps that no model of diffusers has: of a ControlNet, of resamplers at the end of a U-Net, of refiners of
# Z-Image that are not modulated.
UNUSED = (
    *("controlnet_", "class_embedding.", "down_blocks.2.downsamplers.", "up_blocks.2.upsamplers."),
    *("context_refiner.0.adaLN_modulation.", "context_refiner.1.adaLN_modulation."),
)


@pytest.mark.parametrize("kind", ["sdxl", "flux", "sd3", "z_image", "auraflow", "pixart"])
def test_diffusers_names_are_converted_as_the_host_does(module, host, tmp_path, kind):
    rows = {
        name: row for name, row in host_maps()[kind].items() if not name.startswith(UNUSED) and not is_of_flux2(name)
    }
    weights = {name: torch.randn(2, 3) for name in rows}
    save_file(weights, tmp_path / "model.safetensors")
    checkpoint = module.Checkpoint(tmp_path / "model.safetensors")
    for name, row in rows.items():
        target, place, change = (row, None, None) if isinstance(row, str) else (*row, None)[:3]
        # The newest host calls the weight of these norms otherwise.
        target = target.replace("query_norm.weight", "query_norm.scale").replace("key_norm.weight", "key_norm.scale")
        value = checkpoint.read(f"diffusion_model.{target}").value
        if place is not None:
            start = 2 * place[1] // ROWS_APART
            value = value[start : start + 2]
        assert torch.equal(value, change(weights[name]) if change else weights[name]), name
    assert not checkpoint.left_out
