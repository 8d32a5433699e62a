"""Z-Image, Turbo, Omni and the pixel-space model. Its attention keeps query, key and value in one weight."""

from __future__ import annotations

from .record import LORA_UNET_SPLIT, Family, HostModel, fused, pairs, same

# musubi-tuner and OneTrainer name them so behind `lora_unet_` too, where ComfyUI does not read them.
SPLIT = (
    fused("layers.#.attention.qkv", "layers.#.attention", ("to_q", "to_k", "to_v")),
    *pairs(
        "layers.#",
        "layers.#",
        {
            "attention.out": "attention.to_out.0",
            "attention.q_norm": "attention.norm_q",
            "attention.k_norm": "attention.norm_k",
        },
    ),
    fused("context_refiner.#.attention.qkv", "context_refiner.#.attention", ("to_q", "to_k", "to_v")),
    *pairs(
        "context_refiner.#",
        "context_refiner.#",
        {
            "attention.out": "attention.to_out.0",
            "attention.q_norm": "attention.norm_q",
            "attention.k_norm": "attention.norm_k",
        },
    ),
    fused("noise_refiner.#.attention.qkv", "noise_refiner.#.attention", ("to_q", "to_k", "to_v")),
    *pairs(
        "noise_refiner.#",
        "noise_refiner.#",
        {
            "attention.out": "attention.to_out.0",
            "attention.q_norm": "attention.norm_q",
            "attention.k_norm": "attention.norm_k",
        },
    ),
    fused("siglip_refiner.#.attention.qkv", "siglip_refiner.#.attention", ("to_q", "to_k", "to_v")),
    *pairs(
        "siglip_refiner.#",
        "siglip_refiner.#",
        {
            "attention.out": "attention.to_out.0",
            "attention.q_norm": "attention.norm_q",
            "attention.k_norm": "attention.norm_k",
        },
    ),
)

OUTSIDE = pairs(
    "",
    "",
    {
        "final_layer.linear": "all_final_layer.2-1.linear",
        "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        "x_embedder": "all_x_embedder.2-1",
    },
)

FAMILY = Family(
    "Z-Image",
    marks=("layers.0.adaLN_modulation.0.weight", "layers.0.attention_norm1.weight"),
    weights=(
        *SPLIT,
        *OUTSIDE,
        *same(
            "{cap_embedder,siglip_embedder}.{0,1}",
            "{cap_pad_token,norm_final,siglip_pad_token,x_pad_token}",
            "{context_refiner,layers,noise_refiner,siglip_refiner}.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}",
            "{context_refiner,layers,noise_refiner,siglip_refiner}.#.feed_forward.{w1,w2,w3}",
            "dec_net.cond_embed",
            "dec_net.final_layer.linear",
            "dec_net.input_embedder.embedder.0",
            "dec_net.res_blocks.#.adaLN_modulation.1",
            "dec_net.res_blocks.#.in_ln",
            "dec_net.res_blocks.#.mlp.{0,2}",
            "{layers,noise_refiner}.#.adaLN_modulation.0",
            "t_embedder.mlp.{0,2}",
        ),
    ),
    bare=("{cap_pad_token,siglip_pad_token,x_pad_token}",),
    aliases=(*SPLIT, *OUTSIDE),
    diffusers_prefix="diffusion_model.",
    behind_own=True,
    proportions={
        f"{stack}.#.attention.qkv": 3 for stack in ("layers", "context_refiner", "noise_refiner", "siglip_refiner")
    },
    styles={"musubi-tuner": LORA_UNET_SPLIT},
    host=HostModel(
        "ZImage",
        {
            "image_model": "lumina2",
            "patch_size": 2,
            "in_channels": 16,
            "dim": 3840,
            "cap_feat_dim": 2560,
            "n_layers": 2,
            "qk_norm": True,
            "n_heads": 30,
            "n_kv_heads": 30,
            "axes_dims": [32, 48, 48],
            "axes_lens": [1536, 512, 512],
            "rope_theta": 256.0,
            "ffn_dim_multiplier": 2.6666666666666665,
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
    ),
    variants=(
        HostModel("ZImage", {"siglip_feat_dim": 1152}),
        HostModel(
            "ZImagePixelSpace",
            {
                "image_model": "zimage_pixel",
                "patch_size": 32,
                "in_channels": 3,
                "decoder_in_channels": 3072,
                "decoder_hidden_size": 3840,
                "decoder_num_res_blocks": 2,
                "decoder_max_freqs": 8,
            },
        ),
    ),
)
