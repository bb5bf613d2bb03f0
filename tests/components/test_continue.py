"""A run that continues another one repeats nothing that is finished, and may have more trials."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.configure.component import configure
from components.evaluate.component import evaluate
from components.export.component import export
from components.ingest.component import ingest
from components.pretrain.component import pretrain
from components.promote.component import promote
from components.tune.component import tune
from qc_core.config.differences import AFTER_TRAINING
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.files import read_json
from qc_core.store.open import open_store
from qc_core.training.checkpoint import weights_digest
from qc_core.tuning.study import load_study
from tests.components.test_configure import FORM

SMALL = (
    "--environment Pendulum-v1 --publish.minimum-success 0 --train.hidden-dims 8 "
    "--train.batch-size 16 --train.offline-steps 4 --train.online-steps 8 "
    "--train.learning-starts 4 --tune.workers 1 --tune.evaluations 1 --tune.episodes 1 "
    "--evaluate.episodes 1 --evaluate.workers 1"
)
RESOURCES = {"gpus": "0", "cpus": "1", "memory": "1Gi"}


class Run:
    """The steps of a run and their artifacts in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.artifacts: dict[str, dsl.Artifact] = {}

    def artifact(self, name: str) -> dsl.Artifact:
        return self.artifacts.setdefault(name, dsl.Artifact(uri=str(self.folder / name)))

    def call(self, step: Any, *artifacts: str, **arguments: Any) -> Any:
        named = {name: self.artifact(name) for name in artifacts}
        return step.python_func(run_id=self.folder.name, **named, **arguments)

    def configure(self, overrides: str, continue_run: str = "") -> Any:
        form = {name: value for name, value in FORM.items() if name != "run_id"}
        given = {**form, "overrides": overrides, "continue_run": continue_run}
        return self.call(configure, "config", **given)

    def train(self) -> None:
        self.call(ingest, "config", "dataset", "held_out", "new_data")
        self.call(pretrain, "config", "dataset", "checkpoint", **RESOURCES)
        artifacts = ("config", "dataset", "checkpoint", "trials")
        self.call(tune, *artifacts, worker="0", **RESOURCES)


@pytest.fixture
def first(tmp_path: Path, pendulum: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that has ended after one trial."""
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / "study.journal"))
    run = Run(tmp_path / "first")
    run.configure(f"{SMALL} --tune.trials 1 --data {pendulum}")
    run.train()
    return run


def test_artifacts_carry_what_they_contain(first: Run) -> None:
    facts = {name: artifact.metadata for name, artifact in first.artifacts.items()}
    assert facts["config"]["recipe"] == FORM["recipe"] and facts["config"]["seed"] == 0
    info = open_dataset(first.folder / "dataset").info
    assert facts["dataset"]["episodes"] == info.episodes
    assert facts["dataset"]["digest"] == info.digest
    assert facts["new_data"]["new"] == "yes"
    assert facts["checkpoint"]["offline_steps"] > 0
    assert facts["checkpoint"]["digest"] == weights_digest(first.folder / "checkpoint")
    assert facts["trials"] == {"complete_trials": 1}


def test_dataset_pretraining_and_trials_are_taken_over_and_trials_are_added(
    first: Run, pendulum: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr("qc_core.data.ingest.ingest", refuse)
        patch.setattr("qc_core.training.pretrain.pretrain", refuse)
        second = Run(first.folder.parent / "second")
        second.configure(f"{SMALL} --tune.trials 2 --data {pendulum}", "first")
        second.train()
    for name in ("dataset/dataset.json", "checkpoint/weights.safetensors"):
        assert (second.folder / name).read_bytes() == (first.folder / name).read_bytes()
    trials = load_study("first", "").get_trials()
    assert [(trial.user_attrs["run"], trial.state.name) for trial in trials] == [
        ("first", "COMPLETE"),
        ("second", "COMPLETE"),
    ]
    log = capsys.readouterr().err
    for step in ("ingest", "pretrain"):
        assert f"{step} is taken over from run first: nothing is computed" in log
    # A later step sees which of its inputs differ.
    for run in (first, second):
        paths = {"online": run.artifact("checkpoint"), "offline": run.artifact("checkpoint")}
        run.call(evaluate, "config", "held_out", "evaluation", **paths)
    assert "evaluate is taken over from run first" in capsys.readouterr().err
    assert read_json(second.folder / "evaluation") == read_json(first.folder / "evaluation")


# Steps give the same result for any value.
WITHOUT_EFFECT = {"data.workers", "evaluate.workers"}
OWN_SECTION = {"evaluate": "evaluate", "promote": "publish"}
# They read a configuration to convert or to check it, and compute nothing from it.
CONVERTERS = (
    *("dataclasses", "qc_core.documents"),
    *("qc_core.config.document", "qc_core.config.limits"),
)


@pytest.fixture
def options_read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The options that steps read in this process, such as `evaluate.episodes`."""
    found: set[str] = set()

    def record(section: str, kind: type) -> None:
        names = {field.name for field in dataclasses.fields(kind)}

        def read(settings: object, name: str) -> Any:
            if name in names and sys._getframe(1).f_globals["__name__"] not in CONVERTERS:
                found.add(f"{section}.{name}")
            return object.__getattribute__(settings, name)

        monkeypatch.setattr(kind, "__getattribute__", read)

    for field in dataclasses.fields(Config):
        value = getattr(Config(), field.name)
        if dataclasses.is_dataclass(value):
            record(field.name, type(value))
    return found


def test_every_step_names_the_options_that_its_result_depends_on(
    tmp_path: Path, pendulum: Path, monkeypatch: pytest.MonkeyPatch, options_read: set[str]
) -> None:
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / "study.journal"))
    run = Run(tmp_path / "only")
    run.configure(f"{SMALL} --tune.trials 1 --data {pendulum}")
    same = {name: run.artifact("checkpoint") for name in ("offline", "online")}
    steps: dict[str, Callable[[], object]] = {
        "ingest": lambda: run.call(ingest, "config", "dataset", "held_out", "new_data"),
        "pretrain": lambda: run.call(pretrain, "config", "dataset", "checkpoint", **RESOURCES),
        "evaluate": lambda: run.call(evaluate, "config", "held_out", "evaluation", **same),
        "export": lambda: run.call(export, "checkpoint", "evaluation", "policy"),
        "promote": lambda: run.call(
            promote, "config", "held_out", "policy", "checkpoint", "promotion"
        ),
    }
    every: set[str] = set()
    for name, execute in steps.items():
        options_read.clear()
        execute()
        every |= options_read
        may_differ = {
            option
            for option in options_read - WITHOUT_EFFECT
            # A run that continues another one has the same values of all other options.
            if f"--{option.replace('_', '-')}" in AFTER_TRAINING
            or option.partition(".")[0] == OWN_SECTION.get(name)
        }
        document = f"runs/only/results/{name}.json"
        declared = json.loads(open_store().get(document))["depends-on"]
        missing = {option for option in may_differ if option.partition(".")[2] not in declared}
        assert not missing, f"{name} depends on {missing}"
    assert {"evaluate.episodes", "evaluate.workers", "publish.minimum_success"} <= every


@pytest.mark.parametrize(
    ("overrides", "earlier", "message"),
    [
        ("--tune.trials 1 --seed 4", "first", "run first was started with --seed 0: give the same"),
        ("--tune.trials 0", "first", "--tune.trials must be at least 1, which run first has"),
        ("--tune.trials 1", "other", "has no run other that could be continued"),
    ],
)
def test_a_run_with_other_results_is_refused_before_anything_is_computed(
    first: Run,
    pendulum: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: str,
    earlier: str,
    message: str,
) -> None:
    second = Run(first.folder.parent / "second")
    with pytest.raises(SystemExit) as ended:
        second.configure(f"{SMALL} {overrides} --data {pendulum}", earlier)
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert not (second.folder / "config").exists()
