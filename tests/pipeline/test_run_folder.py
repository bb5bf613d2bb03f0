"""A run folder belongs to one command, which resumes there what has not finished."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.run_folder import (
    CACHE,
    JOURNAL,
    LOG,
    RUN,
    STEPS,
    SUMMARY,
    LocalRun,
    clear,
    copy_study,
    default_folder,
    finished_steps,
    request_of,
    start_or_resume,
)
from qc_core.config.settings import Config
from qc_core.documents import read
from qc_core.errors import UsageError
from qc_core.files import write_json
from qc_core.scratch import exclusive


def test_the_same_command_resumes_and_another_is_refused(tmp_path: Path, config: Config) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    request = request_of(config, "the store")
    started = start_or_resume(folder, request, fresh=False)
    assert start_or_resume(folder, request_of(config, "the store"), fresh=False) == started
    with pytest.raises(UsageError, match=r"was started with --seed 0: give the same to resume"):
        start_or_resume(folder, request_of(replace(config, seed=1), "the store"), fresh=False)
    with pytest.raises(UsageError, match="was started with the store the store: give"):
        start_or_resume(folder, request_of(config, "another"), fresh=False)
    again = start_or_resume(folder, request_of(replace(config, seed=1), "another"), fresh=True)
    assert again.run_id != started.run_id


def test_a_folder_with_other_contents_is_refused(tmp_path: Path, config: Config) -> None:
    (tmp_path / "mine").touch()
    for fresh in (False, True):
        with pytest.raises(UsageError, match="is in use"):
            start_or_resume(tmp_path, request_of(config, "the store"), fresh=fresh)
    assert (tmp_path / "mine").exists()


def test_a_refused_run_leaves_its_log_and_a_folder_for_another_command(
    tmp_path: Path, config: Config
) -> None:
    start_or_resume(tmp_path, request_of(config, "the store"), fresh=False)
    (tmp_path / LOG).write_text("why")
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOG]
    start_or_resume(tmp_path, request_of(replace(config, seed=1), "the store"), fresh=False)


def test_the_default_folder_is_that_of_the_unfinished_run_of_the_same_command(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def choose(*, fresh: bool = False) -> Path:
        request = request_of(config, "the store")
        folder = default_folder(request, "smoke", fresh=fresh)
        start_or_resume(folder, request, fresh=False)
        return folder

    first = choose()
    assert first.name == f"{read(first / RUN, LocalRun).run_id}-smoke"
    assert choose() == first
    (first / SUMMARY).touch()
    second = choose()
    assert second != first
    with exclusive(second, "a run"):
        third = choose()
    assert third not in (first, second)
    assert choose(fresh=True) not in (first, second, third)
    other = default_folder(request_of(replace(config, seed=1), "the store"), "smoke", fresh=False)
    assert other not in (first, second, third)


def test_outputs_of_unfinished_steps_are_deleted(tmp_path: Path) -> None:
    steps = tmp_path / STEPS
    done, begun = steps / "a" / "ingest", steps / "b" / "pretrain"
    for step in (done, begun):
        step.mkdir(parents=True)
        (step / "output").touch()
    outputs = {
        "data": {"schema_title": "system.Dataset", "uri": str(done / "output")},
        "text": "x",
    }
    (steps / CACHE).mkdir()
    write_json(steps / CACHE / "1.json", outputs)
    assert finished_steps(tmp_path) == ["ingest"]
    assert done.exists() and not begun.exists()
    assert not (tmp_path / RUN).exists()


def test_a_run_continues_the_one_of_another_folder_with_a_copy_of_its_study(
    tmp_path: Path, config: Config
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    earlier = start_or_resume(first, request_of(config, "the store"), fresh=False)
    (first / JOURNAL).write_text("trials")
    (first / f"{JOURNAL}.trials").mkdir()
    with exclusive(first, "a run"), pytest.raises(UsageError, match="is in progress: wait"):
        request_of(config, "the store", first)
    with pytest.raises(UsageError, match="used the store the store: set QC_STORE to it"):
        request_of(config, "another", first)
    request = request_of(config, "the store", first)
    second.mkdir()
    assert start_or_resume(second, request, fresh=False).continues == earlier.run_id
    copy_study(first, second)
    (second / JOURNAL).write_text("more trials")
    copy_study(first, second)
    assert (second / JOURNAL).read_text() == "more trials"
    assert (second / f"{JOURNAL}.trials").is_dir()
    with pytest.raises(UsageError, match=r"started with another --continue \(run none\)"):
        start_or_resume(first, request, fresh=False)
