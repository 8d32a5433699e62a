import json

import pytest
import torch

from delta.style_network.files import TABLE_NETWORK, load_bundled
from delta.style_network.network import Strength, StyleNetwork, stylize
from delta.style_network.palette import PaletteStyle, mix_styles, read_palette, shares
from delta.style_network.params import StyleParams


@pytest.fixture(scope="module")
def network() -> StyleNetwork:
    return load_bundled(TABLE_NETWORK)


def text(*rows: tuple) -> str:
    return json.dumps({"styles": [{"style": style, "weight": weight} for style, weight in rows]})


def test_a_palette_is_read_in_its_order():
    assert read_palette(text((19, 0.6), (5, 0.4))) == [PaletteStyle(19, 0.6), PaletteStyle(5, 0.4)]
    assert read_palette(text(("a/ink.safetensors", 2)), by_name=True) == [PaletteStyle("a/ink.safetensors", 2.0)]


def test_a_style_without_a_weight_counts_once():
    assert read_palette('{"styles": [{"style": 3}]}') == [PaletteStyle(3, 1.0)]


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "no list of styles"),
        ('{"styles": {"19": 1}}', "no list of styles"),
        (text(), "holds no style"),
        (text((1, 1), (2, 1), (3, 1), (4, 1), (5, 1)), "holds 5 styles; it mixes 4"),
        (text((1, 1), (2, 1), (1, 1)), "same style twice"),
        (text((True, 1)), "Style 1 of the palette lacks the number"),
        (text((1, 1), ("ink", 1)), "Style 2 of the palette lacks the number"),
        (text((1.5, 1)), "lacks the number"),
        ('{"styles": [7]}', "lacks the number"),
        (text((1, "much")), 'has the weight "much"'),
        (text((1, 2.5)), "has the weight 2.5. Give it a number from -2 to 2"),
        ('{"styles": [{"style": 1, "weight": NaN}]}', "has the weight NaN"),
    ],
)
def test_what_is_wrong_is_named(palette, message):
    with pytest.raises(ValueError, match=message) as raised:
        read_palette(palette)
    assert len(str(raised.value)) < 300


def test_files_need_names():
    with pytest.raises(ValueError, match="Style 1 of the palette lacks the name of a file"):
        read_palette(text((3, 1)), by_name=True)
    with pytest.raises(ValueError, match="ink.safetensors"):
        read_palette("", by_name=True)


def test_the_mix_is_the_weighted_mean(network):
    gamma, beta = mix_styles(network, [PaletteStyle(19, 3.0), PaletteStyle(5, 1.0)]).vectors()
    assert torch.allclose(gamma, 0.75 * network.gamma[19] + 0.25 * network.gamma[5])
    assert torch.allclose(beta, 0.75 * network.beta[19] + 0.25 * network.beta[5])


@pytest.mark.parametrize("strength", [-0.5, 0.0, 0.5, 1.5])
def test_strength_is_that_of_stylize(network, strength):
    styles = [PaletteStyle(19, 0.6), PaletteStyle(5, 0.4)]
    picture = torch.rand(1, 24, 32, 3, generator=torch.Generator().manual_seed(0))
    by_palette = stylize(network, picture, mix_styles(network, styles, strength))
    by_stylize = stylize(network, picture, mix_styles(network, styles), Strength(strength))
    assert torch.allclose(by_palette, by_stylize, atol=1e-4)
    assert not torch.allclose(by_palette, stylize(network, picture, mix_styles(network, styles)), atol=1e-2)


def test_what_the_network_cannot_do_is_said(network):
    with pytest.raises(ValueError, match="has styles 0 to 25; there is no style 26"):
        mix_styles(network, [PaletteStyle(26, 1.0)])
    with pytest.raises(ValueError, match="add up to zero"):
        mix_styles(network, [PaletteStyle(1, 1.0), PaletteStyle(2, -1.0)])
    single = StyleNetwork("one", network.layers, network.gamma[:1], network.beta[:1], ("one",))
    assert isinstance(mix_styles(single, [PaletteStyle(0, 1.0)]), StyleParams)
    with pytest.raises(ValueError, match="one has a single style"):
        mix_styles(single, [PaletteStyle(0, 1.0)], 0.5)


def test_shares_add_up_to_one():
    assert shares([PaletteStyle("a", 3.0), PaletteStyle("b", -1.0)]) == [1.5, -0.5]
    with pytest.raises(ValueError, match="add up to zero"):
        shares([PaletteStyle("a", 1.0), PaletteStyle("b", -1.0)])
