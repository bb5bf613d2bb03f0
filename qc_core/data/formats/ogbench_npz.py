"""OGBench's npz files as data sets: one file, or as many shards as there are.

Files are read one after the other, block by block; rewards come from OGBench's own relabelling
for the environment's task. A file's end is its last episode's end, said or not.

Episodes end where `terminals` says so, or `timeouts`, in which D4RL's form marks those that were
cut off. Which of the two it was changes nothing else: masks come with the rewards, from the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from qc_core.data.dataset.dataset import REWARD_OF_STATE, Episodes
from qc_core.data.formats.npz_file import NpzFile, Shapes
from qc_core.data.formats.source import Source, transitions_of
from qc_core.envs.relabelling import Relabelling
from qc_core.errors import UsageError

REQUIRED = ("observations", "actions", "terminals")
OPTIONAL = ("timeouts",)
_ENDS = ("terminals", *OPTIONAL)
_STATE = ("qpos", "button_states")
_BLOCK_ROWS = 25_000


def open_ogbench(path: Path, environment: str) -> Source:
    """An npz file, or a folder of them, with the rewards of a single-task environment.

    Raises:
        UsageError: as `NpzFile`; an environment without a task; arrays that do not fit it.
    """
    files, validation = npz_files(path)
    relabel = Relabelling(environment)
    spec = relabel.spec
    # All before the first is read, which may take hours.
    heads = {}
    for file in (*files, *validation):
        with NpzFile(file, REQUIRED, (*OPTIONAL, *relabel.widths)) as npz:
            heads[file] = npz.rows, npz.shapes
    for file, (_, shapes) in heads.items():
        require_fit(file, shapes, relabel)

    def opened(part: Sequence[Path], held_out: Source | None) -> Source:
        return Source(
            kind="ogbench",
            name=str(path),
            spec=spec,
            rows=sum(heads[file][0] for file in part),
            read=partial(_read, part, relabel),
            files={file.name: file for file in part},
            reward_convention=REWARD_OF_STATE,
            validation=held_out,
        )

    return opened(files, opened(validation, None) if validation else None)


def npz_files(path: Path) -> tuple[list[Path], list[Path]]:
    """A file or the shards of a folder, by name, and the validation files that go with them."""
    if not path.is_dir():
        beside = path.with_name(f"{path.stem}-val.npz")
        return [path], [beside] if beside.is_file() else []
    paths = sorted(path.glob("*.npz"))
    held_out = [path for path in paths if path.stem.endswith("-val")]
    files = [path for path in paths if path not in held_out]
    if not files:
        raise UsageError(f"{path} holds no npz files but validation files (*-val.npz)")
    return files, held_out


def require_vectors(file: Path, shapes: Shapes) -> None:
    """Refuse arrays of other shapes than rows of vectors and a flag for each (UsageError)."""
    for name in _ENDS:
        if shapes.get(name, ()) != ():
            raise UsageError(
                f"{file}: {name!r} must have one number per row, got {list(shapes[name])}"
            )
    for name in ("observations", "actions"):
        if len(shapes[name]) != 1:
            raise UsageError(f"{file}: {name} must be vectors, got {list(shapes[name])} per row")


def take_ends(file: Path, block: dict[str, np.ndarray]) -> np.ndarray:
    """[rows] bool, where episodes end, out of the arrays of a block that say so.

    Raises:
        UsageError: they hold anything but 0 and 1.
    """
    marks = {name: block.pop(name) for name in _ENDS if name in block}
    for name, values in marks.items():
        if not ((values == 0) | (values == 1)).all():
            raise UsageError(f"{file}: {name!r} must be 0 or 1 in every row")
    return np.any([*marks.values()], axis=0)


def whole_episodes(npz: NpzFile) -> Iterator[dict[str, np.ndarray]]:
    """Blocks that end where an episode ends; memory is that of a block and an episode."""
    pending: dict[str, np.ndarray] = {}
    unread = npz.rows
    for block in npz.blocks(_BLOCK_ROWS):
        block["terminals"] = take_ends(npz.path, block)
        unread -= len(block["terminals"])
        if not unread:
            block["terminals"][-1] = True
        if pending:
            block = {name: np.concatenate([pending[name], v]) for name, v in block.items()}
        ends = np.flatnonzero(block["terminals"])
        whole = int(ends[-1]) + 1 if len(ends) else 0
        # A copy, or a view would keep the block's memory through the next one.
        pending = {name: values[whole:].copy() for name, values in block.items()}
        if whole:
            lengths = np.diff(ends, prepend=-1)
            if lengths.min() < 2:
                raise UsageError(
                    f"{npz.path}: an episode needs at least two rows, one has {lengths.min()}"
                )
            yield {name: values[:whole] for name, values in block.items()}


def _read(files: Sequence[Path], relabel: Relabelling) -> Iterator[Episodes]:
    for file in files:
        with NpzFile(file, (*REQUIRED, *relabel.widths), OPTIONAL) as npz:
            for block in whole_episodes(npz):
                yield _episodes(block, relabel)


def _episodes(block: dict[str, np.ndarray], relabel: Relabelling) -> Episodes:
    """The whole episodes of a block; each one's last row is only a next observation."""
    rewards, masks = relabel(block)
    transitions, terminals = transitions_of(block["terminals"])
    return Episodes(
        observations=block["observations"],
        actions=block["actions"][transitions],
        rewards=rewards[transitions],
        masks=masks[transitions],
        terminals=terminals.astype(np.float32),
    )


def require_fit(file: Path, shapes: Shapes, relabel: Relabelling) -> None:
    """Refuse arrays that are not the environment's, or lack what its rewards depend on (UsageError).

    Args:
        shapes: of one row of each array.
    """
    require_vectors(file, shapes)
    spec = relabel.spec
    for name, size in (("observations", spec.observation_size), ("actions", spec.action_size)):
        if shapes[name] != (size,):
            raise UsageError(
                f"{file}: {spec.id} has {name} of {size} numbers, the file {list(shapes[name])}"
            )
    for name, width in relabel.widths.items():
        if name not in shapes:
            raise UsageError(f"{file}: array {name!r} is missing, the rewards depend on it")
        if shapes[name] != (width,):
            raise UsageError(
                f"{file}: {spec.id} has {name} of {width} numbers, the file {list(shapes[name])}"
            )
