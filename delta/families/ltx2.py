"""LTX-2: video and audio in one model."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "LTX-2",
    marks=("audio_patchify_proj.weight", "transformer_blocks.0.audio_attn1.to_q.weight"),
    foreign=(
        "proj_in.weight",
        "time_embed.emb.timestep_embedder.linear_1.weight",
        "caption_projection.linear_1.weight",
        "transformer_blocks.0.attn1.norm_q.weight",
        "audio_proj_in.weight",
    ),
    weights=(
        *own(
            "{adaln_single,audio_adaln_single,audio_prompt_adaln_single,av_ca_a2v_gate_adaln_single,av_ca_audio_scale_shift_adaln_single,av_ca_v2a_gate_adaln_single,av_ca_video_scale_shift_adaln_single,prompt_adaln_single}.emb.timestep_embedder.{linear_1,linear_2}",
            "{adaln_single,audio_adaln_single,audio_prompt_adaln_single,av_ca_a2v_gate_adaln_single,av_ca_audio_scale_shift_adaln_single,av_ca_v2a_gate_adaln_single,av_ca_video_scale_shift_adaln_single,prompt_adaln_single}.linear",
            "{audio_caption_projection,caption_projection}.{linear_1,linear_2}",
            "{audio_embeddings_connector,video_embeddings_connector}.learnable_registers",
            "audio_embeddings_connector.transformer_1d_blocks.#.attn1.{k_norm,q_norm,to_k,to_q,to_v}",
            "audio_embeddings_connector.transformer_1d_blocks.#.attn1.to_out.0",
            "audio_embeddings_connector.transformer_1d_blocks.#.ff.net.0.proj",
            "audio_embeddings_connector.transformer_1d_blocks.#.ff.net.2",
            "{audio_patchify_proj,audio_proj_out,audio_scale_shift_table,patchify_proj,proj_out,scale_shift_table}",
            "transformer_blocks.#.{attn1,attn2,audio_attn1,audio_attn2,audio_to_video_attn,video_to_audio_attn}.{k_norm,q_norm,to_gate_logits,to_k,to_q,to_v}",
            "transformer_blocks.#.{attn1,attn2,audio_attn1,audio_attn2,audio_to_video_attn,video_to_audio_attn}.to_out.0",
            "transformer_blocks.#.{audio_ff,ff}.net.0.proj",
            "transformer_blocks.#.{audio_ff,ff}.net.2",
            "transformer_blocks.#.{audio_prompt_scale_shift_table,audio_scale_shift_table,prompt_scale_shift_table,scale_shift_table,scale_shift_table_a2v_ca_audio,scale_shift_table_a2v_ca_video}",
            "video_embeddings_connector.transformer_1d_blocks.#.attn1.{k_norm,q_norm,to_k,to_q,to_v}",
            "video_embeddings_connector.transformer_1d_blocks.#.attn1.to_out.0",
            "video_embeddings_connector.transformer_1d_blocks.#.ff.net.0.proj",
            "video_embeddings_connector.transformer_1d_blocks.#.ff.net.2",
        ),
    ),
    host=HostModel(
        "LTXAV", {"image_model": "ltxav", "num_layers": 2, "attention_head_dim": 128, "cross_attention_dim": 4096}
    ),
)
