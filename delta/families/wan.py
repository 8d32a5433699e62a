"""Wan 2.1 and 2.2 with their variants: image to video, VACE, Fun, camera, S2V, HuMo, Animate, SCAIL and Dancer."""

from __future__ import annotations

from .record import Family, HostModel, own, pairs

# A block of the model or of VACE's control branch.
BLOCK = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}

FAMILY = Family(
    "Wan",
    marks=("blocks.0.ffn.0.weight", "blocks.0.cross_attn.q.weight", "head.head.weight"),
    foreign=(
        "condition_embedder.time_embedder.linear_1.weight",
        "condition_embedder.text_embedder.linear_1.weight",
        "blocks.0.attn1.to_q.weight",
        "blocks.0.attn2.to_q.weight",
    ),
    weights=(
        *pairs(
            "blocks.#",
            "blocks.#",
            BLOCK
            | {
                "cross_attn.k_img": "attn2.add_k_proj",
                "cross_attn.v_img": "attn2.add_v_proj",
                "cross_attn.norm_k_img": "attn2.norm_added_k",
            },
        ),
        *pairs(
            "",
            "",
            {
                "patch_embedding": "patch_embedding",
                "text_embedding.0": "condition_embedder.text_embedder.linear_1",
                "text_embedding.2": "condition_embedder.text_embedder.linear_2",
                "time_embedding.0": "condition_embedder.time_embedder.linear_1",
                "time_embedding.2": "condition_embedder.time_embedder.linear_2",
                "time_projection.1": "condition_embedder.time_proj",
                "head.head": "proj_out",
                "head.modulation": "scale_shift_table",
                "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
                "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
                "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
                "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
                "vace_patch_embedding": "vace_patch_embedding",
                "pose_patch_embedding": "pose_patch_embedding",
                "face_encoder.conv1_local.conv": "face_encoder.conv1_local",
                "face_encoder.conv2.conv": "face_encoder.conv2",
                "face_encoder.conv3.conv": "face_encoder.conv3",
                "face_encoder.out_proj": "face_encoder.out_proj",
            },
        ),
        *pairs(
            "vace_blocks.#",
            "vace_blocks.#",
            BLOCK | {"before_proj": "proj_in", "after_proj": "proj_out"},
        ),
        *own(
            "{audio_injector,music_injector}.injector.#.{k,norm_k,norm_q,o,q,v}",
            "audio_injector.injector_adain_layers.#.linear",
            "audio_proj.{audio_proj_glob_1,audio_proj_glob_2,audio_proj_glob_3,audio_proj_glob_norm}.layer",
            "blocks.#.audio_cross_attn_wrapper.audio_cross_attn.{k,norm_k,norm_q,o,q,v}",
            "blocks.#.audio_cross_attn_wrapper.norm1_audio",
            "casual_audio_encoder.encoder.{conv1_global,conv1_local,conv2,conv3}.conv",
            "casual_audio_encoder.encoder.{final_linear,padding_tokens}",
            "casual_audio_encoder.weights",
            "{cond_encoder,music_projection,patch_embedding_global,patch_embedding_mask,patch_embedding_pose,ref_conv,trainable_cond_mask}",
            "control_adapter.conv",
            "control_adapter.residual_blocks.0.{conv1,conv2}",
            "face_adapter.fuser_blocks.#.{k_norm,linear1_kv,linear1_q,linear2,q_norm}",
            "face_encoder.padding_tokens",
            "frame_packer.{proj,proj_2x,proj_4x}",
            "head_global.{head,modulation}",
            "img_emb.emb_pos",
            "img_emb_refimage.proj.{0,1,3,4}",
            "motion_encoder.dec.direction",
            "motion_encoder.enc.fc.{0,1,2,3,4}",
            "motion_encoder.enc.net_app.convs.0.{0,1}",
            "motion_encoder.enc.net_app.convs.{1,2,3,4,5,6,7}.conv1.{0,1}",
            "motion_encoder.enc.net_app.convs.{1,2,3,4,5,6,7}.conv2.{1,2}",
            "motion_encoder.enc.net_app.convs.{1,2,3,4,5,6,7}.skip.1",
            "motion_encoder.enc.net_app.convs.8",
            "music_encoder.#.{linear1,linear2,norm1,norm2}",
            "music_encoder.#.self_attn.{k_proj,out_proj,q_proj,v_proj}",
        ),
    ),
    bare=(
        "{blocks,vace_blocks}.#.modulation",
        "casual_audio_encoder.encoder.padding_tokens",
        "casual_audio_encoder.weights",
        "face_encoder.padding_tokens",
        "{head,head_global}.modulation",
        "img_emb.emb_pos",
    ),
    host=HostModel(
        "WAN21_T2V",
        {
            "image_model": "wan2.1",
            "model_type": "t2v",
            "dim": 1536,
            "out_dim": 16,
            "num_heads": 12,
            "ffn_dim": 8960,
            "num_layers": 2,
            "patch_size": [1, 2, 2],
            "freq_dim": 256,
            "window_size": [-1, -1],
            "qk_norm": True,
            "cross_attn_norm": True,
            "eps": 1e-06,
            "in_dim": 16,
        },
    ),
    variants=(
        HostModel(
            "WAN22_Animate",
            {"model_type": "animate", "dim": 5120, "num_heads": 40, "ffn_dim": 13824, "num_layers": 10, "in_dim": 36},
        ),
        HostModel("WAN22_S2V", {"model_type": "s2v", "dim": 5120, "num_heads": 40, "ffn_dim": 13824}),
        HostModel(
            "WAN22_WanDancer",
            {"model_type": "wandancer", "dim": 5120, "num_heads": 40, "ffn_dim": 13824, "num_layers": 5, "in_dim": 36},
        ),
        HostModel("WAN21_Vace", {"model_type": "vace", "vace_in_dim": 96, "vace_layers": 1}),
        HostModel("WAN21_HuMo", {"model_type": "humo", "dim": 5120, "num_heads": 40, "ffn_dim": 13824, "in_dim": 36}),
        HostModel(
            "WAN21_Camera", {"model_type": "camera", "dim": 5120, "num_heads": 40, "ffn_dim": 13824, "in_dim": 32}
        ),
        HostModel(
            "WAN21_SCAIL2", {"model_type": "scail2", "dim": 5120, "num_heads": 40, "ffn_dim": 13824, "in_dim": 20}
        ),
        HostModel(
            "WAN21_I2V",
            {
                "model_type": "i2v",
                "dim": 5120,
                "num_heads": 40,
                "ffn_dim": 13824,
                "in_dim": 36,
                "flf_pos_embed_token_number": 514,
            },
        ),
        HostModel(
            "WAN21_FunControl2V",
            {"model_type": "i2v", "dim": 5120, "num_heads": 40, "ffn_dim": 13824, "in_dim": 48, "in_dim_ref_conv": 16},
        ),
    ),
)
