"""`qc runs` and `qc compare` find runs in folders and in the store."""

import json
import os
from pathlib import Path

import pytest

from pipeline.local_runs import all_runs, find_run
from pipeline.run_folder import RUN, SUMMARY, request_of
from qc_core.cli.main import main
from qc_core.config.settings import Config
from qc_core.documents import encode, write
from qc_core.errors import UsageError
from qc_core.files import write_json
from qc_core.notify.completion import Completion
from qc_core.notify.run_status import RunFacts, notify_run_status, record_completion
from qc_core.results.run_record import record_of, write_record
from qc_core.scratch import exclusive
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from tests.qc_core.runs.examples import curves, evaluated

HALF, MOST = [True, False] * 10, [True] * 18 + [False] * 2


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(store: ObjectStore, run_id: str, config: Config, solved: list[bool]) -> None:
    """Write what a run on a cluster leaves in the store."""
    write_record(store, run_id, record_of(config, run_id))
    store.put(f"runs/{run_id}/evaluation.json", encode(evaluated(HALF, solved)))
    store.put(f"runs/{run_id}/curves.json", encode(curves()))
    record_completion(store, run_id, Completion(verdict="Done.", policy="a:1", metrics={}))
    notify_run_status(
        store, run_id=run_id, recipe="smoke", facts=RunFacts(name=f"name of {run_id}")
    )


def local(config: Config, name: str) -> str:
    """Write the folder of a run that has started here; return the run's id."""
    request = request_of(config, "a store")
    (folder := Path("runs") / name).mkdir(parents=True)
    write(folder / RUN, request)
    return request.run_id


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_local_and_stored_runs_are_listed_the_newest_first(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store()
    local(config, "20250101-smoke")
    finished(store, "run-1", config, MOST)
    header, second, first = output(capsys, "runs").splitlines()
    columns = "run started (UTC) recipe method changes offline online time state"
    assert " ".join(header.split()) == columns
    assert first.startswith("20250101-smoke") and first.endswith("interrupted")
    assert second.startswith("name of run-1") and second.endswith("succeeded")
    assert "smoke   qc-fql" in second and "--train.offline-steps 4" in second
    assert "50% (30% to 70%)  90% (70% to 97%)" in second
    found = {entry["run"]: entry for entry in json.loads(output(capsys, "runs", "--json"))}
    assert found["run-1"]["online"]["success"]["value"] == 0.9
    assert (found["run-1"]["state"], found["run-1"]["policy"]) == ("succeeded", "a:1")


def test_a_run_in_both_places_is_listed_once(config: Config) -> None:
    store = open_store()
    run_id = local(config, "mine")
    finished(store, run_id, config, MOST)
    (run,) = all_runs(store)
    assert (run.name, run.state, run.folder) == ("mine", "succeeded", Path("runs/mine"))
    assert run.evaluation is not None
    with exclusive(Path("runs/mine"), "this run"):
        assert [run.state for run in all_runs(store)] == ["running"]


def test_a_finished_folder_whose_store_is_elsewhere_is_listed_with_its_results(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local(config, "mine")
    write_json(Path("runs/mine") / SUMMARY, {})
    (run,) = all_runs(open_store())
    assert (run.state, run.method, run.evaluation) == ("succeeded", "qc-fql", None)


def test_damaged_folders_and_no_runs_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    (folder := Path("runs/damaged")).mkdir(parents=True)
    (folder / RUN).write_text("{")
    assert output(capsys, "runs").startswith("no runs in ./runs or in ")


def test_the_limit_is_reported(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        local(config, name)
    shown = output(capsys, "runs", "--limit", "2")
    assert len(shown.splitlines()) == 5
    assert shown.endswith("\nthe newest 2 of 3: --limit 3 shows all\n")
    assert main(["runs", "--limit", "0"]) == 2


def test_runs_are_found_by_folder_name_id_and_beginning_of_the_id(config: Config) -> None:
    store = open_store()
    run_id = local(config, "mine")
    for reference in ("mine", run_id, run_id[:-2], "runs/mine", os.path.abspath("runs/mine")):
        assert find_run(store, reference).run_id == run_id
    other = local(config, "other")
    common = run_id[: next(i for i in range(99) if not other.startswith(run_id[: i + 1]))]
    with pytest.raises(UsageError, match=f"2 runs are called '{common}': give one of the ids"):
        find_run(store, common)
    with pytest.raises(UsageError, match=r"there is no run 'none' in \./runs or in"):
        find_run(store, "none")


def test_stored_runs_are_compared(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store()
    finished(store, "run-1", config, HALF)
    finished(store, "run-2", config, MOST)
    shown = output(capsys, "compare", "run-1", "name of run-2", "-o", "both.html")
    assert "B: name of run-2  0      50% (30% to 70%)  90% (70% to 97%)" in shown
    assert shown.endswith("\npage  both.html\n")
    assert "Paired differences" in Path("both.html").read_text()
    compared = json.loads(output(capsys, "compare", "run-1", "run-2", "--json"))
    assert compared["gains"][1]["gain"]["value"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run-1", "none"], "there is no run 'none'"),
        (["run-1", "run-1"], "give at least two different runs"),
        (["run-1", "run-2", "-o", "page.pdf"], "--output must be an .html file, got page.pdf"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    config: Config, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write_record(open_store(), "run-1", record_of(config, "run-1"))
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().glob("*.html"))
