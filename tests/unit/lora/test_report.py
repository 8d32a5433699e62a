"""The number of parameters in the report of a LoRA."""

import torch

from delta.lora.file import LoraModel
from delta.lora.report import count_parameters, lora_report, spectra_of

UNET = {
    "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.ones(6, 2),
    "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(2, 4),
    "lora_unet_mid_block_attentions_0_proj_in.alpha": torch.tensor(2.0),
    "lora_unet_mid_block_attentions_0_proj_in.diff_b": torch.ones(6),
}
TEXT = {
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight": torch.ones(3, 1),
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": torch.ones(1, 3),
}


def test_alphas_and_foreign_tensors_do_not_count():
    assert count_parameters(LoraModel(UNET | {"optimizer.state": torch.ones(99)})) == (26, 26)
    assert count_parameters(LoraModel(UNET | TEXT)) == (32, 26)


def test_the_report_compares_with_the_base_model():
    assert "\nparameters: 26\n" in lora_report(LoraModel(UNET))[0]
    assert "\nparameters: 26, 0.26 % of the base model's 10,000\n" in lora_report(LoraModel(UNET), 10_000)[0]
    assert (
        "\nparameters: 32, of which 26 for the diffusion model, 0.26 % of the base model's 10,000\n"
        in lora_report(LoraModel(UNET | TEXT), 10_000)[0]
    )


def test_layers_that_need_their_weight_are_named_beside_the_others():
    name = "lora_unet_mid_block_attentions_0_proj_out"
    dora = {f"{name}.lora_up.weight": torch.ones(4, 1), f"{name}.lora_down.weight": torch.ones(1, 6),
            f"{name}.dora_scale": torch.ones(4, 1)}  # fmt: skip
    report = lora_report(LoraModel(UNET | dora))
    assert "1 low-rank layers" in report[0] and "| middle | 100.0% |" in report[0]
    assert report[0].splitlines()[-1].startswith(f"left out: {name} is DoRA: its update depends on the weight")


def test_layers_are_called_as_the_model_calls_their_weights():
    def part(name: str, rows: int) -> dict[str, torch.Tensor]:
        return {f"{name}.lora_B.weight": torch.rand(rows, 1) + 1, f"{name}.lora_A.weight": torch.rand(1, 4) + 1}

    single = "transformer.single_transformer_blocks.37"
    flux = part(f"{single}.attn.to_q", 4) | part(f"{single}.attn.to_k", 4) | part(f"{single}.proj_mlp", 16)
    flux |= part("transformer.context_embedder", 4) | part("transformer.transformer_blocks.0.norm1.linear", 24)
    encoders = part("text_encoder.text_model.encoder.layers.0.mlp.fc1", 4)
    encoders |= part("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", 4)
    assert {".".join(path) for path in spectra_of(LoraModel(flux | encoders))} == {
        *(f"single.37.linear1.{name}" for name in ("to_q", "to_k", "proj_mlp")),
        *("txt_in", "double.0.img_mod.lin"),
        *(f"text.{name}.layer.0.mlp.fc1" for name in ("clip_l", "clip_g")),
    }
    assert {path[0] for path in spectra_of(LoraModel(part("lora_unet_mystery_0", 4)))} == {"mystery"}
