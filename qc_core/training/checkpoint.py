"""Checkpoint folders: weights, optimiser state, resolved configuration and progress.

weights.safetensors    networks and observation normalisation of the agent
optimizer.safetensors  the optimisers' state, by position of the parameter
checkpoint.json        the `Checkpoint` document
curve.csv              learning curve so far
training.safetensors   state to resume from: random generator, step, online transitions
SHA256SUMS             checksums of the other files, verified when they are read

A folder is written to a temporary place and renamed, so it is complete or absent.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qc_core import documents
from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.document import as_config, to_mapping, train_mapping
from qc_core.config.settings import Config, TrainConfig
from qc_core.data.dataset.info import DatasetExtent
from qc_core.documents import Document
from qc_core.errors import TransientError, UsageError
from qc_core.files import reading, sha256_of, staged_folder, write_json
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec, is_same_environment
from qc_core.training.checksums import require_intact, write_checksums
from qc_core.training.device import DEVICE_FAULTS

# Version 3 has the new option names in the configuration and in the columns of the curve.
SCHEMA_VERSION = 3
_READABLE = (2, 3)
DOCUMENT = "checkpoint.json"
WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
TRAINING, CURVE = "training.safetensors", "curve.csv"
# Settings that determine the networks' shapes and inputs; others may change between trainings.
_NETWORK_SETTINGS = (
    "method",
    "backup-horizon",
    "num-critics",
    "hidden-dims",
    "normalize-observations",
)
# Columns of learning curves, by their names in earlier releases.
_RENAMED_COLUMNS = {
    "success-told": "reports-success",
    "actor/cloning_loss": "actor/bc_loss",
    "validation/cloning_loss": "validation/bc_loss",
}
Curve = list[dict[str, float]]


class Checkpoint(Document, frozen=True, kw_only=True):
    """`checkpoint.json`: what the weights were trained from, and for how long.

    Attributes:
        config: resolved configuration of the training.
        offline_steps: offline updates since training started, or since the parent's checkpoint.
        online_steps: environment steps since then.
        dataset_source: `source` of `dataset.json`; None if unknown.
        dataset_extent: size of the data set; None if unknown.
        trial: number of the fine-tuning trial in its study; None outside a study.
        parent: NAME:VERSION of the policy whose weights training started from; None without one.
    """

    schema_version: int = SCHEMA_VERSION
    config: Config
    spec: EnvironmentSpec = msgspec.field(name="environment")
    dataset_digest: str
    offline_steps: int
    online_steps: int
    dataset_source: DataSource | None = None
    dataset_extent: DatasetExtent | None = None
    trial: int | None = None
    parent: str | None = None

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        """Check the schema version and parse the configuration."""
        documents.schema_version(content, _READABLE, what, "checkpoint")
        parsed = {**content, "schema-version": SCHEMA_VERSION}
        if "config" in content:
            parsed["config"] = as_config(content["config"], what)
        return parsed

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, with the configuration under its option names."""
        return {**documents.to_json(self), "config": to_mapping(self.config)}


def save_checkpoint(
    folder: Path,
    agent: Agent,
    checkpoint: Checkpoint,
    curve: Curve,
    training: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint folder atomically: `folder` appears when it is complete.

    Args:
        training: state to resume the training from; None for a finished training.
    """
    with staged_folder(folder) as staging:
        save_tensors(agent.state_dict(), staging / WEIGHTS)
        save_tensors(agent.optimizer_state(), staging / OPTIMIZER)
        if training is not None:
            save_tensors(training, staging / TRAINING)
        write_curve(staging / CURVE, curve)
        write_json(staging / DOCUMENT, checkpoint.as_json())
        write_checksums(staging)


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors of any device to a safetensors file (TransientError: the disk is full)."""
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, path)
        # safetensors makes a private file. The folder's permissions follow the umask.
        path.chmod(path.parent.stat().st_mode & 0o666)
    except SafetensorError as error:
        # safetensors gives no error number, only a text.
        raise TransientError(f"{path} cannot be written: {error}") from error


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read `checkpoint.json` (UsageError: not a checkpoint, damaged, or another schema)."""
    with reading(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        raise UsageError(f"{folder} is not a checkpoint folder")
    checkpoint = documents.read(folder / DOCUMENT, Checkpoint)
    require_intact(folder, DOCUMENT)
    return checkpoint


def verify_checkpoint(folder: Path) -> None:
    """Compare all files of a checkpoint with their checksums (UsageError: one is damaged)."""
    require_intact(folder)
    read_checkpoint(folder)


def load_agent(folder: Path, device: torch.device, train: TrainConfig | None = None) -> Agent:
    """Return the agent of a checkpoint with its optimiser state, to train it further.

    Args and errors are those of `load_acting_agent`.
    """
    agent = load_acting_agent(folder, device, train)
    _load_optimizer(agent, folder, device)
    return agent


def load_acting_agent(
    folder: Path, device: torch.device, train: TrainConfig | None = None
) -> Agent:
    """Return the agent of a checkpoint, to act with it.

    Args:
        train: settings for further training with the same networks; None takes the checkpoint's.

    Raises:
        UsageError: not a checkpoint, or weights that are missing, damaged or of other networks.
    """
    checkpoint = read_checkpoint(folder)
    spec = checkpoint.spec
    train = train or checkpoint.config.train
    agent = make_agent(spec.observation_size, spec.action_size, train, device)
    weights = _load(folder / WEIGHTS, device)
    try:
        agent.load_state_dict(weights)
    except DEVICE_FAULTS:
        raise
    except RuntimeError as error:
        raise UsageError(f"{folder / WEIGHTS} does not fit the networks of its config") from error
    return agent


def _load_optimizer(agent: Agent, folder: Path, device: torch.device) -> None:
    """Load the optimisers' state; before the first update it is empty (UsageError: damaged)."""
    path = folder / OPTIMIZER
    tensors = _load(path, device)
    if not tensors:
        checkpoint = read_checkpoint(folder)
        if not checkpoint.offline_steps + checkpoint.online_steps:
            return
    try:
        agent.load_optimizer_state(tensors)
    except UsageError as error:
        raise UsageError(f"{path} does not fit the networks: {error}") from error


def load_training_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return the `training` state that was saved (UsageError: missing or damaged)."""
    return _load(folder / TRAINING, torch.device("cpu"))


def require_environment(checkpoint: Checkpoint, folder: Path, environment: str) -> None:
    """Refuse a checkpoint that was trained in another environment (UsageError)."""
    trained = checkpoint.config.environment
    if not is_same_environment(trained, environment):
        raise UsageError(
            f"{folder} was trained in {trained}, not {environment}: give --environment {trained}"
        )


def require_same_networks(
    trained: TrainConfig, wanted: TrainConfig, what: str, remedy: str
) -> None:
    """Refuse weights of other networks or another observation normalisation (UsageError).

    Args:
        what: the weights' origin, for the error message.
        remedy: what to do, for the error message.
    """
    before, now = train_mapping(trained), train_mapping(wanted)
    for name in _NETWORK_SETTINGS:
        if before[name] != now[name]:
            raise UsageError(
                f"{what} was trained with --train.{name} {before[name]}, got {now[name]}: {remedy}"
            )


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, which other documents refer to."""
    return sha256_of(folder / WEIGHTS)


def write_curve(path: Path, curve: Curve) -> None:
    """Write a learning curve as CSV, one row for each point."""
    names = list(dict.fromkeys(name for point in curve for name in point))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(curve)


# Columns of older curves under their new names.
def read_curve(folder: Path) -> Curve:
    """Return the points of a checkpoint's learning curve, without the empty cells.

    Raises:
        UsageError: missing or damaged.
    """
    path = folder / CURVE
    require_intact(folder, CURVE)
    try:
        with path.open(newline="") as file:
            return [
                {_RENAMED_COLUMNS.get(k, k): float(v) for k, v in row.items() if v}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UsageError(f"{path} is missing or damaged: {error}") from error


def _load(path: Path, device: torch.device) -> dict[str, torch.Tensor]:
    require_intact(path.parent, path.name)
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} is missing or damaged: {error}") from error
