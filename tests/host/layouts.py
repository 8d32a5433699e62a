"""The one table of small models for all tests: every family that the supported hosts know, made by their own classes.

Widths are reduced and there are two blocks of every kind, so that a model has every key and every kind of block. Where
a host is older than a field of a configuration, `fields` decides what becomes of it, from the network's signature.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

if TYPE_CHECKING:
    from comfy.model_base import BaseModel
    from comfy.model_patcher import ModelPatcher

CONTEXT_DIM = 64
# The width of a U-Net. At 32, the least, a group of GroupNorm is one channel, and biases before it have no effect.
CHANNELS = 64
POOLED_OF_FLUX = 48
# Sentences for `since`.
NEWER = "This host is older than the family."
NEWER_VARIANT = "This host is older than this variant of the family."
# Sentences for `only_meta`.
OF_ANOTHER = "Its weights have the names of another layout in the table."
FIXED = "It has widths that no configuration changes, and tens of megabytes."


@dataclass(frozen=True)
class Layout:
    """One layout: a class of comfy.supported_models and a small configuration for it."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    # What only newer hosts ask for or know, and what changes no weight: given to those that know it.
    newer: Mapping[str, Any] = field(default_factory=dict)
    # The fields of `config` that make the layout what it is: a host that does not know them does not have it.
    needs: tuple[str, ...] = ()
    # None where every supported host has the layout, else a sentence for a host that has not.
    since: str | None = None
    # None where the model is small, else a sentence why tests should not give it memory.
    only_meta: str | None = None
    # For sampling, where tests do: the latent's shape, and the width of the pooled text.
    latent: tuple[int, ...] | None = None
    pooled: int | None = None


# fmt: off
UNET = {
    "use_checkpoint": False, "image_size": 32, "in_channels": 4, "out_channels": 4, "use_spatial_transformer": True,
    "context_dim": CONTEXT_DIM, "legacy": False, "use_temporal_attention": False, "use_temporal_resblock": False,
}
SD15 = UNET | {
    "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1, "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "use_linear_in_transformer": False, "adm_in_channels": None,
}
SD20 = SD15 | {"use_linear_in_transformer": True}
UNCLIP = SD20 | {"num_classes": "sequential"}
SDXL = UNET | {
    "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 2, 2, 3, 3],
    "transformer_depth_middle": 3, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 3, 3, 3],
    "use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": 2816,
}
REFINER = SD20 | {
    "num_classes": "sequential", "adm_in_channels": 2560, "transformer_depth": [0, 0, 2, 2, 2, 2, 0, 0],
    "transformer_depth_middle": 2, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0],
}
KOALA = SDXL | {"num_res_blocks": [1, 1, 1], "transformer_depth": [0, 2, 3]}
SVD = SD20 | {
    "in_channels": 8, "num_classes": "sequential", "adm_in_channels": 768, "extra_ff_mix_layer": True,
    "use_spatial_context": True, "merge_strategy": "learned_with_images", "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1], "use_temporal_resblock": True, "use_temporal_attention": True,
    "disable_temporal_crossattention": False,
}
# Blocks of the middle: -1 is one residual block without attention, -2 none at all.
ONE_RESIDUAL, NO_MIDDLE = {"transformer_depth_middle": -1}, {"transformer_depth_middle": -2}
CASCADE_C = {
    "stable_cascade_stage": "c", "c_cond": 64, "c_hidden": [64, 64], "nhead": [2, 2], "blocks": [[2, 2], [2, 2]],
    "c_clip_text": 64, "c_clip_text_pooled": 64, "c_clip_img": 32,
}
CASCADE_B = {
    "stable_cascade_stage": "b", "c_cond": 64, "c_hidden": [32, 48, 64, 64], "nhead": [-1, -1, 2, 2],
    "blocks": [[2, 2, 2, 2], [2, 2, 2, 2]], "block_repeat": [[1, 1, 1, 1], [3, 3, 2, 2]], "c_clip": 64,
}
# The width is 64 times the depth.
SD3 = {
    "in_channels": 16, "patch_size": 2, "depth": 2, "input_size": None, "num_patches": None, "pos_embed_max_size": 8,
    "adm_in_channels": 48,
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": CONTEXT_DIM, "out_features": 128},
    },
}
AUDIO = {
    "audio_model": "dit1.0", "io_channels": 64, "embed_dim": 64, "cond_token_dim": 64, "global_cond_dim": 1536,
    "project_cond_tokens": False, "input_concat_dim": 0, "depth": 2, "num_heads": 2,
}
AUDIO_3 = AUDIO | {
    "global_cond_dim": 768, "num_memory_tokens": 4, "norm_type": "rms_norm", "local_add_cond_dim": 65,
    "attn_kwargs": {"qk_norm": "rms", "differential": True}, "global_cond_shared_embed": True,
    "global_cond_type": "adaLN", "timestep_features_type": "expo",
}
PIXART = {
    "image_model": "pixart_sigma", "num_heads": 2, "patch_size": 2, "hidden_size": 64, "in_channels": 4, "depth": 2,
    "caption_channels": CONTEXT_DIM, "model_max_length": 8, "input_size": 16, "pe_interpolation": 2,
    "micro_condition": False,
}
HYDIT = {
    "image_model": "hydit", "depth": 4, "hidden_size": 64, "num_heads": 2, "text_states_dim": CONTEXT_DIM,
    "text_states_dim_t5": CONTEXT_DIM,
}
FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": POOLED_OF_FLUX,
    "context_in_dim": CONTEXT_DIM, "hidden_size": 64, "mlp_ratio": 4.0, "num_heads": 2, "depth": 2,
    "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 10000, "patch_size": 2, "qkv_bias": True,
    "guidance_embed": True,
}
NO_IDS = {"txt_ids_dims": []}
TEXT_IDS = {"txt_ids_dims": [1, 2]}
FLUX2 = FLUX | {
    "image_model": "flux2", "vec_in_dim": None, "mlp_ratio": 3.0, "axes_dim": [8, 8, 8, 8], "theta": 2000,
    "patch_size": 1, "qkv_bias": False, "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
    "default_ref_method": "index", "ref_index_scale": 10.0,
}
WITHOUT_POOLED = FLUX | {"vec_in_dim": None, "guidance_embed": False}
OVIS = WITHOUT_POOLED | {"yak_mlp": True, "txt_norm": True}
CHROMA = {name: value for name, value in FLUX.items() if name not in ("vec_in_dim", "guidance_embed")} | {
    "image_model": "chroma", "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 64, "hidden_dim": 64,
    "n_layers": 5,
}
NO_VECTOR = NO_IDS | {"vec_in_dim": None}
RADIANCE = CHROMA | {
    "image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3, "patch_size": 4, "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 4, "nerf_depth": 2, "nerf_max_freqs": 8, "nerf_tile_size": 512, "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": torch.float32,
}
NO_X0 = NO_VECTOR | {"use_x0": False, "use_sequential_txt_ids": False}
LENS = {
    "image_model": "lens", "in_channels": 128, "out_channels": 32, "num_layers": 2, "num_attention_heads": 2,
    "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12), "enc_hidden_dim": CONTEXT_DIM,
    "multi_layer_encoder_feature": True, "selected_layer_index": (0, 1),
}
# The host insists on the true width of the feed-forward layers.
MOCHI = {
    "image_model": "mochi_preview", "depth": 2, "patch_size": 2, "num_heads": 2, "hidden_size_x": 32,
    "hidden_size_y": 32, "mlp_ratio_x": 384.0, "mlp_ratio_y": 4.0, "learn_sigma": False, "in_channels": 12,
    "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0, "patch_embed_bias": True,
    "posenc_preserve_area": True, "timestep_mlp_bias": True, "attend_to_padding": False, "timestep_scale": 1000.0,
    "use_t5": True, "t5_feat_dim": CONTEXT_DIM, "t5_token_length": 8, "rope_theta": 10000.0,
}
LTX = {
    "image_model": "ltxv", "in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32,
    "num_attention_heads": 2, "caption_channels": CONTEXT_DIM, "num_layers": 2,
}
LTX2 = LTX | {
    "image_model": "ltxav", "audio_in_channels": 128, "audio_cross_attention_dim": 32, "audio_attention_head_dim": 16,
    "audio_num_attention_heads": 2, "connector_attention_head_dim": 32, "connector_num_attention_heads": 2,
}
LTX23 = LTX2 | {
    "apply_gated_attention": True, "cross_attention_adaln": True, "caption_proj_before_connector": True,
    "caption_projection_first_linear": False, "connector_apply_gated_attention": True,
    "audio_connector_attention_head_dim": 16,
}
MINIMAX_H3 = {
    "image_model": "minimax_h3", "hidden_size": 64, "num_layers": 2, "token_refiner_num_layers": 2,
    "num_attention_heads": 2, "attention_head_dim": 32, "ffn_hidden_size": 128, "text_dim": CONTEXT_DIM,
    "time_embed_hidden_size": 64, "time_embed_dim": 32, "rope_inv_freq_len": 4,
}
HUNYUAN_VIDEO = {
    "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "patch_size": [1, 2, 2], "vec_in_dim": 32,
    "context_in_dim": CONTEXT_DIM, "hidden_size": 64, "mlp_ratio": 4.0, "num_heads": 2, "depth": 2,
    "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 256, "qkv_bias": True, "guidance_embed": True,
    "byt5": False, "meanflow": False, "use_cond_type_embedding": False, "vision_in_dim": None,
}
NO_SUM = {"meanflow_sum": False}
HUNYUAN_VIDEO_15 = HUNYUAN_VIDEO | {
    "in_channels": 65, "out_channels": 32, "patch_size": [1, 1, 1], "vec_in_dim": None, "depth_single_blocks": 0,
    "guidance_embed": False, "use_cond_type_embedding": True, "vision_in_dim": 32,
}
HUNYUAN_IMAGE = HUNYUAN_VIDEO | {
    "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [16, 16], "vec_in_dim": None,
    "guidance_embed": False,
}
BYT5 = {"byt5": True}
COSMOS = {
    "max_img_h": 32, "max_img_w": 32, "max_frames": 16, "in_channels": 16, "out_channels": 16, "patch_spatial": 2,
    "patch_temporal": 1, "model_channels": 64, "num_blocks": 2, "num_heads": 2, "concat_padding_mask": True,
    "crossattn_emb_channels": CONTEXT_DIM, "pos_emb_cls": "rope3d", "pos_emb_interpolation": "crop",
    "use_adaln_lora": True, "adaln_lora_dim": 32,
}
COSMOS_1 = COSMOS | {
    "image_model": "cosmos", "block_config": "FA-CA-MLP", "block_x_format": "THWBD", "affline_emb_norm": True,
    "pos_emb_learnable": False, "extra_per_block_abs_pos_emb": True, "extra_per_block_abs_pos_emb_type": "learnable",
    "rope_t_extrapolation_ratio": 2.0,
}
COSMOS_PREDICT2 = COSMOS | {
    "image_model": "cosmos_predict2", "pos_emb_learnable": True, "min_fps": 1, "max_fps": 30,
    "extra_per_block_abs_pos_emb": False, "rope_h_extrapolation_ratio": 4.0, "rope_w_extrapolation_ratio": 4.0,
    "rope_enable_fps_modulation": False,
}
LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 72, "cap_feat_dim": CONTEXT_DIM,
    "n_layers": 2, "n_heads": 3, "n_kv_heads": 1, "qk_norm": True, "axes_dims": [8, 8, 8],
    "axes_lens": [300, 512, 512],
}
# The modulation of Z-Image is 256 wide, so its width cannot be less.
Z_IMAGE = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 256, "n_layers": 2, "n_refiner_layers": 1,
    "n_heads": 4, "n_kv_heads": 4, "axes_dims": (16, 24, 24), "axes_lens": (64, 64, 64), "rope_theta": 256.0,
    "qk_norm": True, "cap_feat_dim": CONTEXT_DIM, "ffn_dim_multiplier": 1.0, "z_image_modulation": True,
    "time_scale": 1000.0, "pad_tokens_multiple": 32,
}
Z_IMAGE_PIXEL = Z_IMAGE | {
    "image_model": "zimage_pixel", "patch_size": 4, "in_channels": 3, "decoder_in_channels": 48,
    "decoder_hidden_size": 32, "decoder_num_res_blocks": 2, "decoder_max_freqs": 8,
}
PIXELDIT = {
    "image_model": "pixeldit_t2i", "num_groups": 2, "hidden_size": 64, "pixel_hidden_size": 4,
    "pixel_attn_hidden_size": 64, "pixel_num_groups": 2, "patch_depth": 2, "pixel_depth": 2, "patch_size": 16,
    "txt_embed_dim": CONTEXT_DIM, "txt_max_length": 8,
}
PID = PIXELDIT | {"image_model": "pid", "lq_hidden_dim": 16, "lq_interval": 1, "lq_latent_channels": 16}
PID_15 = PID | {"lq_conv_padding_mode": "replicate", "lq_gate_per_token": True, "pit_lq_inject": True}
WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "in_dim": 16, "out_dim": 16, "dim": 48, "ffn_dim": 128,
    "freq_dim": 256, "text_dim": CONTEXT_DIM, "num_heads": 2, "num_layers": 2,
}
# Its picture embedding is 1280 wide.
WAN_I2V = WAN | {"model_type": "i2v", "in_dim": 36}
TRELLIS2 = {
    "image_model": "trellis2", "resolution": 64, "init_txt_model": True, "txt_only": False, "num_blocks": 2,
    "model_channels": 64, "num_heads": 2, "cond_channels": CONTEXT_DIM,
}
PROJECTED = {
    f"{field}_{part}": value
    for part in ("shape", "texture", "structure")
    for field, value in {"image_attn_mode": "proj", "proj_in_channels": 48}.items()
}
HUNYUAN_3D = {
    "image_model": "hunyuan3d2", "in_channels": 64, "context_in_dim": CONTEXT_DIM, "hidden_size": 64,
    "mlp_ratio": 4.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "qkv_bias": True, "guidance_embed": False,
}
# Half of the layers skip to the other half, and the last two are mixtures of experts.
HUNYUAN_3D_21 = {
    "image_model": "hunyuan3d2_1", "in_channels": 64, "context_dim": CONTEXT_DIM, "hidden_size": 64, "num_heads": 2,
    "depth": 5, "qkv_bias": False, "guidance_cond_proj_dim": None, "num_moe_layers": 2, "num_experts": 2,
}
TRIPOSPLAT = {
    "image_model": "triposplat", "q_token_length": 16, "model_channels": 64, "cond_channels": CONTEXT_DIM,
    "cond2_channels": 32, "num_head_channels": 32, "num_blocks": 2, "num_refiner_blocks": 2,
}
HIDREAM_I1 = {
    "image_model": "hidream", "attention_head_dim": 32, "axes_dims_rope": [16, 8, 8], "caption_channels": [64, 64],
    "max_resolution": [128, 128], "in_channels": 16, "llama_layers": [0, 1, 2, 3], "num_attention_heads": 2,
    "num_routed_experts": 2, "num_activated_experts": 2, "num_layers": 2, "num_single_layers": 2, "out_channels": 16,
    "patch_size": 2, "text_emb_dim": 48,
}
HIDREAM_O1 = {
    "image_model": "hidream_o1",
    "text_config_overrides": {
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "rope_dims": [6, 5, 5],
    },
    "vision_config_overrides": {
        "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "depth": 2, "num_position_embeddings": 64,
        "deepstack_visual_indexes": (0, 1),
    },
}
# The first two blocks keep weights for video and for text, the others share them.
SEEDVR2 = {
    "image_model": "seedvr2", "vid_dim": 64, "txt_in_dim": 96, "heads": 2, "head_dim": 32, "rope_dim": 32,
    "num_layers": 4, "mm_layers": 2, "norm_eps": 1e-5, "mlp_type": "swiglu", "vid_out_norm": True,
}
# The host tells this size by its width.
SEEDVR2_7B = {
    "image_model": "seedvr2", "vid_dim": 3072, "heads": 24, "num_layers": 2, "mm_layers": 2, "norm_eps": 1e-5,
    "rope_type": "rope3d", "rope_dim": 64, "mlp_type": "normal",
}
ACE_STEP = {
    "audio_model": "ace", "attention_head_dim": 32, "in_channels": 8, "inner_dim": 64, "max_height": 16,
    "max_position": 64, "max_width": 64, "mlp_ratio": 2.5, "num_attention_heads": 2, "num_layers": 2,
    "out_channels": 8, "patch_size": [16, 1], "rope_theta": 1000000.0, "speaker_embedding_dim": 32,
    "text_embedding_dim": CONTEXT_DIM, "ssl_encoder_depths": [8, 8], "ssl_latent_dims": [64, 48],
    "ssl_names": ["mert", "m-hubert"], "lyric_encoder_vocab_size": 64, "lyric_hidden_size": 1024,
}
ACE_STEP_15 = {
    "audio_model": "ace1.5", "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "num_kv_heads": 1,
    "head_dim": 32, "encoder_hidden_size": 64, "encoder_num_heads": 2, "encoder_intermediate_size": 128,
    "text_hidden_dim": CONTEXT_DIM, "num_dit_layers": 2, "num_lyric_layers": 2, "num_timbre_layers": 2, "fsq_dim": 64,
}
OMNIGEN2 = {
    "image_model": "omnigen2", "axes_dim_rope": [8, 12, 12], "axes_lens": [64, 64, 64], "ffn_dim_multiplier": None,
    "hidden_size": 64, "in_channels": 16, "multiple_of": 32, "norm_eps": 1e-5, "num_attention_heads": 2,
    "num_kv_heads": 1, "num_layers": 2, "num_refiner_layers": 2, "out_channels": None, "patch_size": 2,
    "text_feat_dim": CONTEXT_DIM, "timestep_scale": 1000.0,
}
BOOGU = {name: value for name, value in OMNIGEN2.items() if name != "text_feat_dim"} | {
    "image_model": "boogu", "num_layers": 4, "num_double_stream_layers": 2, "instruction_feat_dim": CONTEXT_DIM,
}
IDEOGRAM4 = {
    "image_model": "ideogram4", "in_channels": 128, "num_layers": 2, "num_attention_heads": 2,
    "attention_head_dim": 32, "intermediate_size": 128, "adaln_dim": 32, "llm_features_dim": CONTEXT_DIM,
    "mrope_section": (6, 5, 5),
}
KREA2 = {
    "image_model": "krea2", "features": 256, "channels": 16, "patch": 2, "layers": 2, "heads": 2, "kvheads": 1,
    "txtlayers": 2, "txtdim": CONTEXT_DIM, "txtheads": 2, "txtkvheads": 2,
}
QWEN = {
    "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 32,
    "num_attention_heads": 2, "joint_attention_dim": CONTEXT_DIM, "axes_dims_rope": (8, 12, 12),
}
QWEN_21 = {
    "image_model": "qwen_image21", "in_channels": 64, "out_channels": 64, "num_layers": 2, "attention_head_dim": 32,
    "num_attention_heads": 2, "context_in_dim": CONTEXT_DIM, "axes_dims_rope": (8, 12, 12),
}
MAGE_FLOW = QWEN | {"image_model": "mage_flow", "in_channels": 128, "out_channels": 128}
JOYIMAGE = {
    "image_model": "joyimage", "in_channels": 16, "hidden_size": 64, "patch_size": [1, 2, 2], "num_layers": 2,
    "num_attention_heads": 2, "text_dim": CONTEXT_DIM, "rope_dim_list": [8, 12, 12],
}
KANDINSKY5 = {
    "image_model": "kandinsky5", "model_dim": 64, "axes_dims": (8, 12, 12), "time_dim": 32, "ff_dim": 128,
    "in_text_dim": CONTEXT_DIM, "in_text_dim2": 48, "visual_embed_dim": 132, "num_text_blocks": 2,
    "num_visual_blocks": 2,
}
ERNIE = {
    "image_model": "ernie", "hidden_size": 64, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 128,
    "text_in_dim": 48, "rope_axes_dim": (8, 12, 12),
}
COGVIDEOX = {
    "image_model": "cogvideox", "num_attention_heads": 3, "attention_head_dim": 64, "time_embed_dim": 32,
    "num_layers": 2, "in_channels": 16, "patch_size": 2, "text_embed_dim": CONTEXT_DIM, "max_text_seq_length": 8,
    "sample_width": 8, "sample_height": 8, "sample_frames": 5, "use_rotary_positional_embeddings": True,
}
LEARNED = {"use_rotary_positional_embeddings": False, "use_learned_positional_embeddings": True}

TABLE = (
    # U-Nets
    Layout("sd15", "SD15", SD15, latent=(1, 4, 16, 16)),
    Layout("sd15_inpaint", "SD15", SD15 | {"in_channels": 9}, only_meta=OF_ANOTHER),
    Layout("sd15_ip2p", "SD15_instructpix2pix", SD15 | {"in_channels": 8}, only_meta=OF_ANOTHER),
    Layout("zero123", "Stable_Zero123", SD15 | {"in_channels": 8}, only_meta=OF_ANOTHER),
    Layout("sd20", "SD20", SD20),
    Layout("sd21_unclip_l", "SD21UnclipL", UNCLIP | {"adm_in_channels": 1536}, only_meta=OF_ANOTHER),
    Layout("sd21_unclip_h", "SD21UnclipH", UNCLIP | {"adm_in_channels": 2048}, only_meta=OF_ANOTHER),
    Layout("lotus_d", "LotusD", SD20 | {"adm_in_channels": 4, "num_head_channels": 64}, only_meta=OF_ANOTHER),
    Layout("sd_x4_upscaler", "SD_X4Upscaler", SD20 | {
        "in_channels": 7, "num_classes": 1000, "channel_mult": [1, 2, 2, 4],
        "transformer_depth": [0, 0, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    }, only_meta=OF_ANOTHER),
    Layout("sdxl", "SDXL", SDXL, latent=(1, 4, 16, 16), pooled=1280),
    Layout("sdxl_ip2p", "SDXL_instructpix2pix", SDXL | {"in_channels": 8}, only_meta=OF_ANOTHER),
    Layout("sdxl_refiner", "SDXLRefiner", REFINER),
    Layout("ssd1b", "SSD1B", SDXL | ONE_RESIDUAL | {"transformer_depth_output": [0, 0, 0, 1, 1, 2, 3, 2, 2]}),
    Layout("segmind_vega", "Segmind_Vega", SDXL | ONE_RESIDUAL, only_meta=OF_ANOTHER),
    Layout("koala_700m", "KOALA_700M", KOALA | NO_MIDDLE | {"transformer_depth_output": [0, 0, 2, 2, 3, 3]}),
    Layout("koala_1b", "KOALA_1B", KOALA | {"transformer_depth_output": [0, 0, 2, 2, 3, 3]}, only_meta=OF_ANOTHER),
    Layout("svd", "SVD_img2vid", SVD),
    Layout("sv3d_u", "SV3D_u", SVD | {"adm_in_channels": 256}, only_meta=OF_ANOTHER),
    Layout("sv3d_p", "SV3D_p", SVD | {"adm_in_channels": 1280}, only_meta=OF_ANOTHER),
    Layout("cascade_c", "Stable_Cascade_C", CASCADE_C),
    Layout("cascade_b", "Stable_Cascade_B", CASCADE_B),
    # Transformers for pictures
    Layout("sd3", "SD3", SD3, latent=(1, 16, 8, 8), pooled=48),
    Layout("sd35_large", "SD3", SD3 | {"qk_norm": "rms"}),
    Layout("sd35_medium", "SD3", SD3 | {"qk_norm": "rms", "x_block_self_attn_layers": [0]}),
    Layout("auraflow", "AuraFlow", {
        "dim": 64, "n_heads": 2, "global_conddim": 64, "cond_seq_dim": CONTEXT_DIM, "max_seq": 64,
        "n_double_layers": 2, "n_layers": 4,
    }),
    Layout("pixart_alpha", "PixArtAlpha", PIXART | {"image_model": "pixart_alpha", "micro_condition": True}),
    Layout("pixart_sigma", "PixArtSigma", PIXART),
    Layout("hunyuan_dit", "HunyuanDiT", HYDIT),
    Layout("hunyuan_dit1", "HunyuanDiT1", HYDIT | {
        "image_model": "hydit1", "size_cond": True, "use_style_cond": True,
    }),
    Layout("flux", "Flux", FLUX, NO_IDS, latent=(1, 16, 8, 8), pooled=POOLED_OF_FLUX),
    Layout("flux_schnell", "FluxSchnell", FLUX | {"guidance_embed": False}, NO_IDS),
    Layout("flux_inpaint", "FluxInpaint", FLUX | {"in_channels": 96}, NO_IDS),
    Layout("flux2_dev", "Flux2", FLUX2, {"txt_ids_dims": [3]}, needs=("global_modulation",)),
    Layout("flux2_klein", "Flux2", FLUX2 | {"guidance_embed": False}, {"txt_ids_dims": [3]}),
    Layout("longcat_image", "LongCatImage", WITHOUT_POOLED, TEXT_IDS, since=NEWER),
    Layout("ovis_image", "FluxSchnell", OVIS, TEXT_IDS, needs=("yak_mlp", "txt_norm"), since=NEWER),
    Layout("chroma", "Chroma", CHROMA, NO_VECTOR),
    Layout("chroma_radiance", "ChromaRadiance", RADIANCE, NO_X0),
    Layout("chroma_radiance_linear", "ChromaRadiance", RADIANCE | {"nerf_final_head_type": "linear"}, NO_X0),
    Layout("lens", "Lens", LENS, since=NEWER),
    Layout("lens_of_one_layer", "Lens", LENS | {
        "multi_layer_encoder_feature": False, "selected_layer_index": (0,),
    }, since=NEWER),
    Layout("lumina", "Lumina2", LUMINA, latent=(1, 16, 8, 8)),
    Layout("newbie", "Lumina2", LUMINA | {"clip_text_dim": 48}, needs=("clip_text_dim",), since=NEWER_VARIANT),
    Layout("z_image", "ZImage", Z_IMAGE, latent=(1, 16, 8, 8)),
    Layout("z_image_omni", "ZImage", Z_IMAGE | {"siglip_feat_dim": 48}, needs=("siglip_feat_dim",),
           since=NEWER_VARIANT),
    Layout("z_image_pixel", "ZImagePixelSpace", Z_IMAGE_PIXEL, since=NEWER_VARIANT),
    Layout("pixeldit", "PixelDiTT2I", PIXELDIT, since=NEWER),
    Layout("pid", "PiD", PID, since=NEWER),
    Layout("pid_15", "PiD", PID_15, since=NEWER),
    Layout("hidream_i1", "HiDream", HIDREAM_I1),
    Layout("hidream_o1", "HiDreamO1", HIDREAM_O1, since=NEWER),
    Layout("omnigen2", "Omnigen2", OMNIGEN2),
    Layout("boogu", "Boogu", BOOGU, since=NEWER),
    Layout("ideogram4", "Ideogram4", IDEOGRAM4, since=NEWER),
    Layout("krea2", "Krea2", KREA2, since=NEWER),
    Layout("qwen", "QwenImage", QWEN, latent=(1, 16, 1, 8, 8)),
    Layout("qwen_layered", "QwenImage", QWEN | {"use_additional_t_cond": True}, needs=("use_additional_t_cond",),
           since=NEWER_VARIANT),
    Layout("qwen_21", "QwenImage21", QWEN_21, latent=(1, 64, 8, 8), since=NEWER),
    Layout("mage_flow", "MageFlow", MAGE_FLOW, since=NEWER),
    Layout("joyimage", "JoyImage", JOYIMAGE, since=NEWER),
    Layout("kandinsky5_image", "Kandinsky5Image", KANDINSKY5 | {"visual_embed_dim": 64}, since=NEWER),
    Layout("ernie_image", "ErnieImage", ERNIE, since=NEWER),
    Layout("hunyuan_image21", "HunyuanImage21", HUNYUAN_IMAGE, NO_SUM),
    Layout("hunyuan_image21_byt5", "HunyuanImage21", HUNYUAN_IMAGE | BYT5, NO_SUM, only_meta=FIXED),
    Layout("hunyuan_image21_distilled", "HunyuanImage21", HUNYUAN_IMAGE | {
        "meanflow": True, "guidance_embed": True,
    }, NO_SUM),
    Layout("hunyuan_image21_refiner", "HunyuanImage21Refiner", HUNYUAN_IMAGE | {
        "in_channels": 128, "patch_size": [1, 1, 1], "axes_dim": [8, 12, 12],
    }, NO_SUM),
    # Transformers for videos
    Layout("mochi", "GenmoMochi", MOCHI),
    Layout("ltx", "LTXV", LTX, latent=(1, 128, 2, 4, 4)),
    Layout("ltx_keyframes", "LTXV", LTX | {"use_keyframes_abs_pos_embedding": True},
           needs=("use_keyframes_abs_pos_embedding",), since=NEWER_VARIANT),
    Layout("ltx2", "LTXAV", LTX2, since=NEWER),
    Layout("ltx2.3", "LTXAV", LTX23, since=NEWER),
    Layout("ltx2_without_biases", "LTXAV", LTX23 | {
        "ff_bias": False, "audio_ff_bias": False, "use_prompt_adaln_single": False,
    }, needs=("ff_bias", "use_prompt_adaln_single"), since=NEWER_VARIANT),
    Layout("minimax_h3", "MiniMaxH3", MINIMAX_H3, since=NEWER),
    Layout("minimax_h3_curve", "MiniMaxH3", MINIMAX_H3 | {"adaln_curve_grid": 16}, since=NEWER),
    Layout("hunyuan_video", "HunyuanVideo", HUNYUAN_VIDEO, NO_SUM),
    Layout("hunyuan_video_i2v", "HunyuanVideoI2V", HUNYUAN_VIDEO | {"in_channels": 33}, NO_SUM),
    Layout("skyreels_i2v", "HunyuanVideoSkyreelsI2V", HUNYUAN_VIDEO | {"in_channels": 32}, NO_SUM),
    Layout("hunyuan_video15", "HunyuanVideo15", HUNYUAN_VIDEO_15, {"meanflow_sum": True}),
    Layout("hunyuan_video15_byt5", "HunyuanVideo15", HUNYUAN_VIDEO_15 | BYT5, {"meanflow_sum": True},
           only_meta=FIXED),
    Layout("hunyuan_video15_sr", "HunyuanVideo15_SR_Distilled", HUNYUAN_VIDEO_15 | {"in_channels": 98},
           {"meanflow_sum": True}),
    Layout("cosmos1_t2v", "CosmosT2V", COSMOS_1),
    Layout("cosmos1_i2v", "CosmosI2V", COSMOS_1 | {"in_channels": 17}),
    Layout("cosmos_predict2", "CosmosT2IPredict2", COSMOS_PREDICT2),
    Layout("cosmos_predict2_i2v", "CosmosI2VPredict2", COSMOS_PREDICT2 | {"in_channels": 17}),
    Layout("anima", "Anima", COSMOS_PREDICT2 | {"image_model": "anima"}, since=NEWER, only_meta=FIXED),
    Layout("wan", "WAN21_T2V", WAN, latent=(1, 16, 2, 8, 8)),
    Layout("wan_causal", "WAN21_CausalAR_T2V", WAN | {"causal_ar": True}, since=NEWER_VARIANT),
    Layout("wan_i2v", "WAN21_I2V", WAN_I2V),
    Layout("wan_flf", "WAN21_I2V", WAN_I2V | {"flf_pos_embed_token_number": 8}),
    Layout("wan_fun_control", "WAN21_FunControl2V", WAN_I2V | {"in_dim": 48, "in_dim_ref_conv": 16}),
    Layout("wan_camera", "WAN21_Camera", WAN | {"model_type": "camera", "in_dim": 32}),
    Layout("wan22_camera", "WAN22_Camera", WAN | {"model_type": "camera_2.2", "in_dim": 36}),
    Layout("wan_vace", "WAN21_Vace", WAN | {"model_type": "vace", "vace_in_dim": 96, "vace_layers": 2}),
    Layout("wan_humo", "WAN21_HuMo", WAN | {"model_type": "humo", "in_dim": 36}, only_meta=FIXED),
    Layout("wan_s2v", "WAN22_S2V", WAN | {
        "model_type": "s2v", "audio_dim": 32, "audio_inject_layers": [0, 1],
    }),
    # Every fifth block meets the face.
    Layout("wan_animate", "WAN22_Animate", WAN_I2V | {"model_type": "animate", "num_layers": 6}, only_meta=FIXED),
    Layout("wan_animate2", "WAN_Animate2", WAN_I2V | {"model_type": "animate2"}, since=NEWER_VARIANT),
    Layout("wan22_5b", "WAN22_T2V", WAN | {"in_dim": 48, "out_dim": 48}),
    Layout("wan_flow_rvs", "WAN21_FlowRVS", WAN | {"model_type": "flow_rvs"}, since=NEWER_VARIANT),
    Layout("wan_scail", "WAN21_SCAIL", WAN_I2V | {"model_type": "scail", "in_dim": 20}, since=NEWER_VARIANT),
    Layout("wan_scail2", "WAN21_SCAIL2", WAN_I2V | {"model_type": "scail2", "in_dim": 20}, since=NEWER_VARIANT),
    Layout("wan_dancer", "WAN22_WanDancer", WAN_I2V | {
        "model_type": "wandancer", "audio_inject_layers": [0, 1],
    }, since=NEWER_VARIANT),
    Layout("kandinsky5", "Kandinsky5", KANDINSKY5, since=NEWER),
    Layout("seedvr2", "SeedVR2", SEEDVR2, since=NEWER),
    Layout("seedvr2_7b", "SeedVR2", SEEDVR2_7B, since=NEWER, only_meta=FIXED),
    Layout("cogvideox", "CogVideoX_T2V", COGVIDEOX, since=NEWER),
    Layout("cogvideox_learned", "CogVideoX_T2V", COGVIDEOX | LEARNED, since=NEWER),
    Layout("cogvideox_i2v", "CogVideoX_I2V", COGVIDEOX | {"in_channels": 32}, since=NEWER),
    Layout("cogvideox15_i2v", "CogVideoX_I2V", COGVIDEOX | {
        "in_channels": 32, "patch_size_t": 2, "ofs_embed_dim": 32,
    }, since=NEWER),
    Layout("cogvideox_inpaint", "CogVideoX_Inpaint", COGVIDEOX | {"in_channels": 48}, since=NEWER),
    # Transformers for sound and for solids
    Layout("stable_audio", "StableAudio", AUDIO, {"timestep_features_type": "learned"}),
    Layout("stable_audio_small", "StableAudio", AUDIO | {
        "timestep_features_type": "learned", "attn_kwargs": {"qk_norm": "ln", "feat_scale": True},
    }, needs=("feat_scale",), since=NEWER_VARIANT),
    Layout("stable_audio_3", "StableAudio3", AUDIO_3, since=NEWER),
    Layout("ace_step", "ACEStep", ACE_STEP, only_meta=FIXED),
    Layout("ace_step15", "ACEStep15", ACE_STEP_15, since=NEWER),
    Layout("minimax_music3", "MiniMaxMusic3", {"audio_model": "minimax_music3"}, since=NEWER, only_meta=FIXED),
    Layout("trellis2", "Trellis2", TRELLIS2, since=NEWER),
    Layout("pixal3d", "Trellis2", TRELLIS2 | PROJECTED, since=NEWER),
    Layout("hunyuan3d2", "Hunyuan3Dv2", HUNYUAN_3D),
    Layout("hunyuan3d2_mini", "Hunyuan3Dv2mini", HUNYUAN_3D, only_meta=OF_ANOTHER),
    Layout("hunyuan3d2_1", "Hunyuan3Dv2_1", HUNYUAN_3D_21),
    Layout("triposplat", "TripoSplat", TRIPOSPLAT, since=NEWER),
)
# fmt: on
LAYOUTS = {layout.name: layout for layout in TABLE}
# Classes of comfy.supported_models that need no layout.
NOT_BUILT = {
    "RT_DETR_v4": "It finds objects in pictures; nothing is sampled with it.",
    "SAM3": "It cuts out objects; nothing is sampled with it.",
    "SAM31": "It cuts out objects; nothing is sampled with it.",
    "DepthAnything3": "It estimates depth; nothing is sampled with it.",
}


def available() -> list[Layout]:
    """The layouts that this host has."""
    return [layout for layout in TABLE if has(layout)]


def has(layout: Layout) -> bool:
    """Whether this host has the layout: its class, and the fields that it needs."""
    from comfy import supported_models

    description = getattr(supported_models, layout.class_name, None)
    if description is None:
        return False
    return known(network(description(dict(layout.config)))).issuperset(layout.needs)


def describe(layout: Layout, config: Mapping[str, Any] | None = None, channels: int = CHANNELS) -> Any:
    """The host's description of the layout, in float32; `channels` is the width of a U-Net.

    `config` replaces the layout's.
    """
    from comfy import supported_models

    description = getattr(supported_models, layout.class_name)
    config = dict(layout.config if config is None else config)
    if "num_res_blocks" in config:
        config["model_channels"] = channels
    config = fields(network(description(config)), config, layout.newer)
    described = description(config)
    # The description puts the true sizes of some families in place of the configuration's.
    described.unet_config.update((name, value) for name, value in config.items() if name in described.unet_config)
    described.set_inference_dtype(torch.float32, None)
    return described


def fields(network: type, config: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration for this host's network: what it knows of `newer`, and None for what it alone asks for."""
    names = known(network)
    parameters = parameters_of(network)
    asked = {f.name for f in dataclasses.fields(parameters) if f.default is dataclasses.MISSING} if parameters else ()
    return dict.fromkeys(asked) | {name: value for name, value in newer.items() if name in names} | dict(config)


def known(network: type) -> set[str]:
    """The names of the fields that a network of the host takes.

    It may take them by its signature, hand further ones on to classes beside it, or collect them in a dataclass.
    """
    taken = dict(inspect.signature(network.__init__).parameters)
    takers = list(network.__mro__)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        takers += [value for value in vars(sys.modules[network.__module__]).values() if isinstance(value, type)]
    return {
        name
        for taker in takers
        if "__init__" in vars(taker) and taker not in (object, torch.nn.Module)
        for name in inspect.signature(taker.__init__).parameters
    }


def parameters_of(network: type) -> type | None:
    """The dataclass that holds a network's parameters, where the host has one beside it."""
    return getattr(sys.modules[network.__module__], f"{network.__name__}Params", None)


def network(description: Any) -> type:
    """The class of the diffusion model that the host would build for its description."""
    from comfy.model_base import BaseModel

    class Found(Exception):
        pass

    signature = inspect.signature(BaseModel.__init__)

    def stop(*args: Any, **options: Any) -> None:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        raise Found(bound.arguments["unet_model"])

    with mock.patch.object(BaseModel, "__init__", stop):
        try:
            description.get_model(checkpoint(description))
        except Found as found:
            return found.args[0]
    raise TypeError(f"{type(description).__name__} builds no diffusion model.")


def checkpoint(description: Any) -> dict[str, torch.Tensor]:
    """What the host takes from a checkpoint to build the model around the network."""
    name = type(description).__name__
    if name == "Stable_Zero123":
        return {"cc_projection.weight": torch.zeros(CONTEXT_DIM, 772), "cc_projection.bias": torch.zeros(CONTEXT_DIM)}
    if not name.startswith("StableAudio"):
        return {}
    from comfy.ldm.audio.embedders import NumberConditioner

    options = {"fourier_features_type": "expo"} if name == "StableAudio3" else {}
    weights = NumberConditioner(768, min_val=0, max_val=512, **options).state_dict()
    return {
        f"conditioner.conditioners.{part}.{key}": torch.full_like(weight, 0.1)
        for part in ("seconds_start", "seconds_total")
        for key, weight in weights.items()
    }


def build(layout: Layout, device: torch.device | None = None, seed: int = 0, description: Any = None) -> ModelPatcher:
    """A model of the layout in float32, on the CPU unless a device is given, with all its weights drawn at random.

    All numbers depend on the name of the weight and on the seed. `description` replaces the layout's.
    """
    from comfy.model_patcher import ModelPatcher

    device = device or torch.device("cpu")
    description = description or describe(layout)
    with torch.no_grad():
        model = description.get_model(checkpoint(description), device=device)
        for name, weight in model.diffusion_model.named_parameters():
            weight.copy_(initial(name, weight.shape, seed))
    return ModelPatcher(model, load_device=device, offload_device=device)


def meta(layout: Layout) -> BaseModel:
    """The host's model of the layout without memory for its weights."""
    description = describe(layout)
    with torch.no_grad():
        try:
            model = description.get_model(checkpoint(description), device=torch.device("meta"))
        except RuntimeError as error:
            # ACE-Step 1.5 reads a number from a tensor while it is built.
            if "meta tensors" not in str(error):
                raise
            model = description.get_model(checkpoint(description), device=torch.device("cpu"))
    # Some networks have weights that do not ask for the device.
    model.diffusion_model.to("meta")
    return model


def normal(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Standard normal numbers that belong to the name and the seed."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}.{name}".encode()))
    return torch.randn(shape, generator=generator)


def initial(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    """Norms near 1, small biases, and matrices that keep the variance."""
    numbers = normal(name, shape, seed)
    if len(shape) > 1:
        return numbers / shape[1:].numel() ** 0.5
    return 0.1 * numbers if name.endswith(".bias") else 1 + 0.1 * numbers
