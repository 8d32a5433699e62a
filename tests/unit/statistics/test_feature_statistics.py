import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from delta.statistics.feature_statistics import (
    Component,
    FeatureStatistics,
    check_sites,
    extend,
    load_statistics,
    save_statistics,
)


def statistics(value: float = 1.0, sigmas: tuple[float, ...] = (16.0, 4.0, 1.0), width: int = 2) -> FeatureStatistics:
    """Statistics of one site `norm`: in bin b the mean is value * (b + 1) and the deviation ten times that."""
    bins = torch.arange(1.0, len(sigmas) + 1)[:, None, None] * torch.tensor([[1.0], [10.0]]) * value
    return FeatureStatistics("Tiny", torch.tensor(sigmas), {"norm": bins.expand(-1, -1, width).contiguous()})


def test_bins_are_met_and_between_them_the_logarithm_of_sigma_is_linear():
    recorded = statistics()
    for sigma, mean in ((16.0, 1.0), (4.0, 2.0), (1.0, 3.0), (8.0, 1.5), (2.0, 2.5), (4 / 2**0.5, 2.25)):
        table = recorded.at(sigma)["norm"]
        assert torch.allclose(table, torch.tensor([[mean] * 2, [10 * mean] * 2]), atol=1e-5), sigma


def test_beyond_the_bins_the_last_one_holds():
    recorded = statistics()
    assert torch.equal(recorded.at(1e9)["norm"], recorded.at(16.0)["norm"])
    assert torch.equal(recorded.at(0.0)["norm"], recorded.at(1.0)["norm"])
    single = statistics(sigmas=(5.0,))
    assert all(torch.equal(single.at(sigma)["norm"], single.sites["norm"][0]) for sigma in (0.0, 5.0, 9.0))


def test_references_mix_linearly_by_normalised_weights():
    mix = extend(extend(None, Component("a", statistics(1.0), 3.0)), Component("b", statistics(5.0), 1.0))
    assert mix.weights() == [0.75, 0.25]
    # 0.75 * 1 + 0.25 * 5 = 2 times the statistics of value 1.
    assert torch.allclose(mix.at(4.0)["norm"], 2 * statistics(1.0).at(4.0)["norm"])


def test_references_with_other_bins_mix_too():
    other = statistics(1.0, sigmas=(16.0, 1.0))
    mix = extend(extend(None, Component("a", statistics(1.0))), Component("b", other))
    assert torch.allclose(mix.at(4.0)["norm"][0], torch.tensor([(2.0 + 1.5) / 2] * 2))


def test_a_deviation_never_falls_below_zero():
    mix = extend(extend(None, Component("a", statistics(1.0), 2.0)), Component("b", statistics(3.0), -1.0))
    mean, deviation = mix.at(4.0)["norm"]
    assert torch.allclose(mean, torch.tensor([-2.0, -2.0])) and torch.equal(deviation, torch.zeros(2))


def test_mixing_leaves_the_earlier_mix_alone():
    first = extend(None, Component("a", statistics()))
    extend(first, Component("b", statistics()))
    assert len(first.components) == 1


def test_weights_that_cancel_are_refused():
    mix = extend(extend(None, Component("a", statistics(), 1.0)), Component("b", statistics(), -1.0))
    with pytest.raises(ValueError, match=r"\(1, -1\) add up to zero"):
        mix.at(4.0)


def test_sites_of_another_model_are_refused_by_name():
    component = Component("a", statistics())
    check_sites(component, {"norm": 2, "more": 7}, "the model")
    with pytest.raises(
        ValueError, match="a was recorded on Tiny and does not fit the model, Flux: norm has 2 .*3 here"
    ):
        check_sites(component, {"norm": 3}, "the model, Flux")
    with pytest.raises(ValueError, match="norm has 2 channels there and does not exist here. Save"):
        check_sites(component, {}, "the model")
    with pytest.raises(ValueError, match="b was recorded on Tiny and does not fit a, which was recorded on Tiny"):
        extend(extend(None, component), Component("b", statistics(width=3)))


def test_a_file_keeps_everything_in_half_precision(tmp_path):
    recorded = statistics(1.001)
    path = tmp_path / "s.safetensors"
    save_statistics(recorded, path)
    assert load_file(path)["site.norm"].dtype == torch.float16
    loaded = load_statistics(path)
    assert loaded.model == "Tiny" and torch.equal(loaded.sigmas, recorded.sigmas)
    assert torch.allclose(loaded.sites["norm"], recorded.sites["norm"], rtol=2**-11)
    assert loaded.sites["norm"].dtype == torch.float32
    with pytest.raises(FileExistsError):
        save_statistics(recorded, path)


def test_numbers_beyond_half_precision_stay_exact(tmp_path):
    recorded = statistics(70_000.1)
    save_statistics(recorded, tmp_path / "s.safetensors")
    assert torch.equal(load_statistics(tmp_path / "s.safetensors").sites["norm"], recorded.sites["norm"])


def test_statistics_that_are_not_finite_leave_no_file(tmp_path):
    recorded = statistics(math.inf)
    with pytest.raises(ValueError, match="norm.*NaN or infinite"):
        save_statistics(recorded, tmp_path / "s.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "metadata", "message"),
    [
        ({}, {"format": "other"}, "was not saved by Save Statistics"),
        ({"sigmas": None}, {}, "incomplete"),
        ({"sigmas": torch.tensor([1.0, 4.0, 16.0])}, {}, "incomplete"),
        ({"sigmas": torch.tensor([4.0, 1.0, 0.0])}, {}, "incomplete"),
        ({"sigmas": torch.tensor([4.0, 1.0])}, {}, "incomplete"),
        ({"site.norm": torch.ones(3, 2)}, {}, "incomplete"),
        ({"site.norm": None}, {}, "incomplete"),
        ({"site.norm": torch.full((3, 2, 2), math.nan)}, {}, "site.norm holds NaN"),
    ],
)
def test_files_that_lack_something_are_refused(tmp_path, changes, metadata, message):
    path = tmp_path / "s.safetensors"
    save_statistics(statistics(), path)
    tensors = {name: tensor for name, tensor in {**load_file(path), **changes}.items() if tensor is not None}
    facts = {"format": "styledelta.feature_statistics", "model": "Tiny", "sites": "1"} | metadata
    save_file(tensors, path, facts)
    with pytest.raises(ValueError, match=message):
        load_statistics(path)


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "s.safetensors"
    save_statistics(statistics(), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="s.safetensors is not a complete safetensors file"):
        load_statistics(path)
