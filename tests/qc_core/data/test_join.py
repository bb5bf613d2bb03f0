"""Several sources are joined into one dataset that lists each of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter, open_dataset
from qc_core.data.ingest import ingest
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes


def write(folder: Path, spec: EnvironmentSpec, lengths: list[int], **options: Any) -> Path:
    writer = DatasetWriter(folder, spec)
    writer.append(random_episodes(spec, lengths))
    writer.finish(DataSource(kind="test"), **options)
    return folder


def with_sources(config: Config, *sources: str | Path) -> Config:
    return replace(config, data=replace(config.data, source=tuple(map(str, sources))))


def test_joined_episodes_are_in_the_order_of_the_sources(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    parts = [write(tmp_path / name, spec, lengths) for name, lengths in (("a", [5, 3]), ("b", [4]))]
    info = ingest(with_sources(config, *parts), tmp_path / "joined")
    joined, opened = open_dataset(tmp_path / "joined", verify=True), [*map(open_dataset, parts)]
    for name in ("observations", "actions", "rewards", "masks", "terminals"):
        expected = np.concatenate([getattr(part, name) for part in opened])
        np.testing.assert_array_equal(getattr(joined, name), expected)
    # The second part's first transition starts behind the ten rows of the first part.
    assert joined.observation_index.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13]
    told = [(part.transitions, part.episodes, part.digest) for part in info.source.parts]
    assert told == [(8, 2, opened[0].digest), (4, 1, opened[1].digest)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "joined"]


def test_the_digest_depends_on_every_source(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    for name, lengths in (("a", [5]), ("b", [4]), ("c", [6])):
        write(tmp_path / name, spec, lengths)
    first = ingest(with_sources(config, tmp_path / "a", tmp_path / "b"), tmp_path / "ab")
    other = ingest(with_sources(config, tmp_path / "a", tmp_path / "c"), tmp_path / "ac")
    again = ingest(with_sources(config, tmp_path / "a", tmp_path / "b"), tmp_path / "again")
    assert first.digest == again.digest != other.digest


def test_joining_a_joined_data_set_lists_its_sources(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    for name, lengths in (("a", [5]), ("b", [4]), ("c", [6])):
        write(tmp_path / name, spec, lengths)
    ingest(with_sources(config, tmp_path / "a", tmp_path / "b"), tmp_path / "ab")
    info = ingest(with_sources(config, tmp_path / "ab", tmp_path / "c"), tmp_path / "abc")
    assert [part.transitions for part in info.source.parts] == [5, 4, 6]


def test_a_source_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    write(tmp_path / "a", spec, [5])
    write(tmp_path / "b", spec, [5], reward_convention="another")
    write(tmp_path / "c", msgspec.structs.replace(spec, control_interval=1.0), [5])
    for name, message in (("b", "b does not fit .*a, whose rewards"), ("c", "control interval")):
        with pytest.raises(UsageError, match=message):
            ingest(with_sources(config, tmp_path / "a", tmp_path / name), tmp_path / "joined")
    with pytest.raises(UsageError, match="names a source twice"):
        ingest(with_sources(config, tmp_path / "a", tmp_path / "a"), tmp_path / "joined")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_validation_episodes_are_joined(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    write(tmp_path / "a", spec, [5])
    write(tmp_path / "a" / "validation", spec, [3])
    write(tmp_path / "b", spec, [4])
    ingest(with_sources(config, tmp_path / "b", tmp_path / "a"), tmp_path / "joined")
    joined = open_dataset(tmp_path / "joined")
    assert joined.validation is not None
    assert (joined.transitions, joined.validation.transitions) == (9, 3)
