"""Recorded episodes are those that were played, in a form that ingest accepts."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qc_core.cli.main import main
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.ingest import ingest
from qc_core.data.uploads.check import upload_check
from qc_core.envs.episode_file import record_policy, write_episodes
from qc_core.envs.play import play_episodes
from qc_core.policy_format.policy_folder import read_contract
from qc_core.runtime.pulled_policy import PulledPolicy
from tests.conftest import ENVIRONMENT
from tests.qc_core.cli.test_main import refused


def test_played_episodes_become_a_data_set(tmp_path: Path, config: Config, policy: Path) -> None:
    (episode,) = record_policy(ENVIRONMENT, PulledPolicy(policy), [7])
    played = play_episodes(ENVIRONMENT, {"it": PulledPolicy(policy)}, [7])
    assert episode.result == played["it"][0]
    write_episodes(tmp_path / "played.npz", read_contract(policy), [episode])
    with closing(upload_check(config, None)) as check:
        assert check(tmp_path / "played.npz") == 1
    data = replace(config.data, source=(str(tmp_path / "played.npz"),))
    ingest(replace(config, data=data), tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    steps = episode.result.steps
    assert dataset.transitions == steps
    recorded = episode.recording
    np.testing.assert_array_equal(dataset.observations, np.float32(recorded.observations_TO))
    np.testing.assert_array_equal(dataset.actions, recorded.actions_TA)
    # OGBench rewards the state in which an action is taken, the environment the one it leads to.
    assert dataset.rewards.sum() == pytest.approx(episode.result.episode_return, abs=1)


def test_a_file_is_not_overwritten(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.npz").write_bytes(b"x")
    assert "in use" in refused(capsys, ["play", str(policy), "--record", f"{tmp_path}/taken.npz"])
    assert "writes an .npz file" in refused(capsys, ["play", str(policy), "--record", "x.zip"])
    assert main(["episodes", "list"]) == 0
    assert "no episodes in" in capsys.readouterr().out
    for argv, missing in (
        (["push"], "required: FILE"),
        (["push", "x.npz"], "give --environment ID, or --policy NAME"),
        (["push", "--environment", ENVIRONMENT], "required: FILE"),
    ):
        assert missing in refused(capsys, ["episodes", *argv])
