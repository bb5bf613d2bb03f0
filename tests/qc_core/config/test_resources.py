"""The memory of a training step follows from its recipe and its cores."""

import pytest

from qc_core.config.catalog import find_recipe
from qc_core.config.resources import training_memory


@pytest.mark.parametrize(("cpus", "more"), [("500m", 0), ("2", 0), ("4", 2), ("8", 4), ("64", 5)])
def test_each_core_after_the_second_adds_a_process_up_to_eight(cpus: str, more: int) -> None:
    assert training_memory("smoke", cpus) == f"{find_recipe('smoke').memory_gib + more}Gi"
