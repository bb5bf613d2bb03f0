"""Reads LeRobot v3 folders: recordings of real robots, frame by frame, in parquet files.

Frame i contains an observation and the action that follows it. The last frame of an episode has no
next observation, so it is only a next observation itself. Vectors are read, images are not.

Rewards are `next.reward`; without that column the reward is 1 in solved transitions and 0 in
others. A transition is solved if `next.success` is set or, without that column, if the episode is
done with a positive reward. Success and its reward in the last frame count for the transition that
leads to that frame, because no transition starts there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core import documents
from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.parquet import read_blocks
from qc_core.data.formats.source import Source, transitions_of
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.files import read_json
from qc_core.policy_format.environment_spec import EnvironmentSpec

LEROBOT_INFO = "meta/info.json"

_OUTCOME_COLUMNS = ("next.reward", "next.done", "next.success")
# Numbers in one vector; a larger claim is damaged or hostile.
_MAX_WIDTH = 100_000
_NUMERIC = re.compile(r"(float|u?int)\d+|bool")
# Relative margin around an action that is constant, so that its bounds can normalise it.
_MARGIN = 1e-3


class _Feature(Document, frozen=True, kw_only=True, rename="lower"):
    """A column; `names` is a list, a mapping with one list, or a mapping from name to position."""

    dtype: str
    shape: list[Any]
    names: Any = None


class _Version(Document, frozen=True, kw_only=True, rename="lower"):
    codebase_version: str


class _Info(_Version, frozen=True, kw_only=True, rename="lower"):
    """The content of `meta/info.json`; unused features are not checked."""

    total_episodes: int
    total_frames: int
    fps: float
    features: dict[str, Any]
    robot_type: Any = None


def open_lerobot(folder: Path) -> Source:
    """Open a data set folder of LeRobot v3.

    Raises:
        UsageError: another version, no vector observations, or data that are damaged or do not
            match `meta/info.json`.
    """
    info = _read_info(folder)
    features, ignored = _vectors(folder, info)
    widths = {name: feature.shape[0] for name, feature in features.items()}
    columns = {"episode_index": 1, "frame_index": 1, **widths}
    columns |= {name: 1 for name in _OUTCOME_COLUMNS if name in info.features}
    files = sorted(folder.glob("data/*/*.parquet"))
    low, high, longest = _survey(folder, info, files, columns)
    notes = [f"not read (not vectors): {', '.join(ignored)}"] if ignored else []
    if not {"next.reward", "next.success"} & set(columns):
        notes.append("no next.reward and no next.success: all rewards are 0, only bc can learn")
    return Source(
        kind="lerobot",
        name=str(folder),
        spec=EnvironmentSpec(
            id=_robot(folder, info),
            observation_names=tuple(
                f"{name.removeprefix('observation.')}_{part}"
                for name, feature in features.items()
                if name != "action"
                for part in _names(feature, "")
            ),
            action_names=_names(features["action"], "action_"),
            action_low=tuple(map(float, low)),
            action_high=tuple(map(float, high)),
            episode_limit=longest - 1,
            control_interval=1 / info.fps,
        ),
        rows=info.total_frames,
        read=partial(_read, files, columns),
        files={str(path.relative_to(folder)): path for path in files},
        origin={"codebase-version": info.codebase_version},
        notes=tuple(notes),
    )


def _read_info(folder: Path) -> _Info:
    path = folder / LEROBOT_INFO
    content = read_json(path)
    # Other versions have other fields.
    version = documents.convert(content, _Version, str(path)).codebase_version
    if not re.fullmatch(r"v3\.\d{1,9}", version):
        raise UsageError(
            f"{folder} is of LeRobot {version[:20]!r}, v3 is needed: "
            "convert it with lerobot's convert_dataset_v21_to_v30"
        )
    info = documents.convert(content, _Info, str(path))
    if not 1e-3 <= info.fps <= 1e6:
        raise UsageError(f"{path}: fps must be between 0.001 and 1,000,000 Hz, got {info.fps}")
    if info.total_episodes < 1:
        raise UsageError(f"{folder} contains no episodes")
    return info


def _vectors(folder: Path, info: _Info) -> tuple[dict[str, _Feature], list[str]]:
    """Return the action and the observations that are vectors, and the names of the others.

    `observation.state` comes first, the rest in the order of their names.
    """
    vectors: dict[str, _Feature] = {}
    ignored = []
    for name in sorted(info.features, key=lambda name: (name != "observation.state", name)):
        if name != "action" and not name.startswith("observation."):
            continue
        what = f"{folder / LEROBOT_INFO}, feature {name}"
        feature = documents.convert(info.features[name], _Feature, what)
        if (
            _NUMERIC.fullmatch(feature.dtype)
            and len(feature.shape) == 1
            and isinstance(feature.shape[0], int)
            and 0 < feature.shape[0] <= _MAX_WIDTH
        ):
            vectors[name] = feature
        else:
            ignored.append(name)
    if "action" not in vectors or len(vectors) < 2:
        missing = "observation" if "action" in vectors else "action"
        raise UsageError(f"{folder / LEROBOT_INFO}: a vector {missing} is needed in features")
    return vectors, ignored


def _robot(folder: Path, info: _Info) -> str:
    robot = info.robot_type
    if robot in (None, "", "unknown"):
        robot = folder.resolve().name
    return "robot/" + re.sub(r"[^\w.-]+", "-", str(robot))[:100]


def _names(feature: _Feature, prefix: str) -> tuple[str, ...]:
    """Return the names of a vector's numbers, or numbered names if it has none."""
    names, width = feature.names, feature.shape[0]
    if isinstance(names, dict):
        if all(isinstance(position, int) for position in names.values()):
            names = sorted(names, key=names.__getitem__)
        else:
            names = next(iter(names.values()))
    if isinstance(names, list) and len(set(map(str, names))) == width == len(names):
        return tuple(str(name)[:100] for name in names)
    return tuple(f"{prefix}{i}" for i in range(width))


def _survey(
    folder: Path, info: _Info, files: Sequence[Path], columns: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Read all data; return low and high action bounds [A] and frames of the longest episode."""
    low = np.full(columns["action"], np.inf)
    high = -low
    frames = episodes = longest = 0
    previous = np.array([[-1, -1]])
    short: list[int] = []
    surveyed = {name: columns[name] for name in ("episode_index", "frame_index", "action")}
    for block in read_blocks(files, surveyed):
        low = np.minimum(low, block["action"].min(axis=0))
        high = np.maximum(high, block["action"].max(axis=0))
        # [rows, 2]: episode and frame. The next row is the next frame or starts a new episode.
        position = np.concatenate([block["episode_index"], block["frame_index"]], axis=1)
        step = np.diff(position, axis=0, prepend=previous)
        starts = position[:, 1] == 0
        follows = np.where(starts, step[:, 0] != 0, (step == (0, 1)).all(axis=1))
        if not follows.all():
            episode, frame = position[int(np.argmin(follows))]
            raise UsageError(
                f"{folder}: frame {frame} of episode {episode} is out of order: "
                "each episode must be consecutive frames from 0"
            )
        before = (position - step)[starts]
        short += before[before[:, 1] == 0, 0].tolist()
        previous = position[-1:]
        frames += len(position)
        episodes += int(starts.sum())
        longest = max(longest, int(position[:, 1].max()) + 1)
    if (episodes, frames) != (info.total_episodes, info.total_frames):
        raise UsageError(
            f"{folder} is incomplete: {LEROBOT_INFO} lists {info.total_episodes} episodes of "
            f"{info.total_frames} frames in total, the data contain {episodes} of {frames}"
        )
    short += previous[previous[:, 1] == 0, 0].tolist()
    if short:
        raise UsageError(
            f"{folder}: an episode needs at least two frames, episode {short[0]} has one: delete it"
        )
    margin = np.where(low == high, _MARGIN * np.maximum(1, np.abs(low)), 0)
    return low - margin, high + margin, longest


def _read(files: Sequence[Path], columns: Mapping[str, int]) -> Iterator[Episodes]:
    """Yield complete episodes; the memory needed is that of a block and an episode."""
    pending: dict[str, np.ndarray] = {}
    for block in read_blocks(files, columns):
        if pending:
            block = {name: np.concatenate([pending[name], v]) for name, v in block.items()}
        rows = int(np.flatnonzero(block["frame_index"] == 0)[-1])
        pending = {name: values[rows:].copy() for name, values in block.items()}
        if rows:
            yield _episodes({name: values[:rows] for name, values in block.items()})
    yield _episodes(pending)


def _episodes(block: Mapping[str, np.ndarray]) -> Episodes:
    # A row is an episode's last if the next row is a first; np.roll includes the block's last row.
    last_rows = np.roll(block["frame_index"][:, 0] == 0, -1)
    last = np.flatnonzero(last_rows)
    solved = _solved(block)
    rewards = (block["next.reward"][:, 0] if "next.reward" in block else solved).astype(np.float32)
    arrives = solved[last] & ~solved[last - 1]
    rewards[last - 1] += np.where(arrives, rewards[last], 0)
    solved[last - 1] |= solved[last]
    transitions, terminals = transitions_of(last_rows)
    observations = [values for name, values in block.items() if name.startswith("observation.")]
    return Episodes(
        observations=np.concatenate(observations, axis=1),
        actions=block["action"][transitions],
        rewards=rewards[transitions],
        masks=1.0 - solved[transitions],
        terminals=terminals.astype(np.float32),
    )


def _solved(block: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which rows are solved, bool [rows]."""
    if "next.success" in block:
        return block["next.success"][:, 0] > 0
    if "next.reward" in block and "next.done" in block:
        return (block["next.done"][:, 0] > 0) & (block["next.reward"][:, 0] > 0)
    return np.zeros(len(block["frame_index"]), bool)
