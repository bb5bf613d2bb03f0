"""Copies a training's event files to the store while it runs."""

from __future__ import annotations

import threading
from pathlib import Path

from qc_core.errors import QCError
from qc_core.log import log
from qc_core.results.run_objects import run_key
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from qc_core.tracking.metrics import Point

_SECONDS_BETWEEN = 15.0


def metrics_prefix(run_id: str) -> str:
    """Return the folder of a run's event files in the store."""
    return run_key(run_id, "metrics/")


class StoreCopy:
    """Copies the files of a folder to a prefix of the store, now and then and at the end.

    A store that does not answer delays nothing but the end: the step needs it then anyway.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        self._has_points, self._is_closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._copy_now_and_then, daemon=True)

    def start(self, step: int) -> None:
        self._thread.start()

    def log(self, point: Point) -> None:
        self._has_points.set()

    def close(self, state: str) -> None:
        if self._thread.ident is None:
            # The training failed before its first step.
            return
        self._is_closed.set()
        self._has_points.set()
        # An older copy must not replace the last one.
        self._thread.join(_SECONDS_BETWEEN)
        self._copy(open_store())

    def _copy_now_and_then(self) -> None:
        while True:
            self._has_points.wait()
            self._has_points.clear()
            if self._is_closed.is_set():
                return
            try:
                self._copy(open_store())
            except QCError as error:
                log.info(f"metrics are not in the store: {error}")
            self._is_closed.wait(_SECONDS_BETWEEN)

    def _copy(self, store: ObjectStore) -> None:
        for path in self._folder.iterdir():
            store.put_file(f"{self._prefix}{path.name}", path)
