"""A training with checkpoints in a store outlives its machine; checkpoints are complete."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from qc_core.config.settings import Config
from qc_core.files import sha256_of
from qc_core.progress import Progress
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import ObjectStore
from qc_core.training import pretrain
from qc_core.training.checkpoint import OPTIMIZER, WEIGHTS, read_checkpoint
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.remote_checkpoints import RemoteCheckpoints
from qc_core.training.saved_agent import load_agent
from tests.qc_core.training.interrupt import Interrupt, save_after_each_step


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path / "store")


def attempt(store: ObjectStore, scratch: Path, name: str) -> CheckpointStore:
    return CheckpointStore(RemoteCheckpoints(store, "t/", name, scratch / name), "the training")


def save(checkpoints: CheckpointStore, checkpoint: Path, step: int) -> None:
    saved = msgspec.structs.replace(read_checkpoint(checkpoint), offline_steps=step)
    agent = load_agent(checkpoint, torch.device("cpu"))
    checkpoints.try_save(agent, saved, [{"step": step}], {"x": torch.ones(1)})


def places(store: ObjectStore) -> set[str]:
    return {key.rsplit("/", 1)[0] for key in store.keys("t/")}


def test_the_newest_checkpoint_and_the_one_before_it_remain(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    first = attempt(store, tmp_path, "a")
    assert first.newest is None and not first.schedule.due
    for step in (2, 5, 10):
        save(first, checkpoint, step)
    assert places(store) == {"t/progress-5-a", "t/progress-10-a"}
    second = attempt(store, tmp_path, "b")
    assert second.newest is not None and read_checkpoint(second.newest).offline_steps == 10
    # The first attempt is still running and ahead: neither removes the other's newer checkpoint.
    save(first, checkpoint, 20)
    save(second, checkpoint, 15)
    assert places(store) == {"t/progress-20-a", "t/progress-15-b", "t/progress-10-a"}
    second.remove()
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
def test_damaged_and_incomplete_checkpoints_are_skipped(
    store: ObjectStore,
    tmp_path: Path,
    checkpoint: Path,
    spoil: Callable[[ObjectStore, str], None],
    step: int,
) -> None:
    save(attempt(store, tmp_path, "b"), checkpoint, 10)
    # Another attempt was lost at step 9.
    save(attempt(store, tmp_path, "a"), checkpoint, 9)
    for spoiled in {10: ["10-b"], 9: ["10-b", "9-a"]}[step]:
        spoil(store, f"t/progress-{spoiled}/")
    found = attempt(store, tmp_path, "c").newest
    assert (found and read_checkpoint(found).offline_steps) == (9 if step == 10 else None)


def test_training_continues_if_the_store_fails(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    checkpoints = attempt(FolderStore(tmp_path / "file"), tmp_path, "a")
    save(checkpoints, checkpoint, 5)
    message = "the training continues without a new checkpoint, saving failed"
    assert message in capsys.readouterr().err
    assert not any((tmp_path / "a").iterdir())


def test_another_machine_resumes_a_pretraining(
    store: ObjectStore,
    tmp_path: Path,
    config: Config,
    dataset: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_after_each_step(monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=3))
        pretrain.pretrain(config, dataset, tmp_path / "lost" / "offline", store)
    assert len(store.folders("pretraining/")) == 1
    # A training with another seed does not resume from it.
    pretrain.pretrain(replace(config, seed=5), dataset, tmp_path / "other", store)
    assert "resumes" not in capsys.readouterr().err
    pretrain.pretrain(config, dataset, tmp_path / "new" / "offline", store)
    assert "pretraining resumes from step 2, saved in pretraining/" in capsys.readouterr().err
    for name in (WEIGHTS, OPTIMIZER):
        assert sha256_of(tmp_path / "new" / "offline" / name) == sha256_of(checkpoint / name)
    assert list(store.keys("pretraining/")) == []
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"offline", "offline.metrics"}
