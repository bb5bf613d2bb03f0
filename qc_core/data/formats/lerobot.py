"""Reads LeRobot folders, v2 and v3: recordings of robots, frame by frame, in parquet files.

Frame i contains an observation, the action that follows it, and the reward of that action: it is
one transition. The observation after an episode's last frame is not recorded, so the last
observation is repeated. Vectors are read, images are not. `outcomes` decides rewards, success and
ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core import documents
from qc_core.config.settings import ROBOT, DataConfig
from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.action_range import ActionRange
from qc_core.data.formats.lerobot_features import (
    DONE,
    REWARD,
    SUCCESS,
    TERMINATED,
    TIMESTAMP,
    TRUNCATED,
    Features,
    choose_features,
)
from qc_core.data.formats.outcomes import OutcomeRule, Steps, Survey
from qc_core.data.formats.parquet import read_blocks
from qc_core.data.formats.source import Source, rows_with_last_repeated
from qc_core.data.formats.timing import Timing
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.files import read_json
from qc_core.policy_format.environment_spec import EnvironmentSpec

LEROBOT_INFO = "meta/info.json"

_POSITION = ("episode_index", "frame_index")
Block = Mapping[str, np.ndarray]


class _Version(Document, frozen=True, kw_only=True, rename="lower"):
    codebase_version: str


class _Info(_Version, frozen=True, kw_only=True, rename="lower"):
    """The content of `meta/info.json`; unused features are not checked."""

    total_episodes: int
    total_frames: int
    fps: float
    features: dict[str, Any]
    robot_type: Any = None


def open_lerobot(folder: Path, config: DataConfig) -> Source:
    """Open a dataset folder of LeRobot v2 or v3.

    Args:
        config: the columns to read, and what counts as success.

    Raises:
        UsageError: another version, no vectors of observations or actions, or data that are
            damaged or do not match `meta/info.json`.
    """
    info = _read_info(folder)
    what = str(folder / LEROBOT_INFO)
    features = choose_features(what, info.features, config.observation, config.action)
    files = sorted(folder.glob("data/*/*.parquet"))
    if not files:
        raise UsageError(
            f"{folder} has no frames (data/*/*.parquet), only their description: download the "
            "complete dataset"
        )
    columns = dict.fromkeys(_POSITION, 1) | features.widths
    survey = _FrameSurvey(folder, info, features)
    surveyed = [*_POSITION, *features.actions, *features.scalars.values()]
    for block in survey.episodes(read_blocks(files, {name: columns[name] for name in surveyed})):
        survey.outcomes.add(_steps(block, features))
    rule = OutcomeRule(str(folder), survey.outcomes, config.success)
    low, high = survey.actions.bounds()
    notes = [
        f"not read (not vectors, or not chosen): {', '.join(features.ignored)}"
        if features.ignored
        else "",
        survey.actions.note(features.action_names),
        survey.timing.note(),
        *rule.notes,
    ]
    return Source(
        kind="lerobot",
        name=str(folder),
        spec=EnvironmentSpec(
            id=_robot(folder, info),
            observation_names=features.observation_names,
            action_names=features.action_names,
            action_low=tuple(map(float, low)),
            action_high=tuple(map(float, high)),
            episode_limit=survey.longest,
            control_interval=1 / info.fps,
        ),
        rows=info.total_frames + info.total_episodes,
        read=partial(_read, files, columns, features, rule),
        files={str(path.relative_to(folder)): path for path in files},
        origin={"codebase-version": info.codebase_version},
        notes=tuple(note for note in notes if note),
        bounds_from_data=True,
        reports_success=rule.reports_success,
    )


def _read_info(folder: Path) -> _Info:
    path = folder / LEROBOT_INFO
    content = read_json(path)
    # Other versions have other fields.
    version = documents.convert(content, _Version, str(path)).codebase_version
    if not re.fullmatch(r"v[23]\.\d{1,9}", version):
        raise UsageError(
            f"{folder} is of LeRobot {version[:20]!r}, v2 or v3 is needed: "
            "convert it with lerobot's own scripts"
        )
    info = documents.convert(content, _Info, str(path))
    if not 1e-3 <= info.fps <= 1e6:
        raise UsageError(f"{path}: fps must be between 0.001 and 1,000,000 Hz, got {info.fps}")
    if info.total_episodes < 1:
        raise UsageError(f"{folder} contains no episodes")
    return info


def _robot(folder: Path, info: _Info) -> str:
    robot = info.robot_type
    if robot in (None, "", "unknown"):
        robot = folder.resolve().name
    return ROBOT + re.sub(r"[^\w.-]+", "-", str(robot))[:100]


class _FrameSurvey:
    """Reads all frames but their observations once, and checks their order.

    Attributes:
        longest: frames of the longest episode.
    """

    def __init__(self, folder: Path, info: _Info, features: Features) -> None:
        self._folder, self._info, self._features = folder, info, features
        self.actions = ActionRange(
            sum(feature.width for feature in features.actions.values()), info.total_frames
        )
        self.timing = Timing(str(folder / LEROBOT_INFO), info.fps)
        self.outcomes = Survey()
        self.longest = 0

    def episodes(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield blocks of complete episodes (UsageError: frames are missing or out of order)."""
        return _complete_episodes(self._checked(blocks))

    def _checked(self, blocks: Iterable[Block]) -> Iterator[Block]:
        folder, info = self._folder, self._info
        frames = episodes = 0
        previous = np.array([[-1, -1]])
        timestamp = self._features.scalars.get(TIMESTAMP)
        for block in blocks:
            # [rows, 2]: episode and frame. The next row is the next frame or starts a new episode.
            position = np.concatenate([block[name] for name in _POSITION], axis=1)
            step = np.diff(position, axis=0, prepend=previous)
            starts = position[:, 1] == 0
            follows = np.where(starts, step[:, 0] != 0, (step == (0, 1)).all(axis=1))
            if not follows.all():
                episode, frame = position[int(np.argmin(follows))]
                raise UsageError(
                    f"{folder}: frame {frame} of episode {episode} is out of order: "
                    "each episode must be consecutive frames from 0"
                )
            previous = position[-1:]
            frames += len(position)
            episodes += int(starts.sum())
            self.longest = max(self.longest, int(position[:, 1].max()) + 1)
            self.actions.add(_joined(block, self._features.actions))
            if timestamp is not None:
                self.timing.add(block[timestamp][:, 0], starts)
            yield block
        if (episodes, frames) != (info.total_episodes, info.total_frames):
            raise UsageError(
                f"{folder} is incomplete: {LEROBOT_INFO} lists {info.total_episodes} episodes of "
                f"{info.total_frames} frames in total, the data contain {episodes} of {frames}"
            )
        self.timing.require()


def _complete_episodes(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks of complete episodes; the memory needed is that of a block and an episode."""
    pending: Block = {}
    for block in blocks:
        if pending:
            block = {name: np.concatenate([pending[name], v]) for name, v in block.items()}
        rows = int(np.flatnonzero(block["frame_index"] == 0)[-1])
        pending = {name: values[rows:].copy() for name, values in block.items()}
        if rows:
            yield {name: values[:rows] for name, values in block.items()}
    if pending:
        yield pending


def _read(
    files: Sequence[Path], columns: Mapping[str, int], features: Features, rule: OutcomeRule
) -> Iterator[Episodes]:
    for block in _complete_episodes(read_blocks(files, columns)):
        steps = _steps(block, features)
        outcomes = rule(steps)
        yield Episodes(
            observations=rows_with_last_repeated(_joined(block, features.observations), steps.last),
            actions=_joined(block, features.actions),
            rewards=outcomes.rewards,
            masks=1 - outcomes.terminated.astype(np.float32),
            terminals=steps.last.astype(np.float32),
            successes=outcomes.success,
        )


def _joined(block: Block, vectors: Mapping[str, Any]) -> np.ndarray:
    return np.concatenate([block[name] for name in vectors], axis=1)


def _steps(block: Block, features: Features) -> Steps:
    def column(names: tuple[str, ...]) -> np.ndarray | None:
        return block[features.scalars[names]][:, 0] if names in features.scalars else None

    def flags(names: tuple[str, ...]) -> np.ndarray | None:
        values = column(names)
        return None if values is None else values > 0

    rewards, done = column(REWARD), flags(DONE)
    terminated, truncated = flags(TERMINATED), flags(TRUNCATED)
    if terminated is None and done is not None and truncated is not None:
        terminated = done & ~truncated
    return Steps(
        # A row is an episode's last if the next row is a first; np.roll includes the block's last.
        last=np.roll(block["frame_index"][:, 0] == 0, -1),
        rewards=None if rewards is None else rewards.astype(np.float32),
        success=flags(SUCCESS),
        terminated=terminated,
        done=done,
    )
