"""The demo models are what a host takes for Stable Diffusion 1.5 and its LoRAs."""

import logging

import pytest

CHECKPOINT = "styledelta_demo_sd15.safetensors"


@pytest.fixture(scope="module")
def checkpoint(host):
    """The demo checkpoint as the host's own loader gives it: model, clip, vae."""
    return host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)


def match(checkpoint, name):
    """The patches that the host makes of a demo LoRA, and the file's tensors."""
    import comfy.lora
    import comfy.utils
    import folder_paths

    model, clip, _ = checkpoint
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    keys = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, keys)
    path = folder_paths.get_full_path_or_raise("loras", f"styledelta_demo_{name}.safetensors")
    tensors = comfy.utils.load_torch_file(path, safe_load=True)
    return comfy.lora.load_lora(tensors, keys), tensors


def test_checkpoint_loads_whole_and_samples(host, caplog):
    import torch

    with caplog.at_level(logging.INFO):
        model, clip, vae = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    assert not [text for text in caplog.messages if "missing" in text or "unexpected" in text or "left over" in text]
    assert type(model.model.model_config).__name__ == "SD15"
    with torch.inference_mode():
        (positive,) = host.node("CLIPTextEncode")().encode(clip, "a village at night")
        (negative,) = host.node("CLIPTextEncode")().encode(clip, "")
        empty = {"samples": torch.zeros(1, 4, 16, 16)}
        (latent,) = host.node("KSampler")().sample(model, 1, 2, 7.0, "euler", "normal", positive, negative, empty)
        (picture,) = host.node("VAEDecode")().decode(vae, latent)
    assert picture.shape == (1, 128, 128, 3)
    assert picture.isfinite().all()
    assert picture.std() > 0.05


@pytest.mark.parametrize(
    ("name", "unet_patches", "text_patches"), [("kohya", 48, 72), ("diffusers", 16, 48), ("locon", 78, 0)]
)
def test_every_tensor_of_a_lora_is_used(checkpoint, caplog, name, unet_patches, text_patches):
    patches, _ = match(checkpoint, name)
    assert not [text for text in caplog.messages if "not loaded" in text]
    unet = [key for key in patches if key.startswith("diffusion_model.")]
    assert (len(unet), len(patches) - len(unet)) == (unet_patches, text_patches)


def test_lora_of_another_architecture_matches_nothing(checkpoint, caplog):
    patches, tensors = match(checkpoint, "other_architecture")
    assert patches == {}
    assert len([text for text in caplog.messages if "not loaded" in text]) == len(tensors)


def test_controlnet_makes_the_picture_lighter_where_the_hint_is_white(host, checkpoint):
    import torch

    model, clip, vae = checkpoint
    hint = torch.zeros(1, 128, 128, 3)
    hint[:, :, :64] = 1

    def picture(strength):
        prompts = [host.node("CLIPTextEncode")().encode(clip, text)[0] for text in ("a village at night", "")]
        apply = host.node("ControlNetApplyAdvanced")().apply_controlnet
        positive, negative = apply(*prompts, net, hint, strength, 0.0, 1.0)
        empty = {"samples": torch.zeros(1, 4, 16, 16)}
        (latent,) = host.node("KSampler")().sample(model, 1, 3, 7.0, "euler", "normal", positive, negative, empty)
        return host.node("VAEDecode")().decode(vae, latent)[0]

    with torch.inference_mode():
        (net,) = host.node("ControlNetLoader")().load_controlnet("styledelta_demo_controlnet.safetensors")
        without, slightly, fully = picture(0.0), picture(0.01), picture(1.0)
    left, right = (fully - without)[:, :, :64].mean(), (fully - without)[:, :, 64:].mean()
    assert left > 0.25 and right < 0
    assert (slightly - without).abs().mean() < 0.05
