"""HiDream I1."""

from __future__ import annotations

from .record import Family, HostModel, same

FAMILY = Family(
    "HiDream",
    marks=("caption_projection.0.linear.weight", "double_stream_blocks.0.block.attn1.to_q.weight"),
    weights=(
        *same(
            "caption_projection.{0,1,2,3,4}.linear",
            "double_stream_blocks.#.block.adaLN_modulation.1",
            "double_stream_blocks.#.block.attn1.{k_rms_norm,k_rms_norm_t,q_rms_norm,q_rms_norm_t,to_k,to_k_t,to_out,to_out_t,to_q,to_q_t,to_v,to_v_t}",
            "double_stream_blocks.#.block.ff_i.experts.#.{w1,w2,w3}",
            "double_stream_blocks.#.block.ff_i.gate",
            "double_stream_blocks.#.block.ff_i.shared_experts.{w1,w2,w3}",
            "double_stream_blocks.#.block.ff_t.{w1,w2,w3}",
            "final_layer.adaLN_modulation.1",
            "final_layer.linear",
            "p_embedder.pooled_embedder.{linear_1,linear_2}",
            "single_stream_blocks.#.block.adaLN_modulation.1",
            "single_stream_blocks.#.block.attn1.{k_rms_norm,q_rms_norm,to_k,to_out,to_q,to_v}",
            "single_stream_blocks.#.block.ff_i.experts.#.{w1,w2,w3}",
            "single_stream_blocks.#.block.ff_i.gate",
            "single_stream_blocks.#.block.ff_i.shared_experts.{w1,w2,w3}",
            "t_embedder.timestep_embedder.{linear_1,linear_2}",
            "x_embedder.proj",
        ),
    ),
    diffusers_prefix="transformer.",
    host=HostModel(
        "HiDream",
        {
            "image_model": "hidream",
            "attention_head_dim": 128,
            "axes_dims_rope": [64, 32, 32],
            "caption_channels": [4096, 4096],
            "max_resolution": [128, 128],
            "in_channels": 16,
            "llama_layers": [0, 1, 2, 3],
            "num_attention_heads": 20,
            "num_routed_experts": 4,
            "num_activated_experts": 2,
            "num_layers": 2,
            "num_single_layers": 2,
            "out_channels": 16,
            "patch_size": 2,
            "text_emb_dim": 2048,
        },
    ),
)
