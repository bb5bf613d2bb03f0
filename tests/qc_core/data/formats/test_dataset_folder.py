"""The rows of a dataset folder are checked even if its checksums are correct."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter, open_dataset
from qc_core.data.formats import dataset_folder as content
from qc_core.data.formats.dataset_folder import require_complete_episodes
from qc_core.data.ingest import ingest
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes


@pytest.mark.parametrize("block_rows", [1, 7, 40, 1000])
@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("observations", 41, np.nan, "observations holds NaN or infinity in row 41"),
        ("actions", 8, np.inf, "actions holds NaN or infinity in row 8"),
        ("rewards", 149, np.nan, "rewards holds NaN or infinity in row 149"),
        ("masks", 3, 0.5, "must be 0 or 1 in every row"),
        ("terminals", 3, -1, "must be 0 or 1 in every row"),
        ("terminals", 38, 1, "does not follow the ends of episodes in row 39"),
        ("observation_index", 70, 10**6, "does not follow the ends of episodes in row 70"),
        ("observation_index", 71, -5, "does not follow the ends of episodes in row 71"),
    ],
)
def test_rows_that_are_not_episodes_are_refused(
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    block_rows: int,
    name: str,
    row: int,
    value: float,
    message: str,
) -> None:
    monkeypatch.setattr(content, "_BLOCK_ROWS", block_rows)
    opened = open_dataset(dataset)
    require_complete_episodes(opened)
    values = np.array(getattr(opened, name))
    values[row] = value
    with pytest.raises(UsageError, match=rf"\.npy.*{message}"):
        require_complete_episodes(replace(opened, **{name: values}))


def test_a_folder_with_invalid_rows_is_not_ingested(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    rewards = np.full(5, np.nan, np.float32)
    writer = DatasetWriter(tmp_path / "bad", spec)
    writer.append(replace(random_episodes(spec, [5]), rewards=rewards))
    writer.finish(DataSource())
    bad = replace(config, data=replace(config.data, source=(str(tmp_path / "bad"),)))
    with pytest.raises(UsageError, match=r"rewards\.npy: rewards holds NaN or infinity in row 0"):
        ingest(bad, tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == [tmp_path / "bad"]
