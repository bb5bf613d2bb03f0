"""Numbers are shown as people read them."""

import pytest

from qc_core.readable import p_value_text, three_digits


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (100.0, "100"),
        (126.66, "127"),
        (1234.0, "1230"),
        (0.000183, "0.000183"),
        (3e-4, "0.0003"),
        (1.5, "1.5"),
        (9.999, "10"),
        (-0.05, "-0.05"),
        (0.0, "0"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, shown: str) -> None:
    assert three_digits(value) == shown


def test_a_small_p_value_is_not_shown_as_zero() -> None:
    assert [p_value_text(value) for value in (1e-5, 0.001, 0.0124)] == ["< 0.001", "0.001", "0.012"]
