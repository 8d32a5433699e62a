"""Boogu."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "Boogu",
    marks=("single_stream_layers.0.norm2.weight", "single_stream_layers.0.attn.to_q.weight"),
    weights=(
        *own(
            "{context_refiner,noise_refiner,ref_image_refiner,single_stream_layers}.#.attn.{norm_k,norm_q,to_k,to_q,to_v}",
            "context_refiner.#.attn.to_out.0",
            "{context_refiner,noise_refiner,ref_image_refiner,single_stream_layers}.#.feed_forward.{linear_1,linear_2,linear_3}",
            "context_refiner.#.{ffn_norm1,ffn_norm2,norm1,norm2}",
            "double_stream_layers.#.{img_attn_norm,img_ffn_norm1,img_ffn_norm2,img_self_attn_norm,instruct_attn_norm,instruct_ffn_norm1,instruct_ffn_norm2}",
            "double_stream_layers.#.{img_feed_forward,instruct_feed_forward}.{linear_1,linear_2,linear_3}",
            "double_stream_layers.#.img_instruct_attn.{norm_k,norm_q}",
            "double_stream_layers.#.img_instruct_attn.processor.{img_out,img_to_k,img_to_q,img_to_v,instruct_out,instruct_to_k,instruct_to_q,instruct_to_v}",
            "double_stream_layers.#.{img_instruct_attn,img_self_attn}.to_out.0",
            "double_stream_layers.#.{img_norm1,img_norm2,img_norm3,instruct_norm1,instruct_norm2}.{linear,norm}",
            "double_stream_layers.#.img_self_attn.{norm_k,norm_q,to_k,to_q,to_v}",
            "{image_index_embedding,ref_image_patch_embedder,x_embedder}",
            "noise_refiner.#.attn.to_out.0",
            "{noise_refiner,ref_image_refiner,single_stream_layers}.#.{ffn_norm1,ffn_norm2,norm2}",
            "{noise_refiner,ref_image_refiner,single_stream_layers}.#.norm1.{linear,norm}",
            "norm_out.{linear_1,linear_2}",
            "ref_image_refiner.#.attn.to_out.0",
            "single_stream_layers.#.attn.to_out.0",
            "time_caption_embed.caption_embedder.{0,1}",
            "time_caption_embed.timestep_embedder.{linear_1,linear_2}",
        ),
    ),
    bare=("image_index_embedding",),
    host=HostModel(
        "Boogu", {"image_model": "boogu", "hidden_size": 3360, "num_layers": 4, "num_double_stream_layers": 2}
    ),
)
