"""Where Reference AdaIN looks for the picture, in networks whose sequences hold text or other pictures too."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from . import layouts
from .layouts import CONTEXT_DIM, normal

TEXT = 6
# Of each layout: its latent; a norm where text and picture are one sequence; the first token of the picture there, counted by
# hand; and whether this norm comes before the first attention, so that only the picture depends on the latent.
PLACES = {
    # Eight register tokens stand before the text.
    "auraflow": ((2, 4, 8, 12), "single_layers.0.norm1", 8 + TEXT, False),
    "omnigen2": ((2, 16, 8, 12), "layers.0.norm1.norm", TEXT, True),
    "boogu": ((2, 16, 8, 12), "single_stream_layers.0.norm1.norm", TEXT, False),
    "krea2": ((2, 16, 8, 12), "blocks.0.prenorm", TEXT, True),
    "ideogram4": ((2, 128, 4, 6), "layers.0.attention_norm1", TEXT, True),
    "ernie_image": ((2, 128, 4, 6), "layers.0.adaLN_sa_ln", 0, True),
    "hidream_i1": ((2, 16, 8, 12), "single_stream_blocks.0.block.norm1_i", 0, False),
    "lens": ((2, 128, 4, 6), "transformer_blocks.0.img_norm1", 0, True),
    "anima": ((2, 16, 1, 8, 12), "blocks.0.layer_norm_self_attn", 0, True),
}
# With another picture of 3 x 4 tokens: where the main one begins then.
WITH_REFERENCES = {"omnigen2": TEXT + 12, "boogu": TEXT + 12, "krea2": TEXT}
# No text encoder is asked, so that the networks get numbers of the width that they want.
WIDTHS = {"krea2": 2 * CONTEXT_DIM, "ernie_image": 48, "lens": 2 * CONTEXT_DIM}


@pytest.fixture(scope="module")
def features(host):
    pack = host.node("StyleDeltaReferenceAdaIN").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.nodes.host.features")


def network(name: str) -> torch.nn.Module:
    layout = layouts.LAYOUTS[name]
    if not layouts.has(layout):
        pytest.skip(layout.since)
    return layouts.build(layout).model.diffusion_model


def context_of(net: torch.nn.Module, name: str) -> torch.Tensor:
    width = WIDTHS.get(name) or getattr(net, "cond_seq_linear", SimpleNamespace(in_features=CONTEXT_DIM)).in_features
    return normal("context", (2, TEXT, width), 0)


def forward(net: torch.nn.Module, name: str, latent: torch.Tensor, others: dict) -> None:
    """One pass, with what the host's model class hands to the network besides."""
    time, context, given = torch.full((2,), 0.5), context_of(net, name), dict(others)
    if name in ("omnigen2", "boogu"):
        given["num_tokens"] = TEXT
    if name == "hidream_i1":
        layers = normal("llama", (2, 4, TEXT, CONTEXT_DIM), 0)
        given |= {"y": normal("pooled", (2, 48), 0), "encoder_hidden_states_llama3": layers}
    with torch.no_grad():
        net(latent, time, context=context, transformer_options={}, **given)


def seen(features, net, name: str, site: str, latent: torch.Tensor, others: dict) -> tuple:
    """The whole output of a norm, and what of it is taken for the picture with its grid."""
    whole, visits = [], []
    model = SimpleNamespace(diffusion_model=net)
    call = features.ModelCall(SimpleNamespace(class_obj=model), latent, None, None, None, None, {}, others)
    handle = net.get_submodule(site).register_forward_hook(lambda _, __, output: whole.append(output.clone()))
    with features.visited_features(call, [site], lambda _, tokens, grid: visits.append((tokens.clone(), grid))):
        forward(net, name, latent, others)
    handle.remove()
    assert len(visits) == 1, f"{len(visits)} of {len(whole)}, {[tuple(one.shape) for one in whole]}"
    return whole[0].flatten(1, -2), *visits[0]


def check_place(features, name: str, start: int, others: dict) -> None:
    size, site, _, is_first = PLACES[name]
    net, latent = network(name), normal("latent", size, 0)
    whole, picture, grid = seen(features, net, name, site, latent, others)
    assert grid == (1, 4, 6) and picture.shape[1] == 24
    assert torch.equal(picture, whole[:, start : start + 24])
    if is_first:
        other = seen(features, net, name, site, latent + normal("other", size, 0), others)[0]
        changed = (whole != other).any(2).any(0).nonzero().flatten()
        assert changed.tolist() == list(range(start, start + 24))


@pytest.mark.parametrize("name", PLACES)
def test_the_picture_is_found_where_it_is(host, features, name):
    check_place(features, name, PLACES[name][2], {})


@pytest.mark.parametrize("name", WITH_REFERENCES)
def test_pictures_that_an_edit_model_is_given_are_left_alone(host, features, name):
    reference = normal("reference", (2, PLACES[name][0][1], 6, 8), 0)
    options = {"ref_latents_method": "index"} if name == "krea2" else {}
    check_place(features, name, WITH_REFERENCES[name], {"ref_latents": [reference], **options})


# What may be matched, of layouts where other norms once were: how the names of these begin, and of others that are not.
PICTURE_ONLY = {
    "krea2": (("blocks.", "last."), ("txtfusion.", "txtmlp.")),
    "pixeldit": (("patch_blocks.", "pixel_blocks.", "final_layer."), ("y_embedder.",)),
    "hidream_i1": (("double_stream_blocks.", "single_stream_blocks.", "final_layer."), ()),
    "anima": (("blocks.", "final_layer."), ("llm_adapter.", "t_embedding_norm")),
    "wan_vace": (("blocks.", "head."), ("vace_blocks.",)),
    "ltx2": (("norm_out",), ("audio_norm_out",)),
    "hunyuan_video": (("double_blocks.", "final_layer."), ("single_blocks.", "txt_in.")),
}


@pytest.mark.parametrize("name", PICTURE_ONLY)
def test_norms_of_other_things_are_no_sites_and_the_report_says_so(host, features, name):
    layout = layouts.LAYOUTS[name]
    if not layouts.has(layout):
        pytest.skip(layout.since)
    model = SimpleNamespace(model=layouts.meta(layout))
    own, others = PICTURE_ONLY[name]
    sites = features.norm_sites(model)
    assert all(site.startswith(own) for site in sites)
    assert not any("q_norm" in site or "k_norm" in site or "rms_norm" in site or "knorm" in site for site in sites)
    left = [site for site in features.norm_modules(model) if site not in sites]
    assert all(any(site.startswith(beginning) for site in left) for beginning in others)
    report = features.describe_sites(model, sites)
    assert report.startswith(f"norms of the picture: {len(sites)}: ")
    counts = [int(line.split(": ")[1].split(",")[0]) for line in report.splitlines() if line.startswith("left alone")]
    assert sum(counts) == len(left)
    assert ("none in the blocks of the model" in report) == (name == "ltx2")
