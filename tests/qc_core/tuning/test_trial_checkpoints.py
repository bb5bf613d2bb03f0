"""The next attempt at a trial resumes from the last attempt's checkpoint."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from qc_core.errors import RunError
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import read_checkpoint
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.saved_agent import load_agent
from qc_core.tuning.study import study_store
from qc_core.tuning.trial_checkpoints import trial_checkpoints
from qc_core.tuning.trial_results import get_result


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return study_store(str(tmp_path / "study.journal"))


def open_attempt(
    store: ObjectStore, scratch: Path, attempt: int, before: Callable[[int], None] = lambda _: None
) -> CheckpointStore:
    return trial_checkpoints(store, "s", 3, attempt, scratch / str(attempt), before)


def save(checkpoints: CheckpointStore, checkpoint: Path, step: int) -> None:
    saved = msgspec.structs.replace(read_checkpoint(checkpoint), offline_steps=0, online_steps=step)
    agent = load_agent(checkpoint, torch.device("cpu"))
    checkpoints.try_save(agent, saved, [{"step": step}], {"x": torch.ones(1)})


def places(store: ObjectStore) -> set[str]:
    return {key.rsplit("/", 1)[0] for key in store.keys("studies/")}


def test_the_next_attempt_resumes_from_the_last_checkpoint(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    save(open_attempt(store, tmp_path, 3), checkpoint, 10)
    assert places(store) == {"studies/s/trial-3/progress-10-3"}
    assert (tmp_path / "study.journal.trials" / "studies").is_dir()
    second = open_attempt(store, tmp_path, 7)
    assert second.newest is not None and read_checkpoint(second.newest).online_steps == 10
    second.remove()
    assert places(store) == set()


def test_a_reassigned_attempt_saves_nothing(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    def refuse(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(open_attempt(store, tmp_path, 3, refuse), checkpoint, 5)
    assert places(store) == set()


def test_a_missing_result_is_reported_with_its_likely_cause(
    store: ObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"checkpoint of trial 3 is not in .*\.journal\.trials"):
        get_result(store, "s", 3, 0, tmp_path / "output")
