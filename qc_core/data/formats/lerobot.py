"""LeRobot v3 folders: what a real robot recorded, frame by frame, in parquet.

Frame i holds an observation and the action that followed it. An episode's last frame has no next
observation and is only one. Vectors are read, images are not.

Rewards are `next.reward`, or 1 in solved transitions where there is none. A transition is solved
where `next.success` says so or, without that column, where an episode is done with a positive
reward. What the last frame says of both counts for the transition that leads to it: behind it is
nothing from which a critic could learn it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.parquet import read_blocks
from qc_core.data.formats.source import Source, transitions_of
from qc_core.errors import UsageError
from qc_core.files import read_json, require_fields
from qc_core.policy_format.environment_spec import EnvironmentSpec

INFO = "meta/info.json"

_OUTCOMES = ("next.reward", "next.done", "next.success")
# Numbers in one vector; what claims to have more is no robot's.
_WIDEST = 100_000
_NUMERIC = re.compile(r"(float|u?int)\d+|bool")
# Around a number that never moves, relative to it, so that its bounds can be normalised by.
_MARGIN = 1e-3


def open_lerobot(folder: Path) -> Source:
    """A data set folder of LeRobot v3.

    Raises:
        UsageError: another version, no vector observations, or data that are damaged or not what
            `meta/info.json` says.
    """
    info = _read_info(folder)
    widths, ignored = _vectors(folder, info["features"])
    columns = {"episode_index": 1, "frame_index": 1, **widths}
    columns |= {name: 1 for name in _OUTCOMES if name in info["features"]}
    files = sorted(folder.glob("data/*/*.parquet"))
    low, high, longest = _survey(folder, info, files, columns)
    notes = [f"not read, only vectors are: {', '.join(ignored)}"] if ignored else []
    if not {"next.reward", "next.success"} & set(columns):
        notes.append("no next.reward and no next.success: every reward is 0, only cloning learns")
    return Source(
        kind="lerobot",
        name=str(folder),
        spec=EnvironmentSpec(
            id=_robot(folder, info),
            observation_names=tuple(
                f"{name.removeprefix('observation.')}_{part}"
                for name, width in widths.items()
                if name != "action"
                for part in _names(info["features"][name], width, "")
            ),
            action_names=_names(info["features"]["action"], widths["action"], "action_"),
            action_low=tuple(map(float, low)),
            action_high=tuple(map(float, high)),
            episode_limit=longest - 1,
            control_interval=1 / info["fps"],
        ),
        rows=info["total_frames"],
        read=partial(_read, files, columns),
        files={str(path.relative_to(folder)): path for path in files},
        origin={"codebase-version": info["codebase_version"]},
        notes=tuple(notes),
    )


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / INFO
    info = read_json(path)
    require_fields(info, {"codebase_version": str}, str(path))
    version = info["codebase_version"]
    if not re.fullmatch(r"v3\.\d{1,9}", version):
        raise UsageError(
            f"{folder} is of LeRobot {version[:20]!r}, v3 is needed: "
            "convert it with lerobot's convert_dataset_v21_to_v30"
        )
    fields = {"total_episodes": int, "total_frames": int, "fps": (int, float), "features": dict}
    require_fields(info, fields, str(path))
    if not 1e-3 <= info["fps"] <= 1e6:
        raise UsageError(
            f"{path}: fps must be a rate between 0.001 and 1,000,000, got {info['fps']}"
        )
    if info["total_episodes"] < 1:
        raise UsageError(f"{folder} holds no episodes")
    return info


def _vectors(folder: Path, features: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
    """Widths by feature, the action's and the observations' in their order, and those left out."""
    widths: dict[str, int] = {}
    ignored = []
    for name in sorted(features, key=lambda name: (name != "observation.state", name)):
        if name != "action" and not name.startswith("observation."):
            continue
        feature = features[name]
        require_fields(feature, {"dtype": str, "shape": list}, f"{folder / INFO}, feature {name}")
        shape = feature["shape"]
        if (
            _NUMERIC.fullmatch(feature["dtype"])
            and len(shape) == 1
            and isinstance(shape[0], int)
            and 0 < shape[0] <= _WIDEST
        ):
            widths[name] = shape[0]
        else:
            ignored.append(name)
    if "action" not in widths or len(widths) < 2:
        missing = "observation" if "action" in widths else "action"
        raise UsageError(f"{folder / INFO}: a vector {missing} is needed among the features")
    return widths, ignored


def _robot(folder: Path, info: Mapping[str, Any]) -> str:
    robot = info.get("robot_type")
    if robot in (None, "", "unknown"):
        robot = folder.resolve().name
    return "robot/" + re.sub(r"[^\w.-]+", "-", str(robot))[:100]


def _names(feature: Mapping[str, Any], width: int, prefix: str) -> tuple[str, ...]:
    """The feature's own names; LeRobot keeps them as a list, under an axis, or by position."""
    names = feature.get("names")
    if isinstance(names, dict):
        if all(isinstance(position, int) for position in names.values()):
            names = sorted(names, key=names.__getitem__)
        else:
            names = next(iter(names.values()))
    if isinstance(names, list) and len(set(map(str, names))) == width == len(names):
        return tuple(str(name)[:100] for name in names)
    return tuple(f"{prefix}{i}" for i in range(width))


def _survey(
    folder: Path, info: Mapping[str, Any], files: Sequence[Path], columns: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Bounds of the actions [A] and frames of the longest episode, from the data themselves."""
    low = np.full(columns["action"], np.inf)
    high = -low
    frames = episodes = longest = 0
    previous = np.array([[-1, -1]])
    short: list[int] = []
    surveyed = {name: columns[name] for name in ("episode_index", "frame_index", "action")}
    for block in read_blocks(files, surveyed):
        low = np.minimum(low, block["action"].min(axis=0))
        high = np.maximum(high, block["action"].max(axis=0))
        # [rows, 2]: episode and frame; the next row is the next frame, or another episode's first.
        place = np.concatenate([block["episode_index"], block["frame_index"]], axis=1)
        step = np.diff(place, axis=0, prepend=previous)
        starts = place[:, 1] == 0
        follows = np.where(starts, step[:, 0] != 0, (step == (0, 1)).all(axis=1))
        if not follows.all():
            episode, frame = place[int(np.argmin(follows))]
            raise UsageError(
                f"{folder}: frame {frame} of episode {episode} is not where it belongs: "
                "episodes must lie one behind the other, frame by frame from 0"
            )
        before = (place - step)[starts]
        short += before[before[:, 1] == 0, 0].tolist()
        previous = place[-1:]
        frames += len(place)
        episodes += int(starts.sum())
        longest = max(longest, int(place[:, 1].max()) + 1)
    if (episodes, frames) != (info["total_episodes"], info["total_frames"]):
        raise UsageError(
            f"{folder} is not whole: {INFO} says {info['total_episodes']} episodes of "
            f"{info['total_frames']} frames in all, the data hold {episodes} of {frames}"
        )
    short += previous[previous[:, 1] == 0, 0].tolist()
    if short:
        raise UsageError(
            f"{folder}: an episode needs at least two frames, episode {short[0]} has one: delete it"
        )
    margin = np.where(low == high, _MARGIN * np.maximum(1, np.abs(low)), 0)
    return low - margin, high + margin, longest


def _read(files: Sequence[Path], columns: Mapping[str, int]) -> Iterator[Episodes]:
    """Whole episodes; memory is that of a block and an episode."""
    pending: dict[str, np.ndarray] = {}
    for block in read_blocks(files, columns):
        if pending:
            block = {name: np.concatenate([pending[name], v]) for name, v in block.items()}
        whole = int(np.flatnonzero(block["frame_index"] == 0)[-1])
        pending = {name: values[whole:].copy() for name, values in block.items()}
        if whole:
            yield _episodes({name: values[:whole] for name, values in block.items()})
    yield _episodes(pending)


def _episodes(block: Mapping[str, np.ndarray]) -> Episodes:
    # The rows before the firsts are the lasts; rolled, so is the block's own last one.
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
    """[rows] bool, as the columns that there are say it."""
    if "next.success" in block:
        return block["next.success"][:, 0] > 0
    if "next.reward" in block and "next.done" in block:
        return (block["next.done"][:, 0] > 0) & (block["next.reward"][:, 0] > 0)
    return np.zeros(len(block["frame_index"]), bool)
