"""Stable Audio."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "Stable Audio",
    marks=("to_cond_embed.0.weight", "preprocess_conv.weight"),
    foreign=(
        "cross_attention_proj.0.weight",
        "timestep_proj.0.weight",
        "transformer_blocks.0.attn1.to_q.weight",
    ),
    weights=(
        *own(
            "{postprocess_conv,preprocess_conv,timestep_features}",
            "{to_cond_embed,to_global_embed,to_timestep_embed}.{0,2}",
            "transformer.global_cond_embedder.{0,2}",
            "transformer.layers.#.{cross_attend_norm,ff_norm,pre_norm}.gamma",
            "transformer.layers.#.cross_attn.{k_norm,lambda_dc,lambda_hf,q_norm,to_kv,to_out,to_q}",
            "transformer.layers.#.{cross_attn,self_attn}.{k_norm,q_norm}.gamma",
            "transformer.layers.#.ff.ff.0.proj",
            "transformer.layers.#.ff.ff.2",
            "transformer.layers.#.self_attn.{k_norm,lambda_dc,lambda_hf,q_norm,to_out,to_qkv}",
            "transformer.layers.#.to_local_embed.{0,2}",
            "transformer.layers.#.to_scale_shift_gate",
            "transformer.{memory_tokens,project_in,project_out}",
        ),
    ),
    bare=(
        "transformer.layers.#.{cross_attend_norm,ff_norm,pre_norm}.gamma",
        "transformer.layers.#.{cross_attn,self_attn}.{k_norm,q_norm}.gamma",
        "transformer.layers.#.{cross_attn,self_attn}.{lambda_dc,lambda_hf}",
        "transformer.layers.#.to_scale_shift_gate",
        "transformer.memory_tokens",
    ),
    host=HostModel(
        "StableAudio",
        {
            "audio_model": "dit1.0",
            "global_cond_dim": 1536,
            "project_cond_tokens": False,
            "embed_dim": 1536,
            "timestep_features_type": "learned",
            "io_channels": 64,
            "input_concat_dim": 0,
            "depth": 2,
        },
    ),
    variants=(
        HostModel(
            "StableAudio3",
            {
                "timestep_features_type": "expo",
                "io_channels": 256,
                "num_memory_tokens": 64,
                "attn_kwargs": {"qk_norm": "rms", "differential": True},
                "norm_type": "rms_norm",
                "num_heads": 24,
                "local_add_cond_dim": 257,
                "global_cond_shared_embed": True,
                "global_cond_type": "adaLN",
            },
        ),
        HostModel(
            "StableAudio",
            {
                "global_cond_dim": 768,
                "embed_dim": 1024,
                "num_heads": 8,
                "attn_kwargs": {"qk_norm": "ln", "feat_scale": True},
            },
        ),
    ),
)
