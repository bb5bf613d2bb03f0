"""The policy contract (`policy.json`): sizes, names, units and provenance of an exported policy.

The contract is checked before memory is allocated for it and before the model runs.

Shapes: B batch, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from msgspec import field

from qc_core import documents
from qc_core.documents import Document, InvalidDocument
from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.held_out_result import HeldOutResult
from qc_core.statistics import Estimate

SCHEMA_VERSION = 2
# The key of the contract in the metadata of the model file.
METADATA_KEY = "qc.policy"
# Input or output numbers for one observation: 64 MiB, far above any policy.
_MAX_NUMBERS = 1 << 24
# Larger numbers do not fit a float32.
_LARGEST = 1e38
_NAMES_BEFORE_2 = {
    "horizon": "chunk-length",
    "execution-length": "execution-horizon",
    "success-told": "reports-success",
    "law": "distribution",
}


class ObservationRange(Document, frozen=True, kw_only=True):
    """Lowest and highest value of each observation in the data."""

    low: tuple[float, ...]
    high: tuple[float, ...]


class Observations(Document, frozen=True, kw_only=True):
    """The observations of a policy, in order.

    Attributes:
        range_in_data: None if it is unknown.
    """

    names: tuple[str, ...]
    units: str | None = None
    range_in_data: ObservationRange | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise InvalidDocument("the observation needs a list of names")


class Actions(Document, frozen=True, kw_only=True):
    """The actions of a policy, in order, with their bounds in the environment's units."""

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise InvalidDocument("the action needs a list of names")
        for key, bounds in (("low", self.low), ("high", self.high)):
            if len(bounds) != len(self.names) or not all(abs(b) < _LARGEST for b in bounds):
                raise InvalidDocument(f"{key!r} needs one finite number for each action")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if low > high:
                raise InvalidDocument(
                    f"the low bound of {name[:50]!r} must not be above its high bound, "
                    f"got {low:g} and {high:g}"
                )


class Noise(Document, frozen=True, kw_only=True):
    """The noise of one observation that the policy needs as an input."""

    shape: tuple[int, ...]
    distribution: str | None = None

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise InvalidDocument(
                f"the noise shape must be a list of positive integers, got {list(self.shape)}"
            )


class EvaluationSummary(Document, frozen=True, kw_only=True):
    """What was measured when the policy was evaluated in its environment.

    Attributes:
        first_seed: the episodes have this seed and those after it.
        execution_horizon: actions of each chunk that were executed.
        episode_return: undiscounted sum of rewards of an episode.
        reports_success: whether the environment reports success; if not, compare returns.
    """

    episodes: int
    first_seed: int
    execution_horizon: int
    success: Estimate
    steps: Estimate
    episode_return: Estimate = field(name="return")
    reports_success: bool = True


class TuningSummary(Document, frozen=True, kw_only=True):
    """The Optuna study of which this policy is the best trial."""

    trials: int
    best_trial: int


class Provenance(Document, frozen=True, kw_only=True):
    """What it takes to train the policy again. Older policies lack some fields.

    Attributes:
        config: the complete configuration, in the form of the release that trained the policy.
        image: the container image.
        parent: NAME:VERSION of the policy whose weights the training started from, None for
            new weights.
        weights: SHA-256 of the checkpoint's weights.
    """

    config: dict[str, Any] | None = None
    dataset_source: DataSource | None = None
    image: str | None = None
    parent: str | None = None
    weights: str | None = None


class Contract(Document, frozen=True, kw_only=True):
    """The content of `policy.json`, which the model file also carries in its metadata.

    A robot needs the fields without a default. The others say how the policy was made.

    Attributes:
        chunk_length: actions per chunk (H).
        execution_horizon: actions of a chunk to execute before the policy is asked again.
        control_interval_seconds: time between two actions.
        episode_limit: control steps after which an episode is truncated.
        evaluation: None if no episodes were played.
        held_out: offline figures on recorded episodes, of a policy without a simulator.
        flow_steps: integration steps of a flow policy, 0 for a policy without a flow.
        opset: ONNX operator set of the model.
        versions: versions of the packages that exported the policy.
        dataset_digest: SHA-256 over the checksums of all arrays of the dataset.
        offline_steps: offline updates. `online_steps`: environment steps of fine-tuning.
    """

    schema_version: int = SCHEMA_VERSION
    method: str
    environment: str
    chunk_length: int
    execution_horizon: int
    control_interval_seconds: float
    episode_limit: int
    observation: Observations
    action: Actions
    noise: Noise
    evaluation: EvaluationSummary | None
    held_out: HeldOutResult | None = None
    flow_steps: int | None = None
    opset: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    dataset_digest: str | None = None
    episodes: int | None = None
    transitions: int | None = None
    git_commit: str | None = None
    recipe: str | None = None
    seed: int | None = None
    offline_steps: int | None = None
    online_steps: int | None = None
    tuning: TuningSummary | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        interval = self.control_interval_seconds
        if not 0 < interval < _LARGEST:
            raise InvalidDocument(
                f"'control-interval-seconds' must be a finite number above 0, got {interval:g}"
            )
        for key, value in (
            ("chunk-length", self.chunk_length),
            ("execution-horizon", self.execution_horizon),
            ("episode-limit", self.episode_limit),
        ):
            if value < 1:
                raise InvalidDocument(f"{key!r} must be a positive integer, got {value}")
        largest = max(math.prod(self.noise.shape), self.chunk_length * self.action_size)
        if largest > _MAX_NUMBERS:
            raise InvalidDocument(
                f"it asks for {largest:,} numbers for one observation, "
                f"at most {_MAX_NUMBERS:,} are allowed"
            )

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        version = documents.schema_version(content, (1, SCHEMA_VERSION), what, "policy")
        if version == SCHEMA_VERSION:
            return content
        content = documents.with_keys_renamed(content, _NAMES_BEFORE_2)
        for part in ("noise", "evaluation"):
            if part in content:
                content[part] = documents.with_keys_renamed(content[part], _NAMES_BEFORE_2)
        return {**content, "schema-version": SCHEMA_VERSION}

    @property
    def observation_size(self) -> int:
        return len(self.observation.names)

    @property
    def action_size(self) -> int:
        return len(self.action.names)


class Model(Protocol):
    """The inputs, outputs and metadata of a model file."""

    @property
    def inputs(self) -> dict[str, list[int | str]]:
        """Shapes of the float32 inputs by name; a string is a dynamic size."""
        ...

    @property
    def outputs(self) -> dict[str, list[int | str]]:
        """Shapes of the float32 outputs by name; a string is a dynamic size."""
        ...

    @property
    def metadata(self) -> dict[str, str]: ...


def require_same(model: Model, contract: Contract, what: str) -> None:
    """Refuse a model that belongs to another contract.

    Args:
        what: the model file, for error messages.

    Raises:
        UsageError: a model without metadata.
        RunError: the metadata, inputs or outputs are those of another policy.
    """
    if METADATA_KEY not in model.metadata:
        raise UsageError(
            f"{what} has no metadata {METADATA_KEY!r}: only policies that `qc export` wrote can run"
        )
    if _inside(model, what) != contract:
        raise RunError(f"{what} and its contract are of different policies: pull it again")
    expected = {
        "observation": [contract.observation_size],
        "noise": list(contract.noise.shape),
        "action_chunk": [contract.chunk_length, contract.action_size],
    }
    shapes = {**model.inputs, **model.outputs}
    for name in dict.fromkeys([*expected, *shapes]):
        shape, wanted = shapes.get(name), expected.get(name)
        if not shape or wanted is None or not isinstance(shape[0], str) or shape[1:] != wanted:
            needed = f"[batch, {', '.join(map(str, wanted))}]" if wanted else "nothing of that name"
            raise RunError(
                f"{what} does not match its contract: {needed} is needed for {name}, "
                f"got {shape or 'none'}"
            )


def _inside(model: Model, what: str) -> Contract | None:
    """Return the contract in the model file, None if the metadata hold something else."""
    try:
        content = parse_json(model.metadata[METADATA_KEY])
    except ValueError as error:
        raise RunError(f"{what} is damaged: its metadata are not readable JSON") from error
    try:
        return documents.convert(content, Contract, what)
    except UsageError:
        return None
