"""Reads Minari datasets with Minari's library, which also downloads them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.registration import EnvSpec

from qc_core import documents
from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.hdf5_check import require_harmless
from qc_core.data.formats.outcomes import OutcomeRule, Steps, Survey
from qc_core.data.formats.source import (
    ReplayableEpisode,
    Source,
    observation_rows,
    require_finite,
)
from qc_core.documents import Document
from qc_core.envs.make import describe, is_continuous
from qc_core.envs.play import SUCCESS_KEYS
from qc_core.envs.registry import find_environment
from qc_core.envs.variants import differences, with_settings
from qc_core.envs.vectors import is_vector
from qc_core.errors import RunError, UsageError
from qc_core.policy_format.environment_spec import (
    EnvironmentSpec,
    gymnasium_id,
    package_of,
)

# Exceptions that the library raises for damaged data.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError)


class _Spaces(Document, frozen=True, kw_only=True, rename="lower"):
    """Spaces in `metadata.json`.

    They are required: without them, Minari imports and runs the environment that the file names.
    """

    observation_space: str
    action_space: str


class _Vector(NamedTuple):
    """One vector of an observation, and the path of keys to it."""

    keys: tuple[str | int, ...]
    size: int


def open_minari(dataset_id: str, config: Config) -> Source:
    """Open a dataset by its id, `NAMESPACE/NAME-vVERSION`.

    Args:
        config: control interval, and what counts as success. By default this is
            `info["success"]` or `info["is_success"]`, else sparse rewards; only terminations end
            the task.

    Raises:
        UsageError: the id is invalid, the dataset is damaged, or its spaces are not vectors with
            bounded actions.
        RunError: the dataset is not on this machine and cannot be downloaded.
    """
    import h5py
    import minari

    # A security check, before Minari reads the file: see `_Spaces`.
    data = _folder(dataset_id) / "data"
    documents.read(data / "metadata.json", _Spaces)
    # Minari descends into groups and follows links.
    for path in sorted(data.glob("**/*.hdf5")):
        with _damage(dataset_id), h5py.File(path, "r") as file:
            require_harmless(path, file, follows_links=True)
    with _damage(dataset_id):
        dataset = minari.load_dataset(dataset_id)
        lengths = [
            int(episode["total_steps"])
            for episode in dataset.storage.get_episode_metadata(dataset.episode_indices)
        ]
    if not lengths:
        raise UsageError(f"minari:{dataset_id} contains no episodes")
    vectors = _vectors(dataset.observation_space, dataset_id)
    rule = _outcome_rule(dataset, dataset_id, config.data)
    return Source(
        kind="minari",
        name=f"minari:{dataset_id}",
        spec=_spec(dataset, dataset_id, vectors, max(lengths), config),
        rows=sum(lengths) + len(lengths),
        read=partial(_read, dataset, dataset_id, vectors, rule),
        origin={"dataset": dataset_id, "minari-version": dataset.minari_version},
        notes=(*rule.notes, *_notes(dataset.env_spec, config)),
        reports_success=rule.reports_success,
        replayable=partial(_replayable, dataset, dataset_id, vectors),
    )


def _folder(dataset_id: str) -> Path:
    """Return the folder of a dataset, downloaded if it does not exist."""
    import minari
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{dataset_id!r} is not a Minari id: give one such as mujoco/hopper/expert-v0"
        ) from error
    folder = get_dataset_path(dataset_id)
    if not (folder / "data").exists():
        try:
            # Standard output is reserved for results.
            with contextlib.redirect_stdout(sys.stderr):
                minari.download_dataset(dataset_id)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"minari:{dataset_id} is not at {folder} and cannot be downloaded ({reason}): "
                "check the id, or copy the dataset there from another machine"
            ) from error
    return folder


def _spec(
    dataset: Any,
    dataset_id: str,
    vectors: Sequence[_Vector],
    longest: int,
    config: Config,
) -> EnvironmentSpec:
    """Return the description by the environment if it is installed, else by the metadata."""
    action = dataset.action_space
    if not is_continuous(action) or not action.is_bounded():
        raise UsageError(
            f"minari:{dataset_id}: actions must be bounded vectors of real numbers, got {action}"
        )
    recorded = dataset.env_spec
    name = _recorded_name(recorded, config) if recorded else f"minari/{dataset_id}"
    registered = _registered(name) if recorded else None
    if recorded and registered:
        if added := sorted(set(registered.kwargs) - set(recorded.kwargs)):
            raise UsageError(
                f"minari:{dataset_id} was recorded in another environment than {name}: the "
                f"installed one has the argument {added[0]}={registered.kwargs[added[0]]!r}, the "
                "recorded one has not; install the version that it was recorded with"
            )
        name = with_settings(name, differences(recorded, registered))
    spec = EnvironmentSpec(
        id=name,
        observation_names=tuple(
            f"{'_'.join(map(str, vector.keys)) or 'observation'}_{i}"
            for vector in vectors
            for i in range(vector.size)
        ),
        action_names=tuple(f"action_{i}" for i in range(action.shape[0])),
        action_low=tuple(map(float, action.low)),
        action_high=tuple(map(float, action.high)),
        episode_limit=(recorded and recorded.max_episode_steps) or longest,
        # Minari's metadata does not contain it.
        control_interval=config.control_interval,
    )
    if registered is None:
        return spec
    installed = describe(spec.id, config.control_interval)
    for name, got, wanted in (
        ("observations", spec.observation_size, installed.observation_size),
        ("actions", spec.action_size, installed.action_size),
    ):
        if got != wanted:
            raise UsageError(
                f"minari:{dataset_id} has {name} of {got} numbers, {spec.id} of {wanted}: it was "
                "recorded in another version of the environment, or with a wrapper"
            )
    return installed


def _recorded_name(recorded: EnvSpec, config: Config) -> str:
    """Return the recorded id with the package that a person names for it."""
    base = config.environment.partition("?")[0]
    package = package_of(base) if gymnasium_id(base) == recorded.id else None
    return f"{package}:{recorded.id}" if package else recorded.id


def _notes(recorded: EnvSpec | None, config: Config) -> Iterator[str]:
    """Yield what is not known about the environment of the data."""
    if recorded is None:
        return
    name = _recorded_name(recorded, config)
    registered = _registered(name)
    if registered is None:
        yield (
            f"{recorded.id} is not installed here (it is {recorded.entry_point}): if a package "
            f"registers it, give --environment PACKAGE:{recorded.id}"
        )
    elif _class_name(registered) != _class_name(recorded):
        yield (
            f"{name} was {_class_name(recorded)} when the data were recorded, and is "
            f"{_class_name(registered)} here: compare them with qc describe --replay"
        )


def _class_name(spec: EnvSpec) -> str:
    point: Any = spec.entry_point
    return point if isinstance(point, str) else f"{point.__module__}:{point.__qualname__}"


def _registered(environment: str) -> EnvSpec | None:
    """Return the registration of an environment, None if it is not installed."""
    with contextlib.suppress(UsageError):
        return find_environment(environment)
    return None


def _vectors(space: Any, dataset_id: str, keys: tuple[str | int, ...] = ()) -> list[_Vector]:
    """Return the vectors of an observation space in the order in which gymnasium flattens it."""
    from gymnasium.spaces import Dict, Tuple

    if is_vector(space):
        return [_Vector(keys, int(np.prod(space.shape)))]
    if isinstance(space, Dict):
        return [v for key in space for v in _vectors(space[key], dataset_id, (*keys, str(key)))]
    if isinstance(space, Tuple):
        return [v for i, part in enumerate(space) for v in _vectors(part, dataset_id, (*keys, i))]
    where = "/".join(map(str, keys)) or "observations"
    raise UsageError(
        f"minari:{dataset_id}: {where} must be vectors or dictionaries of vectors, got {space}"
    )


def _outcome_rule(dataset: Any, dataset_id: str, config: DataConfig) -> OutcomeRule:
    survey = Survey()
    try:
        for episode in dataset.iterate_episodes():
            if len(episode.rewards):
                survey.add(_steps(episode))
            if survey.has_success and config.success == "auto":
                # Success is recorded, and so are terminations: the other episodes add nothing.
                break
    except _DAMAGE as error:
        raise _damaged(dataset_id, error) from error
    return OutcomeRule(f"minari:{dataset_id}", survey, config.success)


def _steps(episode: Any) -> Steps:
    steps = len(episode.rewards)
    infos = episode.infos if isinstance(episode.infos, dict) else {}
    recorded = next((infos[name] for name in SUCCESS_KEYS if name in infos), None)
    success = None
    if recorded is not None and np.size(recorded) >= steps:
        # `info` of the reset may come first.
        success = np.asarray(recorded, np.float64).reshape(-1)[-steps:] > 0
    return Steps(
        last=np.arange(steps) == steps - 1,
        rewards=np.asarray(episode.rewards, np.float32).reshape(steps),
        success=success,
        terminated=np.asarray(episode.terminations, bool).reshape(steps),
    )


def _read(
    dataset: Any, dataset_id: str, vectors: Sequence[_Vector], rule: OutcomeRule
) -> Iterator[Episodes]:
    try:
        for episode in dataset.iterate_episodes():
            what = f"minari:{dataset_id}, episode {episode.id}"
            yield _episodes(episode, dataset, vectors, rule, what)
    except _DAMAGE as error:
        raise _damaged(dataset_id, error) from error


def _episodes(
    episode: Any, dataset: Any, vectors: Sequence[_Vector], rule: OutcomeRule, what: str
) -> Episodes:
    steps = len(episode.rewards)
    if not steps:
        raise UsageError(f"{what} has no steps: delete it")
    observations = _observations(episode, vectors)
    actions = np.asarray(episode.actions, np.float32).reshape(steps, *dataset.action_space.shape)
    recorded = _steps(episode)
    outcomes = rule(recorded)
    for name, values in (
        ("observations", observations),
        ("actions", actions),
        ("rewards", outcomes.rewards),
    ):
        require_finite(what, name, values)
    ends = np.asarray(episode.truncations, bool).reshape(steps) | recorded.last
    ends |= np.asarray(episode.terminations, bool).reshape(steps)
    return Episodes(
        observations=observation_rows(observations[:-1], observations[1:], ends),
        actions=actions,
        rewards=outcomes.rewards,
        masks=1 - outcomes.terminated.astype(np.float32),
        terminals=ends.astype(np.float32),
        successes=outcomes.success,
    )


def _replayable(
    dataset: Any, dataset_id: str, vectors: Sequence[_Vector]
) -> Iterator[ReplayableEpisode]:
    for episode in dataset.iterate_episodes():
        (recorded,) = dataset.storage.get_episode_metadata([episode.id])
        if recorded.get("seed") is None:
            raise UsageError(
                f"minari:{dataset_id}, episode {episode.id} cannot be played again: the seed of "
                "its reset is not recorded"
            )
        yield ReplayableEpisode(
            observations=_observations(episode, vectors),
            actions=np.asarray(episode.actions),
            rewards=np.asarray(episode.rewards, np.float64).reshape(-1),
            seed=int(recorded["seed"]),
            options=recorded.get("options"),
        )


def _observations(episode: Any, vectors: Sequence[_Vector]) -> np.ndarray:
    """Return observations [T + 1, O] in the order in which gymnasium flattens them."""
    parts = []
    for vector in vectors:
        values = episode.observations
        for key in vector.keys:
            values = values[key]
        parts.append(np.asarray(values, np.float32).reshape(len(episode.rewards) + 1, vector.size))
    return np.concatenate(parts, axis=1)


@contextlib.contextmanager
def _damage(dataset_id: str) -> Iterator[None]:
    """Turn what the library raises for damaged data into UsageError."""
    try:
        yield
    except UsageError:
        raise
    except _DAMAGE as error:
        raise _damaged(dataset_id, error) from error


def _damaged(dataset_id: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:200]
    return UsageError(
        f"minari:{dataset_id} is damaged or of an unknown version: {reason or type(error).__name__}"
    )
