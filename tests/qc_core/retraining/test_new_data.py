"""A retraining runs only if its data are new to the parent policy."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from qc_core.config.settings import Config
from qc_core.retraining.new_data import find_new_data
from qc_core.store.open import open_store
from tests.qc_core.retraining.versions import BOTH, NEW, OLD, publish


def starting_from(config: Config, version: str) -> Config:
    return replace(config, train=replace(config.train, warm_start=version))


def test_data_of_the_parent_are_not_new(config: Config, first: str) -> None:
    found = find_new_data(starting_from(config, first), OLD, open_store())
    assert not found.new and found.text.startswith(f"up to date: smoke:{first} was already")
    assert find_new_data(starting_from(config, first), BOTH, open_store()).new
    assert find_new_data(
        starting_from(config, first), msgspec.structs.replace(OLD, digest="d" * 64), open_store()
    ).new


def test_data_of_a_child_that_lost_at_the_gate_are_not_new(
    config: Config, first: str, second: str
) -> None:
    found = find_new_data(starting_from(config, first), BOTH, open_store())
    assert not found.new and f"smoke:{second}" in found.text
    # The order of the sources makes no difference.
    other = msgspec.structs.replace(BOTH, sources=(NEW, OLD))
    assert not find_new_data(starting_from(config, first), other, open_store()).new


def test_a_damaged_old_version_does_not_stop_retraining(
    config: Config, first: str, second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store().put(f"policies/smoke/versions/{first}/manifest.json", b"")
    assert find_new_data(
        starting_from(config, second), msgspec.structs.replace(OLD, digest="d" * 64), open_store()
    ).new
    assert f"policies/smoke/versions/{first}/manifest.json" in capsys.readouterr().err


def test_data_of_a_child_that_never_reached_the_gate_are_new(
    config: Config, first: str, tmp_path: Path
) -> None:
    publish(tmp_path / "run-interrupted", BOTH, f"smoke:{first}")
    assert find_new_data(starting_from(config, first), BOTH, open_store()).new


def test_training_without_a_parent_always_has_new_data(config: Config, first: str) -> None:
    assert find_new_data(config, OLD, open_store()).new
