"""What is kept of a trial is gone on from whole, or not at all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.errors import WorkFailed
from qc_core.store.folder import FolderStore
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import WEIGHTS, load_agent, read_info
from qc_core.tuning.kept import KeptTrial, get_result, study_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return study_store(str(tmp_path / "study.journal"))


def open_kept(
    store: ObjectStore, scratch: Path, attempt: int, before: Callable[[int], None] = lambda _: None
) -> KeptTrial:
    return KeptTrial(store, "s", 3, attempt, scratch / str(attempt), before)


def keep(kept: KeptTrial, checkpoint: Path, step: int) -> None:
    info = replace(read_info(checkpoint), online_steps=step)
    agent = load_agent(checkpoint, torch.device("cpu"))
    kept.keep(agent, info, [{"step": step}], {"x": torch.ones(1)})


def places(store: ObjectStore) -> set[str]:
    return {key.rsplit("/", 1)[0] for key in store.keys("studies/")}


def test_a_newer_checkpoint_takes_the_place_of_the_older(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    first = open_kept(store, tmp_path, 3)
    assert first.checkpoint is None and not first.due
    for step in (5, 10):
        keep(first, checkpoint, step)
    assert places(store) == {"studies/s/trial-3/progress-10-3"}
    assert (tmp_path / "study.journal.trials" / "studies").is_dir()
    second = open_kept(store, tmp_path, 7)
    assert second.checkpoint is not None and read_info(second.checkpoint).online_steps == 10
    # The worker that was wrongly taken for dead is ahead: neither spoils what is the other's.
    keep(first, checkpoint, 20)
    keep(second, checkpoint, 15)
    assert places(store) == {f"studies/s/trial-3/progress-{name}" for name in ("20-3", "15-7")}
    second.remove_progress()
    assert places(store) == set()


@pytest.mark.parametrize("step", [10, 9])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda store, key: store.put(key + WEIGHTS, b"nonsense"),
        lambda store, key: store.delete(key + WEIGHTS),
        lambda store, key: store.put(key + "manifest.json", b"nonsense"),
        lambda store, key: store.delete(key + "manifest.json"),
    ],
)
def test_what_is_damaged_or_was_never_whole_is_passed_over(
    store: ObjectStore,
    tmp_path: Path,
    checkpoint: Path,
    spoil: Callable[[ObjectStore, str], None],
    step: int,
) -> None:
    keep(open_kept(store, tmp_path, 3), checkpoint, 10)
    # Another attempt had only come to 9 when it was lost.
    keep(open_kept(store, tmp_path, 2), checkpoint, 9)
    for spoiled in {10: ["10-3"], 9: ["10-3", "9-2"]}[step]:
        spoil(store, f"studies/s/trial-3/progress-{spoiled}/")
    found = open_kept(store, tmp_path, 7).checkpoint
    assert (found and read_info(found).online_steps) == (9 if step == 10 else None)


def test_without_the_store_training_goes_on(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    kept = open_kept(FolderStore(tmp_path / "file"), tmp_path, 3)
    keep(kept, checkpoint, 5)
    assert "trial 3 goes on, though it cannot be kept now" in capsys.readouterr().err
    assert not any((tmp_path / "3").iterdir())


def test_who_was_taken_for_dead_keeps_nothing(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    def refuse(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(open_kept(store, tmp_path, 3, refuse), checkpoint, 5)
    assert places(store) == set()


def test_a_result_that_is_not_there_is_one_line_with_the_likely_cause(
    store: ObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(WorkFailed, match=r"checkpoint of trial 3 is not in .*\.journal\.trials"):
        get_result(store, "s", 3, 0, tmp_path / "output")
