"""`qc release` decides which version schedules run; nothing else changes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.package import Package, compile_package
from pipeline.release import Release, release
from pipeline.schedule import make_schedule
from pipeline.server import connect
from pipeline.submit import submit
from pipeline.trigger import interval_trigger
from pipeline.versions import RELEASED, newest_release
from qc_core.cli.main import main
from qc_core.config.resources import training_memory
from qc_core.errors import UsageError
from tests.pipeline.kfp_server import KFP


@pytest.fixture(scope="module")
def package() -> Package:
    return compile_package("smoke", ["--seed", "3"])


@pytest.fixture
def other(package: Package) -> Package:
    """A package of other code."""
    return replace(package, content=f"# Other code.\n{package.content}")


def publish(package: Package) -> Release:
    with connect() as server:
        return release(server, package)


def schedule(package: Package, name: str = "nightly", pin: bool = False) -> None:
    with connect() as server:
        make_schedule(
            server,
            package,
            interval_trigger("12h"),
            name=name,
            experiment="q-chunking",
            service_account="q-chunking-runner",
            pin=pin,
        )


def current() -> str:
    with connect() as server:
        version = newest_release(server)
    assert version is not None
    return version.display_name


@pytest.fixture
def of_version_0_2(kfp: KFP, package: Package) -> Callable[..., dict[str, Any]]:
    """Returns a schedule that sends inputs with the names of version 0.2, whose package it runs."""

    def make(**inputs: Any) -> dict[str, Any]:
        schedule(package)
        (entry,) = kfp.recurring_runs.values()
        entry["runtime_config"] = {"parameters": {"recipe": "smoke", "overrides": "", **inputs}}
        (version,) = kfp.versions.values()
        root = version["pipeline_spec"]["pipeline_spec"]["root"]
        names = ("recipe", "overrides", "memory", "gpu_type")
        definitions = {name: {"parameterType": "STRING"} for name in names}
        version["pipeline_spec"] = {
            "root": {**root, "inputDefinitions": {"parameters": definitions}}
        }
        version["description"] = "q-chunking 0.2.0"
        version["name"] = version["display_name"] = "0.2.0-0123456789ab"
        return entry

    return make


def test_only_a_release_changes_what_schedules_run(
    kfp: KFP, package: Package, other: Package
) -> None:
    first = publish(package)
    schedule(package)
    with connect() as server:
        submit(server, other, experiment="e", name="n", service_account="s")
    schedule(other, "pinned", pin=True)
    schedule(other, "mine")
    assert current() == first.version
    second = publish(other)
    assert current() == second.version != first.version
    assert second.is_new and second.schedules == ["mine", "nightly"] and not second.renamed
    (pipeline,) = [p for p in kfp.pipelines.values() if p["name"] == RELEASED]
    assert f"{pipeline['pipeline_id']}/version/" in second.page
    assert "`qc release` adds a version" in pipeline["description"]


def test_older_version_is_released_again(kfp: KFP, package: Package, other: Package) -> None:
    first = publish(package)
    publish(other)
    again = publish(package)
    assert current() == again.version == f"{first.version}-2"
    assert not publish(package).is_new and len(kfp.versions) == 3


def test_run_of_released_code_uses_the_released_version(kfp: KFP, package: Package) -> None:
    released = publish(package)
    with connect() as server:
        started = submit(server, package, experiment="e", name="n", service_account="s")
    assert started.version == released.version and len(kfp.versions) == len(kfp.pipelines) == 1


@pytest.mark.parametrize("paused", [False, True])
def test_release_renames_the_inputs_of_schedules(
    kfp: KFP, package: Package, of_version_0_2: Callable[..., dict[str, Any]], paused: bool
) -> None:
    entry = of_version_0_2(memory="16Gi", gpu_type="nvidia.com/gpu")
    if paused:
        assert main(["schedule", "pause", "nightly"]) == 0
    assert publish(package).renamed == ["nightly"]
    (replaced,) = kfp.recurring_runs.values()
    assert replaced["runtime_config"]["parameters"] == {
        "recipe": "smoke",
        "recipe_overrides": "",
        "resources_memory": "16Gi",
    }
    assert replaced["status"] == ("DISABLED" if paused else "ENABLED")
    same = ("display_name", "trigger", "description", "service_account", "experiment_id")
    assert [replaced[key] for key in same] == [entry[key] for key in same]
    # Repeating the release changes nothing.
    assert not publish(package).renamed


def test_release_gives_schedules_the_memory_of_their_recipe(
    kfp: KFP, package: Package, of_version_0_2: Callable[..., dict[str, Any]]
) -> None:
    """They sent none in version 0.2, and the package has the default of another recipe."""
    of_version_0_2()["runtime_config"] = {"parameters": {"recipe": "cube-double"}}
    assert publish(package).renamed == ["nightly"]
    (replaced,) = kfp.recurring_runs.values()
    assert replaced["runtime_config"]["parameters"] == {
        "recipe": "cube-double",
        "resources_memory": training_memory("cube-double", "2"),
    }


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"gpu_type": "amd.com/gpu"}, r"sends gpu_type=amd\.com/gpu, which this version"),
        ({"recipe": "cube-doubl"}, "sends recipe=cube-doubl, which this version does not accept"),
        ({"cpus": "two"}, "cannot start: resources_cpus must be a Kubernetes quantity .*'two'"),
    ],
)
def test_release_that_a_schedule_could_not_run_is_refused(
    kfp: KFP,
    package: Package,
    of_version_0_2: Callable[..., dict[str, Any]],
    inputs: dict[str, str],
    message: str,
) -> None:
    of_version_0_2(**inputs)
    before = list(kfp.recurring_runs.values())
    with pytest.raises(UsageError, match=f"^nothing was released: schedule nightly {message}.*"):
        publish(package)
    assert len(kfp.versions) == 1 and list(kfp.recurring_runs.values()) == before


def test_schedule_that_the_released_version_refuses_is_not_created_and_is_noted(
    kfp: KFP,
    package: Package,
    of_version_0_2: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = of_version_0_2()
    with pytest.raises(UsageError, match=r"does not accept recipe_method=.*: `qc release`"):
        schedule(package, "weekly")
    assert list(kfp.recurring_runs.values()) == [entry]
    assert main(["schedule", "list"]) == 0
    assert "cannot start" not in capsys.readouterr().out
    entry["runtime_config"]["parameters"]["unheard_of"] = "1"
    assert main(["schedule", "list"]) == 0
    assert "nightly cannot start, because" in capsys.readouterr().out


def test_command_shows_version_image_and_schedules(
    kfp: KFP, package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule(package)
    assert main(["release"]) == 0
    out = capsys.readouterr().out
    assert f"version    {current()}, which was released before" in out
    assert "image      localhost/q-chunking-train:" in out and "schedules  nightly" in out
    assert main(["release", "--store-secret", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == current()
