"""Cosmos Predict 2."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "Cosmos Predict 2",
    marks=("blocks.0.adaln_modulation_self_attn.1.weight", "x_embedder.proj.1.weight"),
    lacks=("llm_adapter.out_proj.weight",),
    foreign=(
        "time_embed.t_embedder.linear_1.weight",
        "transformer_blocks.0.norm3.linear_1.weight",
        "patch_embed.proj.weight",
    ),
    weights=(
        *own(
            "blocks.#.{adaln_modulation_cross_attn,adaln_modulation_mlp,adaln_modulation_self_attn}.{1,2}",
            "blocks.#.{cross_attn,self_attn}.{k_norm,k_proj,output_proj,q_norm,q_proj,v_proj}",
            "blocks.#.mlp.{layer1,layer2}",
            "final_layer.adaln_modulation.{1,2}",
            "final_layer.linear",
            "t_embedder.1.{linear_1,linear_2}",
            "t_embedding_norm",
            "x_embedder.proj.1",
        ),
    ),
    host=HostModel(
        "CosmosT2IPredict2",
        {
            "image_model": "cosmos_predict2",
            "max_img_h": 240,
            "max_img_w": 240,
            "max_frames": 128,
            "in_channels": 16,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": 2048,
            "concat_padding_mask": True,
            "crossattn_emb_channels": 1024,
            "pos_emb_cls": "rope3d",
            "pos_emb_learnable": True,
            "pos_emb_interpolation": "crop",
            "min_fps": 1,
            "max_fps": 30,
            "use_adaln_lora": True,
            "adaln_lora_dim": 256,
            "num_blocks": 2,
            "num_heads": 16,
            "extra_per_block_abs_pos_emb": False,
            "rope_h_extrapolation_ratio": 4.0,
            "rope_w_extrapolation_ratio": 4.0,
            "rope_t_extrapolation_ratio": 1.0,
            "extra_h_extrapolation_ratio": 1.0,
            "extra_w_extrapolation_ratio": 1.0,
            "extra_t_extrapolation_ratio": 1.0,
            "rope_enable_fps_modulation": False,
        },
    ),
)
