"""A checkpoint: weights, optimiser, resolved config and progress, whole or absent.

weights.safetensors    the agent's networks and normalisation
optimizer.safetensors  Adam's moments and step, by position of the parameter
checkpoint.json        resolved config, environment, progress, digest of the data
curve.csv              the learning curve so far
training.safetensors   where training can go on: generator, step, online transitions
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.document import as_config, to_mapping, train_mapping
from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import TransientError, UsageError
from qc_core.files import (
    read_json,
    reading,
    require_fields,
    sha256_of,
    staged_folder,
    write_json,
)
from qc_core.policy_format.environment_spec import EnvironmentSpec, spec_from
from qc_core.training.device import DEVICE_FAULTS

SCHEMA_VERSION = 2
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "config": dict,
    "environment": dict,
    "dataset-digest": str,
    "offline-steps": int,
    "online-steps": int,
}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "dataset-source": (dict, type(None)),
    "dataset-extent": (dict, type(None)),
    "trial": (int, type(None)),
    "parent": (str, type(None)),
}
_EXTENT: dict[str, type | tuple[type, ...]] = {
    "episodes": int,
    "transitions": int,
    "observation-range": (dict, type(None)),
}
WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
TRAINING, CURVE = "training.safetensors", "curve.csv"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
# What weights are made for; the rest may change when training goes on.
_OF_THE_WEIGHTS = (
    "method",
    "backup-horizon",
    "num-critics",
    "hidden-dims",
    "normalize-observations",
)
Curve = list[dict[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointInfo:
    """What `checkpoint.json` says.

    Attributes:
        offline_steps: offline updates behind these weights, since the parent's if there is one.
        online_steps: environment steps behind these weights, likewise.
        dataset_source: where the data came from, as `dataset.json` says; None if it is not known.
        dataset_extent: how much data that was, as `Dataset.extent` says; None if it is not known.
        trial: of the tuning study, whose fine-tuning this is; None without a study.
        parent: NAME:VERSION of the policy whose weights the training began with, None for fresh
            ones.
    """

    config: Config
    spec: EnvironmentSpec
    dataset_digest: str
    offline_steps: int
    online_steps: int = 0
    dataset_source: Mapping[str, Any] | None = None
    dataset_extent: Mapping[str, Any] | None = None
    trial: int | None = None
    parent: str | None = None


def save_checkpoint(
    folder: Path,
    agent: Agent,
    info: CheckpointInfo,
    curve: Curve,
    training: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint folder; until it is whole, `folder` does not exist.

    Args:
        training: state of a training that is to go on from here.
    """
    with staged_folder(folder) as staging:
        save_tensors(agent.state_dict(), staging / WEIGHTS)
        moments = {
            f"{index}.{name}": value
            for index, entry in agent.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        save_tensors(moments, staging / OPTIMIZER)
        if training is not None:
            save_tensors(training, staging / TRAINING)
        write_curve(staging / CURVE, curve)
        write_json(
            staging / "checkpoint.json",
            {
                "schema-version": SCHEMA_VERSION,
                "config": to_mapping(info.config),
                "environment": info.spec.as_mapping(),
                "dataset-digest": info.dataset_digest,
                "dataset-source": info.dataset_source,
                "dataset-extent": info.dataset_extent,
                "trial": info.trial,
                "offline-steps": info.offline_steps,
                "online-steps": info.online_steps,
                "parent": info.parent,
            },
        )


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors of any device as a safetensors file (TransientError: the disk does not take it)."""
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, path)
    except SafetensorError as error:
        # What the system said is in its words only.
        raise TransientError(f"{path} cannot be written: {error}") from error


def read_info(folder: Path) -> CheckpointInfo:
    """Read `checkpoint.json` (UsageError: not a checkpoint, or of another schema)."""
    with reading(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        raise UsageError(f"{folder} is not a checkpoint folder")
    path = folder / "checkpoint.json"
    content = read_json(path)
    require_fields(content, {"schema-version": int}, str(path))
    if content["schema-version"] != SCHEMA_VERSION:
        raise UsageError(
            f"{folder}: checkpoint schema {SCHEMA_VERSION} is needed, "
            f"got {content['schema-version']}"
        )
    require_fields(content, _FIELDS, str(path))
    # Checkpoints from before these were noted have none of them.
    content = {**dict.fromkeys(_OPTIONAL), **content}
    require_fields(content, _OPTIONAL, str(path))
    if (extent := content["dataset-extent"]) is not None:
        require_fields(extent, _EXTENT, f"{path}, 'dataset-extent'")
    return CheckpointInfo(
        config=as_config(content["config"], str(path)),
        spec=spec_from(content["environment"], str(path)),
        dataset_digest=content["dataset-digest"],
        offline_steps=content["offline-steps"],
        online_steps=content["online-steps"],
        dataset_source=content["dataset-source"],
        dataset_extent=extent,
        trial=content["trial"],
        parent=content["parent"],
    )


def load_agent(folder: Path, device: torch.device, train: TrainConfig | None = None) -> Agent:
    """The agent of a checkpoint with its optimiser state.

    Args:
        train: settings to go on with, for the same networks; None takes the checkpoint's own.

    Raises:
        UsageError: not a checkpoint, or weights that are missing, damaged or for other networks.
    """
    info = read_info(folder)
    spec = info.spec
    agent = make_agent(spec.observation_size, spec.action_size, train or info.config.train, device)
    weights = _load(folder / WEIGHTS, device)
    try:
        agent.load_state_dict(weights)
    except DEVICE_FAULTS:
        raise
    except RuntimeError as error:
        raise UsageError(f"{folder / WEIGHTS} does not fit the networks of its config") from error
    _load_optimizer(agent, folder / OPTIMIZER, device, begun=info.offline_steps + info.online_steps)
    return agent


def _load_optimizer(agent: Agent, path: Path, device: torch.device, *, begun: int) -> None:
    """Give Adam its moments, all of them or, before the first update, none (UsageError: else)."""
    loaded = _load(path, device)
    groups = agent.optimizer.state_dict()["param_groups"]
    parameters = agent.optimizer.param_groups[0]["params"]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for index, parameter in enumerate(parameters):
        moments = {name: loaded.get(f"{index}.{name}") for name in _MOMENTS}
        if not loaded and not begun:
            break
        for name, value in moments.items():
            shape = () if name == "step" else parameter.shape
            if value is None or value.shape != shape:
                raise UsageError(f"{path} does not fit the networks: {index}.{name} is another's")
        state[index] = {name: value for name, value in moments.items() if value is not None}
    agent.optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_training_state(folder: Path) -> dict[str, torch.Tensor]:
    """What `save_checkpoint` was given as `training` (UsageError: missing or damaged)."""
    return _load(folder / TRAINING, torch.device("cpu"))


def require_environment(info: CheckpointInfo, folder: Path, environment: str) -> None:
    """Refuse a checkpoint that was trained in another environment (UsageError)."""
    if info.config.environment != environment:
        raise UsageError(
            f"{folder} was trained in {info.config.environment}, not {environment}: "
            f"give --environment {info.config.environment}"
        )


def require_same_networks(trained: TrainConfig, asked: TrainConfig, what: str, to_do: str) -> None:
    """Refuse weights that were made for other networks or another scaling (UsageError).

    Args:
        what: where the weights are, as the message names it.
        to_do: how to mend it.
    """
    before, now = train_mapping(trained), train_mapping(asked)
    for name in _OF_THE_WEIGHTS:
        if before[name] != now[name]:
            raise UsageError(
                f"{what} was trained with --train.{name} {before[name]}, got {now[name]}: {to_do}"
            )


def weights_digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, by which other files refer to it."""
    return sha256_of(folder / WEIGHTS)


def write_curve(path: Path, curve: Curve) -> None:
    names = list(dict.fromkeys(name for point in curve for name in point))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(curve)


# Columns of older curves under their new names.
_RENAMED_COLUMNS = {"success-told": "reports-success"}


def read_curve(folder: Path) -> Curve:
    """The points of a checkpoint's learning curve; a figure not taken at a point is absent.

    Raises:
        UsageError: missing or damaged.
    """
    path = folder / CURVE
    try:
        with path.open(newline="") as file:
            return [
                {_RENAMED_COLUMNS.get(k, k): float(v) for k, v in row.items() if v}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UsageError(f"{path} is missing or damaged: {error}") from error


def _load(path: Path, device: torch.device) -> dict[str, torch.Tensor]:
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} is missing or damaged: {error}") from error
