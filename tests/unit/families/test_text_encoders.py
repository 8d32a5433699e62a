"""Names of the layers of language models that encode text."""

from delta.families.text_encoders import language_model_names, same_language_model

WEIGHT = "qwen25_7b.transformer.model.layers.27.self_attn.q_proj.weight"


def test_a_language_model_has_the_names_of_kohya_comfyui_and_peft():
    assert language_model_names([WEIGHT, "logit_scale", "qwen25_7b.transformer.visual.blocks.0.attn.qkv.weight"]) == {
        "lora_te_layers_27_self_attn_q_proj": WEIGHT,
        "text_encoders.transformer.model.layers.27.self_attn.q_proj": WEIGHT,
        "text_encoder.layers.27.self_attn.q_proj": WEIGHT,
        "text_encoder.model.layers.27.self_attn.q_proj": WEIGHT,
    }


def test_no_language_model_or_two_have_no_more_names():
    assert language_model_names(["clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"]) == {}
    assert language_model_names([WEIGHT, WEIGHT.replace("qwen25_7b", "llama")]) == {}


def test_names_of_kohya_are_those_of_the_one_encoder_that_others_name():
    own = "text_encoders.gemma2_2b.transformer.model.layers.0."
    kohya = ["lora_te_layers_0_self_attn_q_proj", "lora_te_layers_0_mlp_down_proj", "lora_te_layers_0_input_layernorm"]
    assert same_language_model([own + "mlp.up_proj", *kohya, "lora_te_layers_0_strange"]) == dict(
        zip(kohya, (own + "self_attn.q_proj", own + "mlp.down_proj", own + "input_layernorm"))
    )
    assert same_language_model(kohya) == {}
    two = [own + "mlp.up_proj", own.replace("gemma2_2b", "llama") + "mlp.up_proj"]
    assert same_language_model([*two, *kohya]) == {}
