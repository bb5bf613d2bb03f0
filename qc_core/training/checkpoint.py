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
from pathlib import Path
from typing import Any

import msgspec

from qc_core import documents
from qc_core.config.document import as_config, to_mapping, train_mapping
from qc_core.config.settings import Config, TrainConfig
from qc_core.data.dataset.info import DatasetExtent
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.files import reading, sha256_of
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec, is_same_environment
from qc_core.training.checksums import require_intact

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
        dataset_extent: size of the dataset; None if unknown.
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
