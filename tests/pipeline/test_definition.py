"""The compiled package has the steps of the local pipeline, and inputs with descriptions."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from components.image import TRAIN_IMAGE
from pipeline.compile import compile_pipeline
from pipeline.form import INPUTS
from pipeline.inputs import parse_inputs
from pipeline.package import compile_package
from pipeline.placement import STEPS
from qc_core import __version__
from qc_core.cli.main import main
from qc_core.config.catalog import recipe_names
from qc_core.config.methods import METHODS
from qc_core.config.resolve import resolve
from tests.pipeline.tasks import read_package, tasks_of

# Artifacts that KFP shows no content of.
DATA = ("system.Artifact", "system.Dataset", "system.Model")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    compile_pipeline("smoke", ["--train.offline-steps", "7"], path)
    return read_package(path)[0]


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
    assert inputs["recipe_overrides"]["defaultValue"] == "--train.offline-steps 7"
    assert all(entry.get("description") for entry in inputs.values())


def test_inputs_with_few_values_have_drop_down_lists(package: dict[str, Any]) -> None:
    inputs = package["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe"]["literals"] == recipe_names()
    assert inputs["recipe_method"]["literals"][1:] == list(METHODS)
    assert inputs["recipe_method"]["defaultValue"] == inputs["recipe_method"]["literals"][0]
    assert inputs["resources_gpus"]["literals"] == ["0", "1"]


def test_description_is_a_table_of_all_inputs_in_the_order_of_the_form(
    package: dict[str, Any],
) -> None:
    """KFP's form sorts the inputs by name and shows no descriptions of them."""
    inputs = package["root"]["inputDefinitions"]["parameters"]
    assert sorted(INPUTS) == list(INPUTS) == sorted(inputs)
    description = package["pipelineInfo"]["description"]
    assert "`q-chunking-runner`" in description
    rows = [line for line in description.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == sorted(inputs)
    # The API takes it as a part of a URL.
    assert len(quote(description)) < 4000


def test_examples_of_the_form_are_valid_values(
    package: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = package["root"]["inputDefinitions"]["parameters"]
    examples = {name: entry.example for name, entry in INPUTS.items()}
    resources = [f"{n}={e}" for n, e in examples.items() if n.startswith("resources")]
    assert len(parse_inputs(resources, inputs)) == len(resources)
    for name, example in examples.items():
        assert example in inputs[name].get("literals", [example])
    method = ["--train.method", examples["recipe_method"]]
    resolve(examples["recipe"], [*method, *examples["recipe_overrides"].split()])


def test_each_task_depends_only_on_what_it_waits_for_directly(package: dict[str, Any]) -> None:
    """KFP's UI draws an edge for each dependency."""
    edges = {
        (before, name)
        for name, task in _training(package).items()
        for before in task.get("dependentTasks", ())
    }
    assert edges == {
        ("pretrain", "for-loop-3"),
        ("for-loop-3", "select"),
        ("select", "evaluate"),
        ("evaluate", "export"),
        ("export", "promote"),
        ("promote", "report"),
    }
    tasks = package["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["condition-2"]["dependentTasks"] == ["ingest"]


def test_names_fit_into_the_boxes_of_the_ui(package: dict[str, Any]) -> None:
    for name, task in tasks_of(package).items():
        is_graph = "dag" in package["components"][task["componentRef"]["name"]]
        assert len(task["taskInfo"]["name"]) <= (17 if is_graph else 20), name


def test_method_of_the_command_line_is_an_input_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    compile_pipeline("smoke", ["--train.method=fql", "--seed", "4"], path)
    inputs = read_package(path)[0]["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe_method"]["defaultValue"] == "fql"
    assert inputs["recipe_overrides"]["defaultValue"] == "--seed 4"


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
    inputs = read_package(path)[0]["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe"]["defaultValue"] == "cube-double-task1"
    for entry in inputs.values():
        assert entry.get("defaultValue") in entry.get("literals", [entry.get("defaultValue")])


def test_package_without_a_recipe_is_the_one_that_is_released(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    assert main(["compile", "-o", str(path)]) == 0
    assert path.read_text() == compile_package("smoke", ["--seed", "3"]).content
    assert main(["compile", "-o", str(path), "--seed", "3"]) == 2


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
    assert condition.endswith("['pipelinechannel--ingest-decision'] == 'train'")
    assert {"pretrain", "promote", "report"} <= set(_training(package))


def test_tuning_runs_in_parallel_workers(package: dict[str, Any]) -> None:
    (loop,) = [task for task in _training(package).values() if "parameterIterator" in task]
    assert loop["dependentTasks"] == ["pretrain"]


def test_best_trial_is_selected_after_all_workers_have_ended(package: dict[str, Any]) -> None:
    tasks = _training(package)
    (loop,) = [name for name, task in tasks.items() if "parameterIterator" in task]
    assert loop in tasks["select"]["dependentTasks"]


def test_only_the_last_step_has_metrics_and_a_summary(package: dict[str, Any]) -> None:
    shown = {
        (step, name): entry["artifactType"]["schemaTitle"]
        for step in STEPS
        for name, entry in package["components"][f"comp-{step}"]["outputDefinitions"][
            "artifacts"
        ].items()
    }
    assert {place: kind for place, kind in shown.items() if kind not in DATA} == {
        ("outcome", "summary"): "system.Markdown",
        ("outcome", "result"): "system.Metrics",
        ("report", "report"): "system.HTML",
    }


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
