import pytest
import torch

from delta.statistics.tokens import (
    FIRST,
    LAST,
    TokenLayout,
    from_tokens,
    halved_grids,
    mask_tokens,
    match_tokens,
    patched_grid,
    table,
    to_tokens,
)

AMOUNT = torch.ones(1, 1, 1)


def features(rows: int = 2, positions: int = 50, channels: int = 3) -> torch.Tensor:
    return torch.randn(rows, positions, channels, generator=torch.Generator().manual_seed(0))


def goal() -> torch.Tensor:
    return torch.tensor([[[1.0, -2.0, 0.5], [0.5, 3.0, 2.0]]])


def test_levels_of_a_unet_round_up():
    assert halved_grids(1, 5, 8) == ((1, 5, 8), (1, 3, 4), (1, 2, 2), (1, 1, 1))


def test_patches_fill_up():
    assert patched_grid(2, 7, 8, (1, 2, 2)) == (2, 4, 4)


@pytest.mark.parametrize(
    ("layout", "tokens", "joint", "place"),
    [
        (TokenLayout(halved_grids(1, 8, 8)), 16, None, (0, (1, 4, 4))),
        (TokenLayout(halved_grids(1, 8, 8)), 17, None, None),
        (TokenLayout(((2, 4, 4),)), 32, None, (0, (2, 4, 4))),
        (TokenLayout(((1, 4, 4),)), 24, LAST, (8, (1, 4, 4))),
        (TokenLayout(((1, 4, 4),)), 24, None, None),
        (TokenLayout(((1, 4, 4),), appended=6), 22, None, (0, (1, 4, 4))),
        (TokenLayout(((1, 4, 4),), appended=6), 30, LAST, (8, (1, 4, 4))),
        (TokenLayout(((1, 4, 4),), appended=6), 16, None, None),
        (TokenLayout(((1, 4, 5),), multiple=32), 32, LAST, (0, (1, 4, 5))),
        (TokenLayout(((1, 4, 5),), multiple=32), 96, LAST, (64, (1, 4, 5))),
        (TokenLayout(((1, 4, 5),), multiple=32), 20, LAST, None),
        (TokenLayout(((1, 4, 4),)), 24, FIRST, (0, (1, 4, 4))),
        (TokenLayout(((1, 4, 4),)), 12, FIRST, None),
        (TokenLayout(()), 16, LAST, None),
    ],
)
def test_where_the_picture_is_in_the_tokens(layout, tokens, joint, place):
    assert layout.picture(tokens, joint) == place


@pytest.mark.parametrize(
    ("shape", "channels_first"), [((2, 3, 4, 5), True), ((2, 4, 5, 3), False), ((2, 20, 3), False)]
)
def test_tokens_and_back(shape, channels_first):
    whole = torch.arange(120.0).reshape(shape)
    tokens = to_tokens(whole, channels_first)
    assert tokens.shape == (2, 20, 3)
    assert torch.equal(from_tokens(tokens, whole.shape, channels_first), whole)


def test_amount_1_gives_the_goal_and_half_of_it_lies_half_way():
    tokens = features()
    assert torch.allclose(table(match_tokens(tokens, goal(), AMOUNT)), goal().expand(2, -1, -1), atol=1e-5)
    half = table(match_tokens(tokens, goal(), 0.5 * AMOUNT))
    assert torch.allclose(half, (table(tokens) + goal()) / 2, atol=1e-5)


def test_rows_of_amount_0_stay_bit_for_bit():
    tokens = features()
    changed = match_tokens(tokens, goal(), torch.tensor([0.0, 1.0])[:, None, None])
    assert torch.equal(changed[0], tokens[0]) and not torch.equal(changed[1], tokens[1])


def test_too_much_never_turns_features_over():
    tokens = features()
    flat = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.1, 0.1]]])
    changed = match_tokens(tokens, flat, 1.5 * AMOUNT)
    # 1 + 1.5 * (0.1 - 1) is below 0: the deviation is 0 instead.
    assert (table(changed)[:, 1] < 1e-5).all()


def test_the_format_of_the_features_is_kept():
    tokens = features().half()
    changed = match_tokens(tokens, goal(), AMOUNT)
    assert changed.dtype == torch.float16 and torch.allclose(table(changed), goal().expand(2, -1, -1), atol=5e-3)


def test_channels_without_deviation_are_shifted():
    changed = match_tokens(torch.full((1, 9, 3), 4.0), goal(), AMOUNT)
    assert torch.allclose(changed, goal()[:, :1].expand(-1, 9, -1))


def test_a_mask_bounds_both_the_statistics_and_the_change():
    tokens, mask = features(1), torch.zeros(1, 50, 1)
    mask[:, :30] = 1
    changed = match_tokens(tokens, goal(), AMOUNT, mask)
    assert torch.equal(changed[:, 30:], tokens[:, 30:])
    assert torch.allclose(table(changed[:, :30]), goal(), atol=1e-5)
    assert torch.equal(match_tokens(tokens, goal(), AMOUNT, 0 * mask), tokens)


def test_masks_are_resized_and_repeat_over_frames():
    mask = torch.zeros(2, 8, 8)
    mask[0, :, :4] = 1
    weights = mask_tokens(mask, (3, 2, 2))
    assert weights.shape == (2, 12, 1) and not weights[1].any()
    left, right = weights[0].reshape(3, 2, 2).unbind(2)
    assert torch.equal(left[0], left[2]) and left.min() > 0.8 and right.max() < 0.2
    assert torch.allclose(weights[0].mean(), torch.tensor(0.5))
