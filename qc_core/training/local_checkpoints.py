"""Checkpoints of a training in a folder on this machine: FOLDER/checkpoint-STEP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
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
        return str(next(self.saved(), self._folder))

    def saved(self) -> Iterator[Path]:
        steps = {
            int(step): path
            for path in self._folder.glob(f"{_PREFIX}*")
            if (step := path.name.removeprefix(_PREFIX)).isdecimal()
        }
        return iter([steps[step] for step in sorted(steps, reverse=True)])

    def put(self, step: int, write: Callable[[Path], None]) -> None:
        target = self._folder / f"{_PREFIX}{step}"
        if target.exists():
            # This step was saved before; the training resumed from there, or the folder is damaged.
            shutil.rmtree(target)
        write(target)
        _, *older = self.saved()
        retained = {target, *older[:1]}
        for other in self._folder.iterdir():
            if other not in retained and other.name.startswith((_PREFIX, *_UNFINISHED)):
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
