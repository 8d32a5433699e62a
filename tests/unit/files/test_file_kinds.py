"""Files in the wrong place are named, with the node that wants them."""

import pytest

from delta.files.file_kinds import check_control_file, kind_of

UNION = "load it with Load ControlNet Model, then choose its type with Union Type"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["lora_unet_single_blocks_0_linear1.lora_up.weight"],
            "a LoRA with kohya names (lora_unet_...), as for Flux or HunyuanVideo",
        ),
        (
            ["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"],
            "a LoRA with diffusers/PEFT names (....lora_A), as for Flux",
        ),
        (["model.diffusion_model.x.weight", "cond_stage_model.y"], "a full checkpoint (load it with Load Checkpoint)"),
        (["control_model.input_blocks.0.weight"], "a ControlNet (load it with Load ControlNet Model)"),
        (["decoder.up.0.weight"], "a VAE (load it with Load VAE)"),
        (["double_blocks.0.img_attn.qkv.weight"], "a diffusion model (load it with Load Diffusion Model)"),
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
        (["controlnet_cond_embedding.conv_in.weight", "mid_block.resnets.0.spatial_res_block.x"], "Video", "Advanced"),
    ],
)
def test_what_is_no_controlnet_is_refused_with_the_node_that_wants_it(names, what, remedy):
    with pytest.raises(ValueError, match="wrong.safetensors is no ControlNet but") as refusal:
        check_control_file("wrong.safetensors", names)
    assert what in str(refusal.value) and remedy in str(refusal.value)


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
