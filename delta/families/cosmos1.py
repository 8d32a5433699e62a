"""Cosmos 1."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "Cosmos 1",
    marks=("affline_norm.weight", "final_layer.adaLN_modulation.2.weight"),
    foreign=(
        "time_embed.t_embedder.linear_1.weight",
        "transformer_blocks.0.norm3.linear_1.weight",
        "patch_embed.proj.weight",
    ),
    weights=(
        *own(
            "affline_norm",
            "blocks.block0.blocks.#.adaLN_modulation.{1,2}",
            "blocks.block0.blocks.#.block.attn.{to_k,to_q}.{0,1}",
            "blocks.block0.blocks.#.block.attn.{to_out,to_v}.0",
            "blocks.block0.blocks.#.block.{layer1,layer2}",
            "blocks.block1.blocks.#.adaLN_modulation.{1,2}",
            "blocks.block1.blocks.#.block.attn.{to_k,to_q}.{0,1}",
            "blocks.block1.blocks.#.block.attn.{to_out,to_v}.0",
            "blocks.block1.blocks.#.block.{layer1,layer2}",
            "extra_pos_embedder.{pos_emb_h,pos_emb_t,pos_emb_w}",
            "final_layer.adaLN_modulation.{1,2}",
            "final_layer.linear",
            "t_embedder.1.{linear_1,linear_2}",
            "x_embedder.proj.1",
        ),
    ),
    bare=("extra_pos_embedder.{pos_emb_h,pos_emb_t,pos_emb_w}",),
    host=HostModel(
        "CosmosT2V",
        {
            "image_model": "cosmos",
            "max_img_h": 240,
            "max_img_w": 240,
            "max_frames": 128,
            "in_channels": 16,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": 4096,
            "block_config": "FA-CA-MLP",
            "concat_padding_mask": True,
            "pos_emb_cls": "rope3d",
            "pos_emb_learnable": False,
            "pos_emb_interpolation": "crop",
            "block_x_format": "THWBD",
            "affline_emb_norm": True,
            "use_adaln_lora": True,
            "adaln_lora_dim": 256,
            "num_blocks": 2,
            "num_heads": 32,
            "extra_per_block_abs_pos_emb": True,
            "rope_h_extrapolation_ratio": 1.0,
            "rope_w_extrapolation_ratio": 1.0,
            "rope_t_extrapolation_ratio": 2.0,
            "extra_per_block_abs_pos_emb_type": "learnable",
        },
    ),
)
