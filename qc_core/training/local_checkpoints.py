"""Checkpoints of a training in a folder on this machine: FOLDER/checkpoint-STEP."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from qc_core.errors import UsageError

_PREFIX = "checkpoint-"
# Names of what a process leaves in the folder that is killed while it saves; the last one is of
# earlier releases.
_UNFINISHED = (f".{_PREFIX}", "unscored-")


class LocalCheckpoints:
    """The folder backend of `CheckpointStore`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def location(self) -> str:
        return str(self.newest() or self._folder)

    def newest(self) -> Path | None:
        steps = {
            int(step): path
            for path in self._folder.glob(f"{_PREFIX}*")
            if (step := path.name.removeprefix(_PREFIX)).isdecimal()
        }
        return steps[max(steps)] if steps else None

    def put(self, step: int, write: Callable[[Path], None]) -> None:
        target = self._folder / f"{_PREFIX}{step}"
        write(target)
        for other in self._folder.iterdir():
            if other != target and other.name.startswith((_PREFIX, *_UNFINISHED)):
                shutil.rmtree(other)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def partial_folder(output: Path) -> Path:
    """Return `OUTPUT.partial`, where a training saves checkpoints until it writes `output`.

    Raises:
        UsageError: the folder contains other files.
    """
    output = output.resolve()
    folder = output.with_name(f"{output.name}.partial")
    if folder.exists():
        only_checkpoints = folder.is_dir() and all(
            path.is_dir() and path.name.removeprefix(".").startswith(_PREFIX)
            for path in folder.iterdir()
        )
        if not only_checkpoints:
            raise UsageError(
                f"{folder} is needed for checkpoints but contains other files: move it away or "
                "choose another output"
            )
    return folder
