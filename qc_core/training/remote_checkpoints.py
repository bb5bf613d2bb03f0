"""Checkpoints of a training in an object store: PREFIX/progress-STEP-ATTEMPT/…

They outlive the machine. Each attempt at the training has a name of its own: if an attempt that
counts as dead is still running, it and its successor never write to the same key.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from qc_core.errors import QCError
from qc_core.log import log
from qc_core.store.bundle import delete_folder, get_folder, put_folder
from qc_core.store.objects import DamagedObject, NoSuchObject, ObjectStore

_PROGRESS = re.compile(r"progress-(\d+)-(.+)")


class RemoteCheckpoints:
    """The object store backend of `CheckpointStore`.

    Args:
        prefix: of the training in the store, ends in '/'.
        attempt: a name that no other attempt has.
        scratch: a folder on this machine that only this attempt uses.
    """

    def __init__(self, store: ObjectStore, prefix: str, attempt: str, scratch: Path) -> None:
        self._store, self._prefix = store, prefix
        self._attempt, self._scratch = attempt, scratch

    @property
    def location(self) -> str:
        return f"{self._prefix} in {self._store.describe()}"

    def saved(self) -> Iterator[Path]:
        for step, attempt in self._stored():
            target = self._scratch / f"fetched-{step}-{attempt}"
            try:
                get_folder(self._store, self._key(step, attempt), target)
            except NoSuchObject:
                # The attempt ended while it was writing.
                continue
            except DamagedObject as error:
                log.info(f"skipping a damaged checkpoint at step {step:,}: {error}")
                continue
            yield target

    def put(self, step: int, write: Callable[[Path], None]) -> None:
        own, folder = (step, self._attempt), self._scratch / "progress"
        try:
            write(folder)
            if own in self._stored():
                # Its files would not be those of its manifest while they are replaced.
                delete_folder(self._store, self._key(*own))
            put_folder(self._store, self._key(*own), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for older in [stored for stored in self._stored() if stored < own][1:]:
            delete_folder(self._store, self._key(*older))

    def remove(self) -> None:
        # If the store does not answer, the checkpoints stay.
        with suppress(QCError):
            for step, attempt in self._stored():
                delete_folder(self._store, self._key(step, attempt))

    def _stored(self) -> list[tuple[int, str]]:
        """Return step and attempt of each stored checkpoint, newest first."""
        found = map(_PROGRESS.fullmatch, self._store.folders(self._prefix))
        return sorted(((int(m[1]), m[2]) for m in found if m), reverse=True)

    def _key(self, step: int, attempt: str) -> str:
        return f"{self._prefix}progress-{step}-{attempt}/"
