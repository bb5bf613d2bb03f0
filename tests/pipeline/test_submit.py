"""`qc submit` against a server that checks every request with KFP's published models."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline import server
from pipeline.cli.plan import require_visible_sources
from pipeline.package import compile_package
from pipeline.server import connect
from pipeline.versions import UNRELEASED, upload
from qc_core.cli.main import main
from qc_core.config.catalog import find_recipe
from qc_core.config.resources import training_memory
from qc_core.store.open import open_store
from tests.pipeline.kfp_server import KFP, answer, drop, late, slow

SUBMIT = ["submit", "smoke", "--seed", "3"]


def only(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (entry,) = entries.values()
    return entry


def test_run_starts_with_the_given_parameters(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SUBMIT, "--run-name", "mine", "--experiment", "nightly"]) == 0
    run = only(kfp.runs)
    assert run["display_name"] == "mine"
    assert run["service_account"] == "q-chunking-runner"
    given = run["runtime_config"]["parameters"]
    assert (given["recipe"], given["recipe_overrides"]) == ("smoke", "--seed 3")
    # KFP's pages show, and clones copy, only what was sent.
    version = only(kfp.versions)
    specification = version["pipeline_spec"]["pipeline_spec"]
    assert given.keys() == specification["root"]["inputDefinitions"]["parameters"].keys()
    assert re.fullmatch(r"[0-9.]+-20\d\d-\d\d-\d\d-[0-9a-f]{7}", version["name"])
    assert "| `resources_gpus` |" in version["description"]
    # The pipeline of released versions, which schedules run, has not changed.
    assert kfp.names(kfp.pipelines) == [UNRELEASED]
    assert run["description"].startswith("recipe smoke; overrides --seed 3; submission ")
    assert run["experiment_id"] in kfp.experiments
    assert kfp.names(kfp.experiments) == ["nightly"]
    assert run["pipeline_version_reference"]["pipeline_version_id"] in kfp.versions
    printed = capsys.readouterr().out
    assert run["run_id"] in printed
    assert f"{kfp.url}/#/runs/details/{run['run_id']}" in printed


def test_the_page_in_mlflow_is_printed(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    page = "http://localhost:5000/#/experiments/1/runs/2"
    kfp.plugins_output = {"mlflow": {"entries": {"run_url": {"value": page}}}}
    assert main(SUBMIT) == 0
    assert f"mlflow   {page}\n" in capsys.readouterr().out


def test_run_requests_the_memory_that_its_recipe_needs(kfp: KFP) -> None:
    for recipe, cpus in (("smoke", "2"), ("cube-triple", "2"), ("smoke", "8")):
        assert main(["submit", recipe, "--input", f"resources_cpus={cpus}"]) == 0
    smoke, large, more_cores = (
        run["runtime_config"]["parameters"]["resources_memory"] for run in kfp.runs.values()
    )
    assert smoke == f"{find_recipe('smoke').memory_gib}Gi"
    assert large == f"{find_recipe('cube-triple').memory_gib}Gi" != smoke
    assert more_cores == training_memory("smoke", "8") != smoke


def test_inputs_become_parameters_of_the_run(kfp: KFP) -> None:
    arguments = [
        "--input",
        "resources_gpus=1",
        "--input",
        'resources_node_selector={"pool": "gpu"}',
        "--train.method",
        "fql",
    ]
    assert main([*SUBMIT, *arguments]) == 0
    given = only(kfp.runs)["runtime_config"]["parameters"]
    assert (given["resources_gpus"], given["resources_node_selector"]) == ("1", {"pool": "gpu"})
    assert (given["recipe_method"], given["recipe"]) == ("fql", "smoke")
    assert given["recipe_overrides"] == "--seed 3"
    run = only(kfp.runs)
    assert run["display_name"].startswith("smoke fql seed 3 20")
    assert "recipe smoke; method fql; overrides --seed 3; resources_gpus 1" in run["description"]
    # Inputs belong to the run, not to the package.
    assert main(SUBMIT) == 0
    assert len(kfp.versions) == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("resources_gpus", "NAME=VALUE"),
        ("resources_gpu=1", "Did you mean resources_gpus?"),
        ("recipe=other", "the argument RECIPE sets it"),
        ("recipe_method=fql", "the option --train.method sets it"),
        ("method=fql", "the option --train.method sets it"),
        ("overrides=--seed 3", "an option of the command, such as --seed 3, sets it"),
        ("tolerations=[]", "is now an option: --tolerate KEY=VALUE:EFFECT"),
        ("gpu_type=amd.com/gpu", "is now an option: --gpu-type amd.com/gpu"),
        ("resources_node_selector=pool", "must be a JSON object"),
        ("resources_gpus=one", "resources_gpus must be one of 0, 1, got 'one'"),
        ("memory=16GB", "resources_memory must be a Kubernetes quantity"),
        ("resources_cpus=0", "resources_cpus must be a Kubernetes quantity"),
        ("signing_secret=mine", "--input signing_secret is now an option: --signing-secret mine"),
        ('resources_node_selector={"pool": 1}', "node_selector must map labels to text"),
    ],
)
def test_invalid_input_is_refused(
    kfp: KFP, capsys: pytest.CaptureFixture[str], word: str, expected: str
) -> None:
    assert main([*SUBMIT, "--input", word]) == 2
    assert expected in capsys.readouterr().err
    assert not kfp.requests


def test_old_name_of_an_input_still_works(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SUBMIT, "--input", "memory=16Gi"]) == 0
    assert only(kfp.runs)["runtime_config"]["parameters"]["resources_memory"] == "16Gi"
    assert "--input memory is now called resources_memory" in capsys.readouterr().err


def test_version_is_uploaded_only_if_the_package_changed(kfp: KFP) -> None:
    for _ in range(2):
        assert main(SUBMIT) == 0
    assert len(kfp.runs) == 2 and len(kfp.versions) == 1 and len(kfp.pipelines) == 1
    # Recipe and options are values of the run.
    assert main(["submit", "cube-double", "--seed", "4"]) == 0
    assert len(kfp.versions) == 1
    assert main([*SUBMIT, "--store-secret", "mine"]) == 0
    assert len(kfp.versions) == 2 and len(kfp.experiments) == 1


def test_recipe_of_one_task_is_submitted(kfp: KFP) -> None:
    assert main(["submit", "cube-double-task1"]) == 0
    assert only(kfp.runs)["runtime_config"]["parameters"]["recipe"] == "cube-double-task1"


def test_concurrent_submits_share_one_version(kfp: KFP) -> None:
    package = compile_package("smoke", [])
    versions = []

    def submit() -> None:
        with connect() as server:
            versions.append(upload(server, package).pipeline_version_id)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == [next(iter(kfp.versions))] * 4


def test_objects_that_another_client_creates_meanwhile_are_used(kfp: KFP) -> None:
    assert main(SUBMIT) == 0
    # Each object is missing when it is looked up, and exists when it is created.
    kfp.fail("GET", "/pipelines/names/", answer(404, "{}"))
    kfp.fail("GET", "/versions$", answer(200, "{}"))
    kfp.fail("GET", "/experiments$", answer(200, "{}"))
    assert main(SUBMIT) == 0
    assert not any(fault.times for fault in kfp.faults)
    assert len(kfp.pipelines) == len(kfp.versions) == len(kfp.experiments) == 1
    assert kfp.requests.count("POST /apis/v2beta1/pipelines/upload_version") == 2


def test_version_of_the_same_name_with_other_content_is_refused(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SUBMIT) == 0
    only(kfp.versions)["description"] = "made by hand"
    assert main(SUBMIT) == 1
    name = only(kfp.versions)["name"]
    expected = f"if version {name} of q-chunking-unreleased has other content, delete it there"
    assert expected in capsys.readouterr().err
    assert len(kfp.runs) == 1


def test_unexplained_version_conflict_is_one_line(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.dumps({"error_message": "Failed to create a pipeline version"})
    kfp.fail("POST", "/upload_version$", answer(409, said))
    assert main(SUBMIT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the package was not uploaded" in line
    assert "Failed to create a pipeline version" in line


def test_interrupted_upload_leaves_nothing(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.fail("POST", "/upload_version$", drop)
    assert main(SUBMIT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the package was not uploaded" in line and "was lost" in line
    assert not kfp.versions and not kfp.runs
    assert main(SUBMIT) == 0


@pytest.mark.parametrize("turns", [1, 3])
def test_run_that_the_server_creates_after_a_timeout_is_found_and_not_started_twice(
    kfp: KFP, capsys: pytest.CaptureFixture[str], turns: int
) -> None:
    """CreateRun takes a minute if KFP's MLflow does not answer, longer than proxies wait."""
    assert main([*SUBMIT, "--run-name", "same"]) == 0
    kfp.fail("POST", "/runs$", late(turns))
    capsys.readouterr()
    assert main([*SUBMIT, "--run-name", "same"]) == 0
    first, second = kfp.runs
    assert second in capsys.readouterr().out and first != second
    assert kfp.requests.count("POST /apis/v2beta1/runs") == 2


def test_an_answer_after_70_seconds_is_waited_for_and_a_later_one_starts_no_second_run(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, read_seconds = server.TIMEOUT
    assert read_seconds > 70
    # A client that waits 0.2 s sees a slower server than one that waits two minutes.
    monkeypatch.setattr(server, "TIMEOUT", (10.0, 0.2))
    kfp.fail("POST", "/runs$", slow)
    assert main(SUBMIT) == 0
    assert only(kfp.runs)["run_id"] in capsys.readouterr().out
    assert kfp.requests.count("POST /apis/v2beta1/runs") == 1


def test_run_whose_answer_is_lost_is_found(kfp: KFP) -> None:
    kfp.fail("POST", "/runs$", None)
    assert main(SUBMIT) == 0
    assert len(kfp.runs) == 1


def test_run_that_is_not_confirmed_is_one_line_with_a_place_to_look(
    kfp: KFP, impatient: None, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.fail("POST", "/runs$", answer(504, "", "text/plain"))
    assert main(SUBMIT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"look for it at {kfp.url}/#/runs before you submit it again" in line


@pytest.mark.parametrize("command", [["submit"], ["compile", "-o", "p.yaml"]])
def test_path_that_no_pod_can_see_is_refused_before_anything_is_sent(
    kfp: KFP,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"pipeline.cli.{command[0]}.check_plan", require_visible_sources)
    assert main([*command, "smoke", "--data", "mine.npz"]) == 2
    assert "which no pod can see: give --upload mine.npz" in capsys.readouterr().err
    assert not kfp.requests


def test_local_data_are_uploaded_and_named_in_the_run(
    kfp: KFP, s3_store: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*SUBMIT, "--upload", str(dataset)]) == 0
    overrides = only(kfp.runs)["runtime_config"]["parameters"]["recipe_overrides"]
    source = overrides.split("store:")[1]
    assert f"{source}/dataset.json" in open_store().keys(f"{source}/")
    assert main([*SUBMIT, "--upload", str(dataset), "--data", "collect"]) == 2
    monkeypatch.setenv("QC_STORE", "runs/store")
    assert main([*SUBMIT, "--upload", str(dataset)]) == 2
    assert len(kfp.runs) == 1


def test_continuing_a_run_repeats_its_recipe_options_and_inputs_unless_others_are_given(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--tune.trials", "2", "--data", "collect", "--input", "resources_memory=8Gi"]
    assert main([*SUBMIT, *arguments, "--input", "resources_gpus=1"]) == 0
    (first,) = kfp.runs
    kfp.runs[first]["state"] = "FAILED"
    capsys.readouterr()
    more = ["--tune.trials", "9", "--input", "resources_memory=16Gi"]
    assert main(["submit", "--continue", first, *more]) == 0
    second = kfp.runs[list(kfp.runs)[1]]["runtime_config"]["parameters"]
    assert (second["recipe"], second["continue_run"]) == ("smoke", first)
    assert second["recipe_overrides"] == "--seed 3 --tune.trials 9 --data.source collect"
    assert (second["resources_gpus"], second["resources_memory"]) == ("1", "16Gi")
    assert not capsys.readouterr().err
    # Inputs that this version lacks, or with values that it does not offer.
    given = kfp.runs[first]["runtime_config"]["parameters"]
    for name, value in (("unheard_of", "1"), ("resources_gpus", "2")):
        kfp.runs[first]["runtime_config"] = {"parameters": {**given, name: value}}
        assert main(["submit", "--continue", first]) == 2
        assert f"this version does not accept ({name}={value})" in capsys.readouterr().err
    kfp.runs[first]["runtime_config"] = {"parameters": given}
    # A run in progress, and one that KFP no longer has.
    kfp.runs[first]["state"] = "RUNNING"
    assert main(["submit", "--continue", first]) == 0
    assert f"run {first} is RUNNING: both runs" in capsys.readouterr().err
    gone = "00000000-0000-0000-0000-000000000000"
    assert main(["submit", "--continue", gone]) == 2
    assert "if it was deleted there, give its recipe and options" in capsys.readouterr().err
    assert main([*SUBMIT, "--continue", gone]) == 0
    assert kfp.runs[list(kfp.runs)[-1]]["runtime_config"]["parameters"]["continue_run"] == gone
    assert main(["submit"]) == 2 and "give a recipe, or --continue" in capsys.readouterr().err


def test_run_with_the_inputs_of_an_earlier_version_is_continued(kfp: KFP) -> None:
    assert main(SUBMIT) == 0
    (first,) = kfp.runs
    kfp.runs[first]["runtime_config"]["parameters"] = {
        "recipe": "smoke",
        "method": "fql",
        "overrides": "--seed 5",
        "memory": "16Gi",
        "gpu_type": "nvidia.com/gpu",
        "tolerations": [],
    }
    assert main(["submit", "--continue", first]) == 0
    second = kfp.runs[list(kfp.runs)[1]]["runtime_config"]["parameters"]
    assert (second["recipe_method"], second["recipe_overrides"]) == ("fql", "--seed 5")
    assert (second["resources_memory"], second["continue_run"]) == ("16Gi", first)
