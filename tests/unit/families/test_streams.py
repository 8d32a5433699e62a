import pytest

from delta.families.streams import QUERY_AND_KEY, stream_of


@pytest.mark.parametrize(
    "path",
    [
        "input_blocks.1.1.transformer_blocks.0.norm2",
        "double_blocks.0.img_norm1",
        "single_blocks.0.pre_norm",
        "joint_blocks.0.x_block.norm1",
        "double_layers.0.normX1",
        "patch_blocks.0.norm_x1",
        "double_stream_blocks.0.block.norm1_i",
        "visual_transformer_blocks.0.self_attention_norm",
        "blocks.0.layer_norm_self_attn",
        "noise_refiner.0.attention_norm1",
        "blocks.0.attn_norm.vid",
        "out_layer.norm",
        "norm_out.norm",
    ],
)
def test_norms_of_the_picture(path):
    assert stream_of(path) is None


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("blocks.0.attn.qknorm.knorm", QUERY_AND_KEY),
        ("patch_blocks.0.attn.q_norm_x", QUERY_AND_KEY),
        ("double_stream_blocks.0.block.attn1.q_rms_norm", QUERY_AND_KEY),
        ("llm_adapter.blocks.0.norm_self_attn", "text"),
        ("llm_cond_norm", "text"),
        ("txtfusion.refiner_blocks.0.prenorm", "text"),
        ("txtmlp.0", "text"),
        ("patch_blocks.0.norm_y2", "text"),
        ("y_embedder.norm", "text"),
        ("double_stream_blocks.0.block.norm1_t", "text"),
        ("double_layers.0.normC2", "text"),
        ("pooled_text_embeddings.norm", "text"),
        ("time_caption_embed.caption_embedder.0", "text"),
        ("double_stream_layers.0.instruct_norm1.norm", "text"),
        ("token_refiner.blocks.0.norm1", "text"),
        ("blocks.0.attn_norm.txt", "text"),
        ("audio_norm_out", "sound"),
        ("casual_audio_encoder.encoder.norm1", "sound"),
        ("music_encoder.0.norm1", "sound"),
        ("blocks.0.audio_cross_attn_wrapper.norm1_audio", "sound"),
        ("t_embedding_norm", "time"),
        ("vace_blocks.0.norm1", "control"),
        ("face_adapter.fuser_blocks.0.pre_norm_feat", "control"),
        ("lq_proj.latent_proj.0.block.0", "control"),
        ("img_emb_refimage.proj.0", "other pictures"),
        ("ref_image_refiner.0.norm2", "other pictures"),
        ("siglip_refiner.0.attention_norm1", "other pictures"),
        ("visual.blocks.0.norm1", "other pictures"),
    ],
)
def test_norms_of_other_things(path, stream):
    assert stream_of(path) == stream
