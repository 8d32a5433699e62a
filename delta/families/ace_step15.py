"""ACE-Step 1.5. Its LoRAs name the decoder's layers without the decoder."""

from __future__ import annotations

from .record import Family, HostModel, alternatives, own, pairs

DECODER = (
    "{condition_embedder,norm_out,scale_shift_table}",
    "layers.#.{cross_attn,self_attn}.{k_norm,k_proj,o_proj,q_norm,q_proj,v_proj}",
    "layers.#.{cross_attn_norm,mlp_norm,scale_shift_table,self_attn_norm}",
    "layers.#.mlp.{down_proj,gate_proj,up_proj}",
    "{proj_in,proj_out}.1",
    "{time_embed,time_embed_r}.{linear_1,linear_2,time_proj}",
)

FAMILY = Family(
    "ACE-Step 1.5",
    marks=("decoder.proj_in.1.weight", "detokenizer.proj_out.weight"),
    foreign=(
        "proj_in_conv.weight",
        "proj_out_conv.weight",
    ),
    weights=(
        *pairs("decoder", "", {layer: layer for path in DECODER for layer in alternatives(path)}),
        *own(
            "detokenizer.{embed_tokens,norm,proj_out,special_tokens}",
            "detokenizer.layers.#.{input_layernorm,post_attention_layernorm}",
            "detokenizer.layers.#.mlp.{down_proj,gate_proj,up_proj}",
            "detokenizer.layers.#.self_attn.{k_norm,k_proj,o_proj,q_norm,q_proj,v_proj}",
            "encoder.lyric_encoder.{embed_tokens,norm}",
            "encoder.{lyric_encoder,timbre_encoder}.layers.#.{input_layernorm,post_attention_layernorm}",
            "encoder.lyric_encoder.layers.#.mlp.{down_proj,gate_proj,up_proj}",
            "encoder.lyric_encoder.layers.#.self_attn.{k_norm,k_proj,o_proj,q_norm,q_proj,v_proj}",
            "encoder.text_projector",
            "encoder.timbre_encoder.{embed_tokens,norm,special_token}",
            "encoder.timbre_encoder.layers.#.mlp.{down_proj,gate_proj,up_proj}",
            "encoder.timbre_encoder.layers.#.self_attn.{k_norm,k_proj,o_proj,q_norm,q_proj,v_proj}",
            "null_condition_emb",
            "tokenizer.attention_pooler.{embed_tokens,norm,special_token}",
            "tokenizer.attention_pooler.layers.#.{input_layernorm,post_attention_layernorm}",
            "tokenizer.attention_pooler.layers.#.mlp.{down_proj,gate_proj,up_proj}",
            "tokenizer.attention_pooler.layers.#.self_attn.{k_norm,k_proj,o_proj,q_norm,q_proj,v_proj}",
            "tokenizer.audio_acoustic_proj",
            "tokenizer.quantizer.{project_in,project_out}",
        ),
    ),
    bare=(
        "decoder.layers.#.scale_shift_table",
        "decoder.scale_shift_table",
        "detokenizer.special_tokens",
        "encoder.timbre_encoder.special_token",
        "null_condition_emb",
        "tokenizer.attention_pooler.special_token",
    ),
    diffusers_prefix="base_model.model.",
    host=HostModel(
        "ACEStep15",
        {
            "audio_model": "ace1.5",
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_heads": 16,
            "encoder_hidden_size": 2048,
            "encoder_num_heads": 16,
            "encoder_intermediate_size": 6144,
            "num_dit_layers": 2,
        },
    ),
)
