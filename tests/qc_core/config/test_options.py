"""Words of a command and overrides of its configuration are told apart wherever they stand."""

import pytest

from qc_core.cli.words import split_overrides
from qc_core.errors import UsageError


def test_a_list_ends_at_the_next_option_or_at_a_recipe() -> None:
    words = ["--data", "collect", "store:episodes", "smoke", "-o", "out", "--seed", "3"]
    assert split_overrides(words) == (
        ["smoke", "-o", "out"],
        ["--data", "collect", "store:episodes", "--seed", "3"],
    )


def test_a_list_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--data is given twice"):
        split_overrides(["smoke", "--data", "collect", "--data", "store:episodes"])
