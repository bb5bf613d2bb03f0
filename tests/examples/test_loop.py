"""The example's environment goes through the complete loop, and so does its robot alone.

The steps are those of a run, called one after the other with tiny settings.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qc_core.cli.main import main
from qc_core.config.document import read_config
from qc_core.config.resolve import AS_THE_RECIPE
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.hold_out import copy_held_out
from qc_core.data.ingest import ingest
from qc_core.documents import write
from qc_core.errors import UsageError
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.export import export
from qc_core.policy_format.policy_folder import read_contract
from qc_core.publish.promote import promote
from qc_core.registry.parent import pin_parent
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.report.html import write_report
from qc_core.retraining.new_data import find_new_data
from qc_core.runtime import ChunkPolicy, EpisodeRecorder
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from qc_core.training.pretrain import pretrain
from qc_core.tuning.prepare import prepare
from qc_core.tuning.select import select_best
from qc_core.tuning.worker import run_worker

EXAMPLE = Path(__file__).parents[2] / "examples" / "reach"
SMALL = (
    "--data.episodes 4 --data.workers 1 --train.hidden-dims 8 --train.batch-size 16 "
    "--train.offline-steps 4 --train.online-steps 8 --train.learning-starts 4 --tune.trials 1 "
    "--tune.workers 1 --tune.evaluations 1 --tune.episodes 1 --evaluate.episodes 2 "
    "--evaluate.workers 1 --publish.minimum-success 0 --publish.gate-episodes 2"
)
ROBOT = "robot/reach-arm"


class Run:
    """The steps of a run in a folder, and their artifacts."""

    def __init__(self, folder: Path, overrides: str) -> None:
        folder.mkdir()
        self.folder, study = folder, folder.name
        recipe = str(EXAMPLE / "recipe.yaml")
        (worker,) = prepare(recipe, AS_THE_RECIPE, overrides, study, self.at("config"))
        self.config = read_config(self.at("config"))
        dataset, offline, online = self.at("dataset"), self.at("offline"), self.at("online")
        ingest(self.config, dataset)
        pretrain(self.config, dataset, offline)
        run_worker(
            self.config,
            offline,
            dataset,
            self.at("trials"),
            study_name=study,
            storage="",
            worker=int(worker),
        )
        best = self.at("best")
        select_best(self.config, offline, study, "", best, self.at("history"), published=online)
        held_out = self.at("held-out")
        copy_held_out(self.config, dataset, held_out)
        self.evaluation = evaluate(self.config, offline, best, self.at("evaluation"), held_out)
        export(online, self.at("policy"), self.at("evaluation"))
        self.promotion = promote(
            self.config, self.at("policy"), open_store(), folder.name, online, held_out
        )

    def at(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store and a study of its own, where the example can be imported."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        patch.setenv("QC_THREADS", "1")
        patch.setenv("QC_STORE", str(folder / "store"))
        patch.setenv("QC_STUDY_STORAGE", str(folder / "study.journal"))
        yield folder


@pytest.fixture(scope="module")
def first(place: Path) -> Run:
    return Run(place / "first", SMALL)


@pytest.fixture
def store(place: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("QC_STORE", str(place / "store"))
    monkeypatch.setenv("QC_STUDY_STORAGE", str(place / "study.journal"))
    return open_store()


def test_an_environment_of_a_package_becomes_a_champion(first: Run, store: ObjectStore) -> None:
    dataset = open_dataset(first.at("dataset"))
    assert dataset.source.demonstrator == "reach_arm.expert:act" and dataset.info.episodes == 4
    assert dataset.info.solved_episodes is not None and dataset.info.reports_success
    contract = read_contract(first.at("policy"))
    assert contract.environment == "reach_arm:ReachArm-v0"
    assert contract.control_interval_seconds == 0.05
    assert contract.observation.names == (
        *("angles_0", "angles_1", "goal_0", "goal_1"),
        *("speeds_0", "speeds_1", "tip_0", "tip_1"),
    )
    assert [policy.reports_success for policy in first.evaluation.policies] == [True] * 3
    assert first.promotion.champion


def test_played_episodes_retrain_the_champion(
    first: Run, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played, policy = tmp_path / "played.npz", str(first.at("policy"))
    play = ["play", policy, "--episodes", "2", "--workers", "1", "--record", str(played)]
    assert main(play) == 0
    # An id with and without the package names the same environment.
    assert main(["episodes", "push", str(played), "--environment", "ReachArm-v0"]) == 0
    assert "accepted" in capsys.readouterr().out
    retraining = replace(
        first.config,
        data=replace(first.config.data, source=("collect", "store:episodes"), episodes=2),
        train=replace(first.config.train, warm_start=CHAMPION),
    )
    retraining = pin_parent(retraining)
    info = ingest(retraining, tmp_path / "data")
    assert info.episodes == 4 and [part.kind for part in info.source.sources] == [
        "collect",
        "store",
    ]
    with np.load(played) as steps:
        dataset = open_dataset(tmp_path / "data")
        count = len(steps["rewards"])
        np.testing.assert_array_equal(dataset.rewards[-count:], steps["rewards"])
        np.testing.assert_array_equal(dataset.masks[-count:] == 0, steps["terminals"])
    assert find_new_data(retraining, dataset.source, store).new
    pretrain(retraining, tmp_path / "data", tmp_path / "offline", store)
    export(tmp_path / "offline", tmp_path / "again")
    again = promote(retraining, tmp_path / "again", store, "retraining", tmp_path / "offline")
    assert again.gate.champion_before == first.promotion.version


def test_invalid_episodes_of_any_environment_are_quarantined(
    first: Run, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {
        "observations": np.zeros((70, 8), np.float32),
        "actions": np.zeros((70, 2), np.float32),
        "rewards": -np.ones(70, np.float32),
        "terminals": np.zeros(70, bool),
        "timeouts": np.arange(70) % 35 == 34,
    }
    np.savez(tmp_path / "long.npz", **{**steps, "timeouts": np.arange(70) == 69})
    np.savez(tmp_path / "far.npz", **{**steps, "actions": steps["actions"] + 1.5})
    np.savez(tmp_path / "small.npz", **{**steps, "observations": np.zeros((70, 7), np.float32)})
    files = [str(tmp_path / f"{name}.npz") for name in ("long", "far", "small")]
    push = ["episodes", "push", *files, "--environment", "reach_arm:ReachArm-v0", "--json"]
    assert main(push) == 2
    reasons = [upload["reason"] for upload in json.loads(capsys.readouterr().out)]
    for reason, expected in zip(
        reasons, ("at most 60 steps, one has 70", "one is 0.5 outside", "the file 7"), strict=True
    ):
        assert expected in reason


@pytest.fixture(scope="module")
def robot(first: Run, place: Path) -> Run:
    """A run on recordings of a robot that has no simulator."""
    policy = ChunkPolicy.load(first.at("policy"))
    rng = np.random.default_rng(0)
    recorded = place / "recorded.npz"
    with EpisodeRecorder(recorded, contract=policy.contract, environment=ROBOT) as recorder:
        for _ in range(3):
            recorder.reset(rng.normal(size=8))
            for _ in range(11):
                recorder.step(rng.uniform(-1, 1, 2), rng.normal(size=8), -1.0)
    overrides = (
        f"{SMALL} --environment {ROBOT} --data {recorded} --publish.name arm --data.demonstrator="
    )
    return Run(place / "robot", overrides)


def test_without_a_simulator_a_person_approves_offline_figures(
    robot: Run, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert robot.config.tune.trials == 0 and not robot.evaluation.policies
    cloning, learned = robot.evaluation.held_out
    assert learned.episodes == 1 and learned.value is not None
    assert -20 < cloning.log_likelihood.value < 2
    recorded = read_contract(robot.at("policy")).held_out
    assert recorded is not None and recorded.fit == learned.fit
    gate = robot.promotion.gate
    assert not robot.promotion.champion and gate.episodes == 0
    assert gate.reason.startswith("offline figures only, no episode was played: log-likelihood")
    version = f"arm:{robot.promotion.version}"
    assert Registry(store).alias("arm", CHAMPION) is None
    assert main(["promote", version, "--approve"]) == 0
    assert f"{version} is champion, approved by" in capsys.readouterr().out
    assert Registry(store).alias("arm", CHAMPION) == robot.promotion.version
    assert main(["promote", "reach-arm@latest", "--approve"]) == 2
    assert "the gate decides by episodes" in capsys.readouterr().err


def test_the_report_labels_offline_figures(robot: Run, store: ObjectStore, tmp_path: Path) -> None:
    write(tmp_path / "promotion.json", robot.promotion)
    write_report(
        robot.config,
        dataset=robot.at("dataset"),
        offline=robot.at("offline"),
        history=robot.at("history"),
        evaluation=robot.at("evaluation"),
        policy=robot.at("policy"),
        promotion=tmp_path / "promotion.json",
        output=tmp_path / "report.html",
    )
    page = (tmp_path / "report.html").read_text()
    assert "<b>Offline figures only.</b> robot/reach-arm has no simulator" in page
    assert "No video: robot/reach-arm has no simulator." in page
    assert "Offline figures only" in (robot.at("policy") / "model-card.md").read_text()


def test_uploads_of_a_robot_must_match_the_contract_of_its_policy(
    robot: Run, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = read_contract(robot.at("policy"))
    with EpisodeRecorder(tmp_path / "day.npz", contract=contract) as recorder:
        # Longer than any episode of the training data.
        recorder.reset(np.ones(8))
        for _ in range(15):
            recorder.step(np.zeros(2), np.ones(8), 0.0, success=True)
    with np.load(tmp_path / "day.npz") as day:
        np.savez(tmp_path / "slow.npz", **{**day, "control_interval": 0.1})
    files = [str(tmp_path / "day.npz"), str(tmp_path / "slow.npz")]
    assert main(["episodes", "push", *files, "--environment", ROBOT]) == 2
    assert "give qc episodes push --policy NAME" in capsys.readouterr().err
    assert main(["episodes", "push", *files, "--policy", "arm@latest", "--json"]) == 2
    day_upload, slow = json.loads(capsys.readouterr().out)
    assert (
        day_upload["state"] == "accepted" and "is 0.05 s, that of the file 0.1 s" in slow["reason"]
    )
    data = replace(robot.config.data, source=(*robot.config.data.source, "store:episodes"))
    info = ingest(replace(robot.config, data=data), tmp_path / "data")
    held_out = open_dataset(tmp_path / "data").validation
    assert held_out is not None and held_out.transitions == 15 and info.episodes == 3
    other = replace(robot.config, publish=replace(robot.config.publish, name="nobody"), data=data)
    with pytest.raises(UsageError, match="no policy whose contract"):
        ingest(other, tmp_path / "other")
