"""Two ways of exploring are compared from the same starts, and drawn."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.envs.trajectory import Landmark, Trajectory
from qc_core.errors import UsageError
from qc_core.evaluation.coherence import LAGS, compare
from qc_core.evaluation.exploration import SINGLE_ACTIONS, STEPS, explore, rows
from qc_core.export.export import export
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.report import figures
from qc_core.training.pretrain import pretrain


@pytest.fixture(scope="module")
def single_action_policy(
    tmp_path_factory: pytest.TempPathFactory, config: Config, dataset: Path
) -> Path:
    folder = tmp_path_factory.mktemp("fql")
    pretrain(replace(config, train=config.train.changed(method="fql")), dataset, folder / "fql")
    export(folder / "fql", folder / "policy")
    return folder / "policy"


def test_chunks_and_single_actions_explore_from_the_same_starts(policy: Path) -> None:
    measures, rollouts = explore(policy, [1, 2])
    chunks, single = rollouts.values()
    assert list(rollouts) == ["chunks of 5, open loop", SINGLE_ACTIONS]
    assert measures.episodes == 2
    for one, other in zip(chunks, single, strict=True):
        assert one.steps == other.steps <= STEPS
        np.testing.assert_array_equal(one.observations_TO[0], other.observations_TO[0])
        # The first chunk is the same; the second rollout executes only its first action.
        np.testing.assert_array_equal(one.actions_TA[0], other.actions_TA[0])
        assert not np.array_equal(one.actions_TA[1], other.actions_TA[1])
    labels = [row[0] for row in rows(measures)]
    assert "path of the end effector in 10 steps, cm" in labels
    assert "cells of 5 cm visited in an episode" in labels
    picture = figures.exploration(measures, rollouts)
    assert picture.startswith("<svg") and "chunks of 5, open loop" in picture


def test_a_policy_can_be_compared_with_another_policy(
    policy: Path, single_action_policy: Path
) -> None:
    _, rollouts = explore(policy, [1], against=single_action_policy)
    assert list(rollouts) == [str(policy), str(single_action_policy)]
    with pytest.raises(UsageError, match="is the first policy: give another policy"):
        explore(policy, [1], against=policy)


def test_comparing_single_actions_with_themselves_is_refused(
    policy: Path, single_action_policy: Path
) -> None:
    with pytest.raises(UsageError, match="executes one action at a time"):
        explore(single_action_policy, [1])
    with pytest.raises(UsageError, match="executes one action at a time"):
        explore(policy, [1], execution_horizon=1)
    with pytest.raises(UsageError, match=r"execution horizon must be in \[1, 5\].* got 6"):
        explore(policy, [1], execution_horizon=6)


def test_policies_of_different_environments_are_refused(policy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(policy, tmp_path / "other"))
    contract = json.loads((other / "policy.json").read_text())
    (other / "policy.json").write_text(json.dumps({**contract, "environment": "else-v0"}))
    write_checksums(other)
    with pytest.raises(UsageError, match="have different environments"):
        explore(policy, [1], against=other)


def test_without_a_position_the_figure_shows_only_the_actions() -> None:
    rng = np.random.default_rng(0)

    def episode(place: Landmark | None) -> Trajectory:
        return Trajectory(
            rng.normal(size=(LAGS + 2, 4)),
            rng.normal(size=(LAGS + 1, 2)),
            place,
            rng.normal(size=(LAGS + 2, 2 if place else 0)),
        )

    unplaced = {name: [episode(None)] for name in ("one", "two")}
    picture = figures.exploration(compare(unplaced), unplaced)
    assert "autocorrelation of actions" in picture and "displacement" not in picture
    body = {name: [episode(Landmark("body", 0.5))] for name in ("one", "two")}
    assert "displacement of the body" in figures.exploration(compare(body), body)
