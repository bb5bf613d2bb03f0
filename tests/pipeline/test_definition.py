"""The compiled package has the steps of the local pipeline, and inputs with descriptions."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.image import TRAIN_IMAGE
from pipeline.placement import STEPS
from qc_core import __version__
from qc_core.cli.main import main
from qc_core.config.catalog import recipe_names
from qc_core.config.methods import METHODS
from tests.pipeline.tasks import tasks_of


@pytest.fixture
def package(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "pipeline.yaml"
    assert main(["compile", "smoke", "-o", str(path), "--train.offline-steps", "7"]) == 0
    return next(yaml.safe_load_all(path.read_text()))


def test_every_step_uses_the_same_versioned_image(package: dict[str, Any]) -> None:
    executors = package["deploymentSpec"]["executors"]
    assert {name.removeprefix("exec-") for name in executors} == set(STEPS)
    assert {executor["container"]["image"] for executor in executors.values()} == {TRAIN_IMAGE}
    assert TRAIN_IMAGE.endswith(f":{__version__}")


def test_no_step_installs_packages_at_run_time(package: dict[str, Any]) -> None:
    for executor in package["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_inputs_have_descriptions_and_the_recipe_as_default(package: dict[str, Any]) -> None:
    inputs = package["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe"]["defaultValue"] == "smoke"
    assert inputs["overrides"]["defaultValue"] == "--train.offline-steps 7"
    assert all(entry.get("description") for entry in inputs.values())


def test_recipe_and_method_have_drop_down_lists(package: dict[str, Any]) -> None:
    inputs = package["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe"]["literals"] == recipe_names()
    assert inputs["method"]["literals"][1:] == list(METHODS)
    assert inputs["method"]["defaultValue"] == inputs["method"]["literals"][0]


def test_placeholders_are_entire_arguments(
    package: dict[str, Any],
) -> None:
    constants = [
        str(entry["runtimeValue"]["constant"])
        for task in tasks_of(package).values()
        for entry in task.get("inputs", {}).get("parameters", {}).values()
        if "runtimeValue" in entry
    ]
    placeholders = [constant for constant in constants if "{{$.pipeline_" in constant]
    assert set(placeholders) == {"{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}"}


def test_each_run_has_its_own_study(package: dict[str, Any]) -> None:
    tasks = tasks_of(package)
    for name in ("configure", "tune", "select"):
        study = tasks[name]["inputs"]["parameters"]["run_id"]
        assert study["runtimeValue"]["constant"] == "{{$.pipeline_job_uuid}}"


def test_loops_keep_the_names_that_the_driver_looks_up(
    package: dict[str, Any],
) -> None:
    """`Collected` looks up a loop by its key, but KFP's server stores it under its name."""
    for name, task in tasks_of(package).items():
        if "parameterIterator" in task:
            assert task["taskInfo"]["name"] == name


def test_recipe_without_a_form_entry_compiles_to_one_of_the_form(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    assert main(["compile", "cube-double-task1", "-o", str(path)]) == 0
    inputs = next(yaml.safe_load_all(path.read_text()))["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe"]["defaultValue"] == "cube-double-task1"
    for entry in inputs.values():
        assert entry.get("defaultValue") in entry.get("literals", [entry.get("defaultValue")])


def test_run_status_is_reported_after_success_and_failure(package: dict[str, Any]) -> None:
    outcome = package["root"]["dag"]["tasks"]["outcome"]
    assert outcome["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    (steps,) = outcome["dependentTasks"]
    assert outcome["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"] == steps


def _training(package: dict[str, Any]) -> dict[str, Any]:
    """The tasks that a retraining without new data skips."""
    return package["components"]["comp-condition-2"]["dag"]["tasks"]


def test_training_is_skipped_without_new_data(package: dict[str, Any]) -> None:
    tasks = package["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert set(tasks) == {"configure", "ingest", "condition-2"}
    condition = tasks["condition-2"]["triggerPolicy"]["condition"]
    assert condition.endswith("['pipelinechannel--ingest-Output'] == 'train'")
    assert {"pretrain", "promote", "report"} <= set(_training(package))


def test_tuning_runs_in_parallel_workers(package: dict[str, Any]) -> None:
    (loop,) = [task for task in _training(package).values() if "parameterIterator" in task]
    assert loop["dependentTasks"] == ["pretrain"]


def test_best_trial_is_selected_after_all_workers_have_ended(package: dict[str, Any]) -> None:
    tasks = _training(package)
    (loop,) = [name for name, task in tasks.items() if "parameterIterator" in task]
    assert loop in tasks["select"]["dependentTasks"]


def test_every_step_shows_metrics_or_the_report(package: dict[str, Any]) -> None:
    shown = {"system.Metrics", "system.HTML"}
    for name in set(STEPS) - {"configure", "outcome"}:
        artifacts = package["components"][f"comp-{name}"]["outputDefinitions"]["artifacts"]
        kinds = {entry["artifactType"]["schemaTitle"] for entry in artifacts.values()}
        assert kinds & shown, name


def test_package_contains_no_secret_and_no_local_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    path = tmp_path / "pipeline.yaml"
    assert main(["compile", "smoke", "-o", str(path)]) == 0
    content = path.read_text()
    assert "very-secret" not in content
    assert str(Path.home()) not in content and str(tmp_path) not in content


def test_compile_overwrites_only_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: smoke  # with notes\n")
    assert main(["compile", "smoke", "-o", str(path)]) == 2
    assert "mine.yaml exists and is not a pipeline package" in capsys.readouterr().err
    assert path.read_text() == "recipe: smoke  # with notes\n"
    path.unlink()
    for _ in range(2):
        assert main(["compile", "smoke", "-o", str(path)]) == 0
    assert [*tmp_path.iterdir()] == [path]
