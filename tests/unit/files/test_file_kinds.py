"""Files in the wrong place are named, with the node that wants them."""

import pytest
import torch

from delta.families.registry import families
from delta.files.adapter_names import is_adapter, naming
from delta.files.file_kinds import check_control_file, kind_of

DIFFUSION_MODEL = "a diffusion model (load it with Load Diffusion Model)"
UNION = "load it with Load ControlNet Model, then choose its type with Union Type"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["lora_unet_double_blocks_0_img_mod_lin.lora_up.weight"],
            "a LoRA with kohya names (lora_unet_...), as for Flux.1, HunyuanImage 2.1, HunyuanVideo, HunyuanVideo 1.5 or "
            "Ovis-Image",
        ),
        (
            ["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"],
            "a LoRA with diffusers/PEFT names (....lora_A), as for AuraFlow, Chroma, Flux.1, HunyuanImage 2.1 or HunyuanVideo",
        ),
        (
            ["diffusion_model.blocks.0.self_attn.q.oft_R.weight"],
            "a LoRA with ComfyUI names (diffusion_model....), as for Wan",
        ),
        (
            ["diffusion_model.mystery.lora_A.weight"],
            "a LoRA with ComfyUI names (diffusion_model....), as for an unknown family",
        ),
        (["model.diffusion_model.x.weight", "cond_stage_model.y"], "a full checkpoint (load it with Load Checkpoint)"),
        (["control_model.input_blocks.0.weight"], "a ControlNet (load it with Load ControlNet Model)"),
        (["decoder.up.0.weight"], "a VAE (load it with Load VAE)"),
        (["net.llm_adapter.out_proj.weight", "net.x_embedder.proj.1.weight"], DIFFUSION_MODEL),
        (["embed_tokens.weight", "layers.0.self_attn.q_proj.weight"], "a text encoder (load it with Load CLIP)"),
        (["double_blocks.0.img_attn.qkv.weight"], DIFFUSION_MODEL),
        (["lora_controlnet", "input_blocks.1.0.in_layers.2.up"], "a Control-LoRA (load it with Load ControlNet Model)"),
        (["controlnet_blocks.0.weight", "controlnet_mode_embedder.weight"], f"a union ControlNet ({UNION})"),
        (["task_embedding", "controlnet_mid_block.bias"], f"a union ControlNet ({UNION})"),
        (
            ["control_blocks.0.after_proj.weight", "control_img_in.weight"],
            "a ControlNet (load it with Load ControlNet Model)",
        ),
        (["body.0.block2.weight", "conv_in.weight"], "a T2I-Adapter (load it with Load ControlNet Model)"),
        (["ip_adapter.1.to_k_ip.weight"], "an IP-Adapter (it needs a node pack for IP-Adapters)"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "a text encoder (load it with Load CLIP)"),
        (["foo", "bar"], "a file of 2 tensors such as bar, foo"),
    ],
)
def test_files_are_described(names, expected):
    assert str(kind_of(names)) == expected


@pytest.mark.parametrize(
    ("names", "what", "remedy"),
    [
        (["lora_unet_a.lora_up.weight", "lora_unet_a.alpha"], "a LoRA", "models/loras"),
        (["lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight"], "LLLite", "by kohya"),
        (
            ["lllite_conditioning1.conv1.weight", "lllite_dit_blocks_0_mlp_layer1.down.weight"],
            "Anima",
            "models/model_patches",
        ),
        (["controlnet_blocks.0.y_rms.weight", "img_in.weight"], "DiffSynth", "models/model_patches"),
        (["control_all_x_embedder.2-1.weight", "control_layers.0.x"], "Z-Image", "models/model_patches"),
        (
            ["controlnet_patch_embedding.weight", "controlnet_blocks.0.norm1.linear.weight"],
            "Uni3C",
            "models/model_patches",
        ),
        # The names of one for Qwen-Image, which has no weights for its MLPs.
        (
            ["control_blocks.0.img_mlp.out.weight", "control_blocks.0.after_proj.weight", "control_img_in.weight"],
            "Qwen-Image 2.1 Fun",
            "models/model_patches",
        ),
        (["control_proj_in.weight", "control_blocks.0.after_proj.weight"], "MiniMax-H3 Fun", "models/model_patches"),
        # Names of FLUX.2-dev-Fun-Controlnet-Union.
        (
            ["control_img_in.weight", "control_transformer_blocks.0.after_proj.weight"],
            "a FLUX.2 Fun ControlNet",
            "comfyui-flux2fun-controlnet",
        ),
        (
            ["audio_proj.proj1.weight", "blocks.0.audio_cross_attn.proj.weight"],
            "MultiTalk",
            "models/model_patches",
        ),
        (["duration_head.attention_pooler.query_tokens"], "LTX duration head", "models/model_patches"),
        (["feature_embedder.mid_layer_norm.bias"], "USO", "models/model_patches"),
        (["control_model.input_hint_block.0.weight", "project_modules.0.x"], "SUPIR", "models/model_patches"),
        (["model.diffusion_model.x.weight"], "a full checkpoint", "Load Checkpoint"),
        (["decoder.up.0.weight"], "a VAE", "Load VAE"),
        (["a", "b"], "a file of 2 tensors", "Choose a ControlNet"),
        (["difference", "control_model.zero_convs.0.0.weight"], "the difference", "DiffControlNetLoader"),
        (["image_proj", "ip_adapter"], "an IP-Adapter", "node pack for IP-Adapters"),
        (
            ["image_proj.x", "ip_adapter.0.to_q_lora.down.weight", "ip_adapter.0.to_q_lora.up.weight"],
            "an IP-Adapter",
            "pack",
        ),
        (["ip_adapter_proj_model.norm.bias", "double_blocks.0.processor.k_proj.weight"], "an IP-Adapter", "pack"),
        (
            ["controlnet_down_blocks.0.weight", "down_blocks.0.motion_modules.0.x"],
            "a SparseCtrl",
            "Advanced-ControlNet",
        ),
        (
            ["controlnet_cond_embedding.conv_in.weight", "mid_block.resnets.0.spatial_res_block.conv1.weight"],
            "Video",
            "Advanced",
        ),
    ],
)
def test_what_is_no_controlnet_is_refused_with_the_node_that_wants_it(names, what, remedy):
    with pytest.raises(ValueError, match="wrong.safetensors is not a ControlNet; it is") as refusal:
        check_control_file("wrong.safetensors", names)
    assert what in str(refusal.value) and remedy in str(refusal.value)


@pytest.mark.parametrize(
    ("names", "version", "told"),
    [
        (
            ["control_all_x_embedder.2-1.weight"],
            "0.3.75",
            "That needs ComfyUI 0.4.0 or newer; this is 0.3.75, so update it.",
        ),
        (["control_all_x_embedder.2-1.weight"], "0.4.0", ""),
        (["controlnet_patch_embedding.weight"], "0.28.3", "That needs ComfyUI 0.29.0 or newer"),
        (["controlnet_patch_embedding.weight"], "0.29.0", ""),
        (["control_blocks.0.img_mlp.out.weight"], "0.33.0", "That needs ComfyUI newer than 0.33.1; this is 0.33.0"),
        (["control_blocks.0.img_mlp.out.weight"], "0.36.0", ""),
        (["controlnet_blocks.0.y_rms.weight"], "0.3.75", ""),
    ],
)
def test_a_version_that_is_too_old_for_a_file_is_told(names, version, told):
    with pytest.raises(ValueError, match="model_patches") as refusal:
        check_control_file("wrong.safetensors", names, version)
    assert told in str(refusal.value) and ("That needs" in str(refusal.value)) == bool(told)


@pytest.mark.parametrize(
    "names",
    [
        ["lora_controlnet", "zero_convs.0.0.weight"],
        ["control_model.zero_convs.0.0.weight", "model.diffusion_model.out.0.weight"],
        ["controlnet_cond_embedding.conv_in.weight"],
        ["controlnet_blocks.0.weight", "double_blocks.0.img_attn.norm.key_norm.scale"],
        ["adapter.body.0.resnets.0.block1.weight"],
        ["after_proj_list.18.bias"],
    ],
)
def test_everything_that_gives_a_control_net_is_taken(names):
    assert check_control_file("right.safetensors", names).is_control


def test_models_of_no_family_are_taken_for_something_else():
    for family in families():
        names = [f"{row.comfy}.weight" for row in family.weights]
        names += [*family.marks]
        assert not is_adapter(names), family.name
        assert str(kind_of(names)) == DIFFUSION_MODEL, family.name


@pytest.mark.parametrize(
    ("rows", "expected"), [(7, "as for Chroma, Flux.1, HunyuanImage 2.1 or HunyuanVideo"), (9, "as for FLUX.2")]
)
def test_sizes_tell_families_of_the_same_names_apart(rows, expected):
    """linear1 holds query, key, value and an MLP of four times, or of six times, the width."""
    layer = "diffusion_model.single_blocks.0.linear1"
    tensors = {f"{layer}.lora_A.weight": torch.ones(2, 8), f"{layer}.lora_B.weight": torch.ones(8 * rows, 2)}
    assert expected in naming(tensors)


@pytest.mark.parametrize("mark", ["oft_R.weight", "oft_blocks", "boft_R", "hra_u", "vera_lambda_d"])
def test_adapters_of_peft_are_recognised(mark):
    assert is_adapter([f"base_model.model.blocks.0.self_attn.q.{mark}"])
