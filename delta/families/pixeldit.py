"""PixelDiT and PiD."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "PixelDiT",
    marks=("s_embedder.proj.weight", "pixel_embedder.proj.weight"),
    weights=(
        *own(
            "final_layer.{linear,norm}",
            "lq_proj.gate_modules.#.{content_proj,log_alpha}",
            "lq_proj.latent_proj.{0,2}",
            "lq_proj.latent_proj.{3,4,5,6}.block.{0,2,3,5}",
            "lq_proj.output_heads.{0,1}",
            "lq_proj.pit_head",
            "patch_blocks.#.{adaLN_modulation_img,adaLN_modulation_txt}.0",
            "patch_blocks.#.attn.{k_norm_x,k_norm_y,proj_x,proj_y,q_norm_x,q_norm_y,qkv_x,qkv_y}",
            "patch_blocks.#.{mlp_x,mlp_y}.{w1,w2,w3}",
            "patch_blocks.#.{norm_x1,norm_x2,norm_y1,norm_y2}",
            "pit_lq_gate.{content_proj,log_alpha}",
            "pixel_blocks.#.{adaLN_modulation_mlp,adaLN_modulation_msa,compress_to_attn,expand_from_attn,norm1,norm2}",
            "pixel_blocks.#.attn.{k_norm,proj,q_norm,qkv}",
            "pixel_blocks.#.mlp.{fc1,fc2}",
            "{pixel_embedder,s_embedder}.proj",
            "t_embedder.mlp.{0,2}",
            "y_embedder.{norm,proj}",
            "y_pos_embedding",
        ),
    ),
    bare=(
        "lq_proj.gate_modules.#.log_alpha",
        "pit_lq_gate.log_alpha",
        "y_pos_embedding",
    ),
    host=HostModel("PixelDiTT2I", {"image_model": "pixeldit_t2i", "patch_depth": 2}),
    variants=(
        HostModel(
            "PiD",
            {
                "image_model": "pid",
                "lq_hidden_dim": 512,
                "lq_interval": 1,
                "lq_latent_channels": 16,
                "latent_spatial_down_factor": 8,
                "lq_latent_unpatchify_factor": 1,
                "lq_conv_padding_mode": "replicate",
                "lq_gate_per_token": True,
                "pit_lq_inject": True,
                "rope_ref_h": 2048,
                "rope_ref_w": 2048,
            },
        ),
    ),
)
