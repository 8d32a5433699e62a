from __future__ import annotations

import pytest

from delta.merging import merge


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        *((name, "keep", value) for name in ("ties", "knots", "star") for value in (-0.1, 1.1, float("nan"))),
        *(("dare", "drop", value) for value in (-0.1, 1.0)),
        *(("della", name, value) for name, value in (("drop", 1.0), ("window", -1.0))),
        *(("breadcrumbs", name, 1.5) for name in ("drop_smallest", "drop_largest")),
        *(("slerp", "t", 1.5), ("np_lora", "mu", -1.0), ("tsv_m", "rank", -1.0), ("iso_cts", "common", 2.0)),
        *(("svc", "alpha", 0.0), ("ct_merging", "common_rank", -1.0), ("lora_lego", "clusters", -1.0)),
        *(("remove_subspace", name, -1.0) for name in ("column_space", "row_space")),
    ],
)
def test_refuses_parameters_out_of_range(name: str, parameter: str, value: float, random_part) -> None:
    with pytest.raises(ValueError, match=parameter):
        merge(name, [random_part(1, 3), random_part(2, 5)], [1.0, 1.0], {parameter: value})
