"""ACE-Step 1."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "ACE-Step",
    marks=("lyric_proj.weight", "genre_embedder.weight"),
    weights=(
        *own(
            "final_layer.{linear,scale_shift_table}",
            "{genre_embedder,lyric_embs,lyric_proj,speaker_embedder}",
            "lyric_encoder.after_norm",
            "lyric_encoder.embed.out.{0,1}",
            "lyric_encoder.encoders.#.feed_forward.{w_1,w_2}",
            "lyric_encoder.encoders.#.{norm_ff,norm_mha}",
            "lyric_encoder.encoders.#.self_attn.{linear_k,linear_out,linear_pos,linear_q,linear_v,pos_bias_u,pos_bias_v}",
            "proj_in.early_conv_layers.{0,1,2}",
            "projectors.#.{0,2,4}",
            "t_block.1",
            "timestep_embedder.{linear_1,linear_2}",
            "transformer_blocks.#.attn.{to_k,to_q,to_v}",
            "transformer_blocks.#.{attn,cross_attn}.to_out.0",
            "transformer_blocks.#.cross_attn.{add_k_proj,add_q_proj,add_v_proj,to_add_out,to_k,to_q,to_v}",
            "transformer_blocks.#.ff.{depth_conv,inverted_conv,point_conv}.conv",
            "transformer_blocks.#.scale_shift_table",
        ),
    ),
    bare=(
        "final_layer.scale_shift_table",
        "lyric_encoder.encoders.#.self_attn.{pos_bias_u,pos_bias_v}",
        "transformer_blocks.#.scale_shift_table",
    ),
    host=HostModel(
        "ACEStep",
        {
            "audio_model": "ace",
            "attention_head_dim": 128,
            "in_channels": 8,
            "inner_dim": 2560,
            "max_height": 16,
            "max_position": 32768,
            "max_width": 32768,
            "mlp_ratio": 2.5,
            "num_attention_heads": 20,
            "num_layers": 2,
            "out_channels": 8,
            "patch_size": [16, 1],
            "rope_theta": 1000000.0,
            "speaker_embedding_dim": 512,
            "text_embedding_dim": 768,
            "ssl_encoder_depths": [8, 8],
            "ssl_latent_dims": [1024, 768],
            "ssl_names": ["mert", "m-hubert"],
            "lyric_encoder_vocab_size": 6693,
            "lyric_hidden_size": 1024,
        },
    ),
)
