"""The configure step refuses invalid inputs of the KFP form before any work starts."""

import re
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.configure.component import configure
from qc_core.config.resources import check_resources
from qc_core.errors import UsageError
from qc_core.files import read_json
from qc_core.tuning.study import load_study

step: Any = configure
FORM = {
    "recipe": "smoke",
    "method": "as the recipe says",
    "overrides": "--seed 3",
    "run_id": "run-1",
    "gpus": "0",
    "cpus": "500m",
    "memory": "1.5Gi",
    "node_selector": {"pool": "gpu"},
    "continue_run": "",
}


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / "study.journal"))


def test_valid_form_opens_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    (workers,) = step.python_func(**FORM, config=dsl.Artifact(uri=str(config)))
    assert workers == ["0", "1"] and read_json(config)["seed"] == 3
    assert len(load_study("run-1", "").get_trials()) == 2
    # As in a form in which only the recipe was changed.
    assert "resources_memory is 1.5Gi; smoke with its own data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("gpus", "1.5"),
        ("gpus", "²"),
        ("cpus", "two"),
        ("memory", "16GB"),
        ("memory", ""),
        ("node_selector", {"pool": 1}),
    ],
)
def test_input_that_would_fail_a_later_step_is_refused_by_name(
    tmp_path: Path, field: str, text: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dsl.Artifact(uri=str(tmp_path / "config.json"))
    with pytest.raises(SystemExit) as ended:
        step.python_func(**{**FORM, field: text}, config=config)
    assert ended.value.code == 2 and f"resources_{field} must" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()


def test_package_of_version_0_2_has_its_inputs_checked_under_their_old_names() -> None:
    """The code of a step is part of the package; what it calls is part of the image."""
    with pytest.raises(UsageError, match=r"^memory must be a Kubernetes quantity"):
        check_resources(gpu_type="nvidia.com/gpu", gpus="0", cpus="1", memory="16GB")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("--environment Pendulum-v1", "no scripted oracle for Pendulum-v1"),
        ("--environment Pendulum-v1 --data.demonstrator os:getcwd", "must take an observation"),
        ("--environment Pendulum-v9 --data store:episodes", "unknown environment 'Pendulum-v9'"),
        ("--data nowhere.npz", "nowhere.npz does not exist"),
        (
            "--environment Pendulum-v1 --data store:episodes --publish.minimum-success 0.5",
            r"has no success signal .* give --publish.minimum-success 0",
        ),
        (
            "--environment robot/so101 --data store:episodes --train.method rlpd",
            "rlpd learns only in a simulator, and robot/so101 has none",
        ),
    ],
)
def test_a_run_whose_later_steps_cannot_work_is_refused(
    tmp_path: Path, overrides: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dsl.Artifact(uri=str(tmp_path / "config.json"))
    with pytest.raises(SystemExit) as ended:
        step.python_func(**{**FORM, "overrides": overrides}, config=config)
    assert ended.value.code == 2 and re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "config.json").exists()


def test_a_robot_without_a_simulator_has_a_plan_without_fine_tuning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    form = {**FORM, "overrides": "--environment robot/so101 --data store:episodes"}
    assert step.python_func(**form, config=dsl.Artifact(uri=str(config))) == (["0"],)
    assert read_json(config)["tune"]["trials"] == 0
    assert "plan: robot/so101 has no simulator" in capsys.readouterr().err
    assert not load_study("run-1", "").get_trials()
