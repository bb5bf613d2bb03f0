"""Reads OGBench's npz files: one file, or a folder of shards.

Rewards and masks come from OGBench's own relabelling for the environment's task. Episodes end
where `terminals` or `timeouts` is set; D4RL's form uses `timeouts` for interrupted episodes. The
end of a file also ends its last episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from qc_core.data.dataset.dataset import REWARD_OF_STATE, Episodes
from qc_core.data.formats.npz_file import NpzFile, Shapes
from qc_core.data.formats.source import (
    SEEDS,
    ReplayableEpisode,
    Source,
    start_of,
    transitions_of,
)
from qc_core.envs.relabelling import Relabelling
from qc_core.errors import UsageError

REQUIRED = ("observations", "actions", "terminals")
OPTIONAL = ("timeouts",)
_ENDS = ("terminals", *OPTIONAL)
_STATE = ("qpos", "button_states")
_BLOCK_ROWS = 25_000


def open_ogbench(path: Path, environment: str) -> Source:
    """Open an npz file, or a folder of them, with the rewards of a single-task environment.

    Raises:
        UsageError: as `NpzFile`; the environment has no task, or the arrays do not fit it.
    """
    files, validation = npz_files(path)
    relabel = Relabelling(environment)
    spec = relabel.spec
    # Check all files first: reading them may take hours.
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
            replayable=partial(_replayable, part, relabel),
            validation=held_out,
        )

    return opened(files, opened(validation, None) if validation else None)


def npz_files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the data files of a path in the order of their names, and its validation files."""
    if not path.is_dir():
        validation = path.with_name(f"{path.stem}-val.npz")
        return [path], [validation] if validation.is_file() else []
    paths = sorted(path.glob("*.npz"))
    held_out = [path for path in paths if path.stem.endswith("-val")]
    files = [path for path in paths if path not in held_out]
    if not files:
        raise UsageError(
            f"{path} holds no npz files but validation files (*-val.npz); robomimic's files are "
            "given one by one"
        )
    return files, held_out


def require_vectors(file: Path, shapes: Shapes) -> None:
    """Refuse arrays other than rows of vectors with one flag per row (UsageError)."""
    for name in _ENDS:
        if shapes.get(name, ()) != ():
            raise UsageError(
                f"{file}: {name!r} must have one number per row, got {list(shapes[name])}"
            )
    for name in ("observations", "actions"):
        if len(shapes[name]) != 1:
            raise UsageError(f"{file}: {name} must be vectors, got {list(shapes[name])} per row")


def take_ends(file: Path, block: dict[str, np.ndarray]) -> np.ndarray:
    """Remove the arrays that mark ends from a block, and return where episodes end, bool [rows].

    Raises:
        UsageError: the arrays contain values other than 0 and 1.
    """
    marks = {name: block.pop(name) for name in _ENDS if name in block}
    for name, values in marks.items():
        if not ((values == 0) | (values == 1)).all():
            raise UsageError(f"{file}: {name!r} must be 0 or 1 in every row")
    return np.any([*marks.values()], axis=0)


def complete_episodes(npz: NpzFile) -> Iterator[dict[str, np.ndarray]]:
    """Yield blocks of complete episodes; the memory needed is that of a block and an episode."""
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
        rows = int(ends[-1]) + 1 if len(ends) else 0
        # Copied, because a view would hold the memory of the complete block.
        pending = {name: values[rows:].copy() for name, values in block.items()}
        if rows:
            lengths = np.diff(ends, prepend=-1)
            if lengths.min() < 2:
                raise UsageError(
                    f"{npz.path}: an episode needs at least two rows, one has {lengths.min()}"
                )
            yield {name: values[:rows] for name, values in block.items()}


def _read(files: Sequence[Path], relabel: Relabelling) -> Iterator[Episodes]:
    for file in files:
        with NpzFile(file, (*REQUIRED, *relabel.widths), OPTIONAL) as npz:
            for block in complete_episodes(npz):
                yield _episodes(block, relabel)


def _replayable(files: Sequence[Path], relabel: Relabelling) -> Iterator[ReplayableEpisode]:
    state = ("qpos", "qvel", *(name for name in relabel.widths if name not in _STATE[:1]))
    for file in files:
        with NpzFile(file, REQUIRED, (SEEDS,)) as npz:
            names = (SEEDS,) if SEEDS in npz.shapes else state
        with NpzFile(file, (*REQUIRED, *names), OPTIONAL) as npz:
            for block in complete_episodes(npz):
                ends = np.flatnonzero(block["terminals"])
                for start, end in zip([0, *(ends[:-1] + 1)], ends, strict=True):
                    yield ReplayableEpisode(
                        observations=block["observations"][start : end + 1],
                        actions=block["actions"][start:end],
                        **start_of(file, {name: block[name][start] for name in names}),
                    )


def _episodes(block: dict[str, np.ndarray], relabel: Relabelling) -> Episodes:
    """Convert complete episodes; the last row of an episode is only a next observation."""
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
    """Refuse arrays that do not fit the environment or are not enough for its rewards (UsageError).

    Args:
        shapes: shape of one row, by array.
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
