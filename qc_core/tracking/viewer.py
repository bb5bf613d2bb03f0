"""TensorBoard for runs on this machine and runs whose metrics are in the store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from qc_core.errors import QCError, UsageError
from qc_core.log import log
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from qc_core.tracking.store_copy import metrics_prefix

_SECONDS_BETWEEN = 10.0


def show(folder: Path, port: int) -> int:
    """Run TensorBoard until it ends; return its exit code (UsageError: there is no such folder)."""
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist: give a run folder, or the id of a run")
    if find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed; run: pip install 'q-chunking[train]'")
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}", f"--port={port}"]
    # Attempts of a training that was interrupted write a file each.
    return subprocess.run(
        [*command, "--reload_interval=10", "--reload_multifile=true"],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ).returncode


@contextmanager
def copying(runs: Sequence[str], folder: Path) -> Iterator[None]:
    """Let a folder show runs, and copy what is new in the store while the block runs.

    Args:
        runs: run folders on this machine, and ids of runs in the store.

    Raises:
        UsageError: a run has no metrics.
    """
    remote = []
    for run in runs:
        if (path := Path(run)).is_dir():
            (folder / path.resolve().name).symlink_to(path.resolve())
        else:
            remote.append(run)
    store = open_store() if remote else None
    for run_id in remote:
        assert store is not None
        if not copy_metrics(store, run_id, folder / run_id):
            raise UsageError(
                f"run {run_id} has no metrics in {store.describe()}: give the id that qc submit "
                "printed, and the run's QC_STORE"
            )
    ended = threading.Event()

    def copy_again() -> None:
        while store is not None and not ended.wait(_SECONDS_BETWEEN):
            for run_id in remote:
                try:
                    copy_metrics(store, run_id, folder / run_id)
                except QCError as error:
                    log.info(f"new metrics of {run_id} are not shown: {error}")

    threading.Thread(target=copy_again, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def copy_metrics(store: ObjectStore, run_id: str, folder: Path) -> int:
    """Copy a run's event files from the store to a folder; return their number.

    Files grow at their end only. TensorBoard keeps them open, so new content is appended.
    """
    prefix = metrics_prefix(run_id)
    count = 0
    for key in store.keys(prefix):
        content, path = store.get(key), folder / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content[file.tell() :])
        count += 1
    return count
