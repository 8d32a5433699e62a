"""Learning rates by hand."""

import pytest

from delta.training.schedule import Settings


def settings(steps=100, learning_rate=0.0, schedule="automatic", warm_up=-1):
    return Settings(steps, learning_rate, 1, 0, schedule, warm_up)


def test_the_automatic_rates_are_those_of_norms_and_of_a_lora():
    assert settings().rates(has_lora=True) == settings().rates(has_lora=False) == (0.01, 0.002)


def test_a_rate_of_ones_own_is_that_of_the_lora_if_there_is_one():
    assert settings(learning_rate=0.004).rates(has_lora=False)[0] == 0.004
    assert settings(learning_rate=0.004).rates(has_lora=True) == pytest.approx((0.02, 0.004))


def test_a_rate_of_ones_own_is_constant_as_it_was_in_the_first_version():
    assert {settings(learning_rate=0.005).factor(step) for step in range(1, 101)} == {1.0}


def test_the_automatic_rate_rises_and_falls_along_a_cosine():
    factors = [settings().factor(step) for step in range(1, 101)]
    assert factors[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    # Half way from step 5 to what would be step 101.
    assert factors[52] == pytest.approx(0.5) and 0 < factors[-1] < 0.001
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_the_schedule_and_the_warm_up_can_be_chosen():
    assert [settings(4, 0.1, "constant", 2).factor(step) for step in range(1, 5)] == [0.5, 1.0, 1.0, 1.0]
    assert [settings(3, 0.1, "cosine", 0).factor(step) for step in (2, 3)] == pytest.approx([0.5, 0.1464466])
    assert settings(100, 0.0, "constant").factor(1) == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "hats"}, "There is no schedule hats. Choose one of: automatic, constant, cosine"),
        ({"learning_rate": -1.0}, "The learning rate -1 is negative. Choose 0 or more; 0 is automatic"),
        ({"warm_up": 101}, "warm-up takes 101 steps, but there are only 100. Choose fewer; -1 is automatic"),
    ],
)
def test_bad_settings_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)
