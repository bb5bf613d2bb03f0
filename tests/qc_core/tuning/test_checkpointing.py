"""What is kept of a trial is gone on from whole, or not at all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.errors import RunError
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import load_agent, read_info
from qc_core.tuning.checkpointing import TrialCheckpointStore, get_result, study_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return study_store(str(tmp_path / "study.journal"))


def open_kept(
    store: ObjectStore, scratch: Path, attempt: int, before: Callable[[int], None] = lambda _: None
) -> TrialCheckpointStore:
    return TrialCheckpointStore(store, "s", 3, attempt, scratch / str(attempt), before)


def keep(kept: TrialCheckpointStore, checkpoint: Path, step: int) -> None:
    info = replace(read_info(checkpoint), offline_steps=0, online_steps=step)
    agent = load_agent(checkpoint, torch.device("cpu"))
    kept.keep(agent, info, [{"step": step}], {"x": torch.ones(1)})


def places(store: ObjectStore) -> set[str]:
    return {key.rsplit("/", 1)[0] for key in store.keys("studies/")}


def test_the_next_attempt_goes_on_with_what_the_last_has_kept(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    keep(open_kept(store, tmp_path, 3), checkpoint, 10)
    assert places(store) == {"studies/s/trial-3/progress-10-3"}
    assert (tmp_path / "study.journal.trials" / "studies").is_dir()
    second = open_kept(store, tmp_path, 7)
    assert second.checkpoint is not None and read_info(second.checkpoint).online_steps == 10
    second.remove()
    assert places(store) == set()


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
    with pytest.raises(RunError, match=r"checkpoint of trial 3 is not in .*\.journal\.trials"):
        get_result(store, "s", 3, 0, tmp_path / "output")
