"""The memory of a training step follows from its recipe and its cores."""

import pytest

from qc_core.config.catalog import find_recipe
from qc_core.config.resources import check_resources, parse_quantity, training_memory
from qc_core.errors import UsageError


@pytest.mark.parametrize(("cpus", "more"), [("500m", 0), ("2", 0), ("4", 2), ("8", 4), ("64", 5)])
def test_each_core_after_the_second_adds_a_process_up_to_eight(cpus: str, more: int) -> None:
    assert training_memory("smoke", cpus) == f"{find_recipe('smoke').memory_gib + more}Gi"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("2", 2),
        ("500m", 0.5),
        ("250000u", 0.25),
        ("100n", 1e-7),
        ("1.5Gi", 1.5 * 2**30),
        ("+.5Ki", 512),
        ("128Ki", 2**17),
        ("4k", 4000),
        ("16G", 16e9),
        ("16e9", 16e9),
        ("1E3", 1000),
        ("2E", 2e18),
        ("2.Ei", 2**61),
        ("5e-1", 0.5),
        ("-1", -1),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", ".", "x", "two", "16GB", "4K", "1ki", "1 Gi", "1Gi\n", "1e", "1e1.5", "1e3Ki", "²"]
)
def test_text_that_kubernetes_does_not_accept_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["0", "0m", "-1", "-0.5Gi", "1e999", "inf"])
def test_pods_need_a_positive_quantity(text: str) -> None:
    with pytest.raises(UsageError, match="memory must be a Kubernetes quantity such as 2 or 16Gi"):
        check_resources(resources_memory=text)
    check_resources(resources_memory="16e9", resources_cpus="1500m")
