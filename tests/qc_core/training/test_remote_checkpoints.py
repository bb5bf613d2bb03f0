"""A training that is kept in a store outlives its machine; what is kept is whole, or nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.config.settings import Config
from qc_core.files import sha256_of
from qc_core.progress import Progress
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import ObjectStore
from qc_core.training import checkpoint_store as resume
from qc_core.training import pretrain
from qc_core.training.checkpoint import OPTIMIZER, WEIGHTS, load_agent, read_info
from qc_core.training.remote_checkpoints import RemoteCheckpointStore
from tests.qc_core.training.interrupt import Interrupt


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path / "store")


def attempt(store: ObjectStore, scratch: Path, name: str) -> RemoteCheckpointStore:
    return RemoteCheckpointStore(store, "t/", name, scratch / name, "the training")


def keep(kept: RemoteCheckpointStore, checkpoint: Path, step: int) -> None:
    info = replace(read_info(checkpoint), offline_steps=step)
    kept.keep(
        load_agent(checkpoint, torch.device("cpu")), info, [{"step": step}], {"x": torch.ones(1)}
    )


def places(store: ObjectStore) -> set[str]:
    return {key.rsplit("/", 1)[0] for key in store.keys("t/")}


def test_a_newer_checkpoint_takes_the_place_of_the_older(
    store: ObjectStore, tmp_path: Path, checkpoint: Path
) -> None:
    first = attempt(store, tmp_path, "a")
    assert first.checkpoint is None and not first.pace.due
    for step in (5, 10):
        keep(first, checkpoint, step)
    assert places(store) == {"t/progress-10-a"}
    second = attempt(store, tmp_path, "b")
    assert second.checkpoint is not None and read_info(second.checkpoint).offline_steps == 10
    # The attempt that was wrongly taken for dead is ahead: neither spoils what is the other's.
    keep(first, checkpoint, 20)
    keep(second, checkpoint, 15)
    assert places(store) == {"t/progress-20-a", "t/progress-15-b"}
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
def test_what_is_damaged_or_was_never_whole_is_passed_over(
    store: ObjectStore,
    tmp_path: Path,
    checkpoint: Path,
    spoil: Callable[[ObjectStore, str], None],
    step: int,
) -> None:
    keep(attempt(store, tmp_path, "b"), checkpoint, 10)
    # Another attempt had only come to 9 when it was lost.
    keep(attempt(store, tmp_path, "a"), checkpoint, 9)
    for spoiled in {10: ["10-b"], 9: ["10-b", "9-a"]}[step]:
        spoil(store, f"t/progress-{spoiled}/")
    found = attempt(store, tmp_path, "c").checkpoint
    assert (found and read_info(found).offline_steps) == (9 if step == 10 else None)


def test_without_the_store_training_goes_on(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    kept = attempt(FolderStore(tmp_path / "file"), tmp_path, "a")
    keep(kept, checkpoint, 5)
    assert "the training goes on, though it cannot be kept now" in capsys.readouterr().err
    assert not any((tmp_path / "a").iterdir())


def test_another_machine_goes_on_with_what_one_has_pretrained(
    store: ObjectStore,
    tmp_path: Path,
    config: Config,
    dataset: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pretrain, "_STRETCH", 1)
    monkeypatch.setattr(resume, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(resume, "_SHARE_OF_TIME", float("inf"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=3))
        pretrain.pretrain(config, dataset, tmp_path / "lost" / "offline", store)
    assert len(store.folders("pretraining/")) == 1
    # A training of another kind does not take it for its own.
    pretrain.pretrain(replace(config, seed=5), dataset, tmp_path / "other", store)
    assert "going on" not in capsys.readouterr().err
    pretrain.pretrain(config, dataset, tmp_path / "new" / "offline", store)
    assert "going on from update 2, kept in pretraining/" in capsys.readouterr().err
    for name in (WEIGHTS, OPTIMIZER):
        assert sha256_of(tmp_path / "new" / "offline" / name) == sha256_of(checkpoint / name)
    assert list(store.keys("pretraining/")) == []
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["offline"]
