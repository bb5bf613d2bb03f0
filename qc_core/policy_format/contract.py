"""What `policy.json` promises, checked before memory is taken for it or a model is believed.

Shapes: B batch, O observation, H horizon, A action.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json, require_fields

# Where the model file carries its contract.
METADATA_KEY = "qc.policy"
# Numbers that go in or come out for one observation: 64 MiB, far above any policy.
_MOST_NUMBERS = 1 << 24


class Model(Protocol):
    """What a model file says of itself."""

    @property
    def inputs(self) -> dict[str, list[int | str]]:
        """Shapes of the float32 inputs by name; a string is a size that may vary."""
        ...

    @property
    def outputs(self) -> dict[str, list[int | str]]:
        """The same of the outputs."""
        ...

    @property
    def metadata(self) -> dict[str, str]: ...


def require_sizes(contract: dict[str, Any], what: str) -> None:
    """Refuse a contract whose sizes cannot be meant (UsageError).

    Args:
        what: the file, as the message names it.
    """
    observation, action = contract["observation"], contract["action"]
    require_fields(observation, {"names": list}, f"{what}, observation")
    require_fields(action, dict.fromkeys(("names", "low", "high"), list), f"{what}, action")
    require_fields(contract["noise"], {"shape": list}, f"{what}, noise")
    for name, names in (("observation", observation["names"]), ("action", action["names"])):
        if not names or not all(isinstance(entry, str) for entry in names):
            raise UsageError(f"{what} is damaged: the {name} needs a list of names")
    for name in ("low", "high"):
        bounds = action[name]
        if len(bounds) != len(action["names"]) or not all(map(_is_finite, bounds)):
            raise UsageError(f"{what} is damaged: {name!r} needs one finite number for each action")
    for name, low, high in zip(action["names"], action["low"], action["high"], strict=True):
        if low > high:
            raise UsageError(
                f"{what} is damaged: the bounds of {name[:50]!r} must rise, got {low:g} to {high:g}"
            )
    _require_pace(contract, what)
    horizon, shape = contract["horizon"], contract["noise"]["shape"]
    if not shape or not all(_is_size(size) for size in (horizon, *shape)):
        raise UsageError(
            f"{what} is damaged: horizon and noise shape must be positive integers, "
            f"got {horizon} and {shape}"
        )
    largest = max(math.prod(shape), horizon * len(action["names"]))
    if largest > _MOST_NUMBERS:
        raise UsageError(
            f"{what} asks for {largest:,} numbers for one observation, "
            f"at most {_MOST_NUMBERS:,} are allowed"
        )


def require_same(model: Model, contract: dict[str, Any], what: str) -> None:
    """Refuse a model that is not the one of which the contract tells.

    Args:
        what: the model file, as the message names it.

    Raises:
        UsageError: a model without metadata.
        RunError: metadata, inputs or outputs of another policy.
    """
    if METADATA_KEY not in model.metadata:
        raise UsageError(
            f"{what} has no metadata {METADATA_KEY!r}: only what `qc export` wrote can be played"
        )
    try:
        inside = parse_json(model.metadata[METADATA_KEY])
    except ValueError as error:
        raise RunError(f"{what} is damaged: its metadata are not readable JSON") from error
    if inside != contract:
        raise RunError(f"{what} and its contract are of different policies: pull it again")
    expected = {
        "observation": [len(contract["observation"]["names"])],
        "noise": contract["noise"]["shape"],
        "action_chunk": [contract["horizon"], len(contract["action"]["names"])],
    }
    shapes = {**model.inputs, **model.outputs}
    for name in dict.fromkeys([*expected, *shapes]):
        shape, wanted = shapes.get(name), expected.get(name)
        if not shape or wanted is None or not isinstance(shape[0], str) or shape[1:] != wanted:
            needed = f"[batch, {', '.join(map(str, wanted))}]" if wanted else "nothing of that name"
            raise RunError(
                f"{what} is not what its contract says: {needed} is needed for {name}, "
                f"got {shape or 'none'}"
            )


def _require_pace(contract: dict[str, Any], what: str) -> None:
    interval = contract["control-interval-seconds"]
    if not _is_finite(interval) or interval <= 0:
        raise UsageError(
            f"{what} is damaged: 'control-interval-seconds' must be above 0, got {interval}"
        )
    for name in ("episode-limit", "execution-length"):
        if not _is_size(contract[name]):
            raise UsageError(
                f"{what} is damaged: {name!r} must be a positive integer, got {contract[name]}"
            )


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_finite(value: Any) -> bool:
    # An integer of hundreds of digits is no number of a float32 either.
    return type(value) in (int, float) and abs(value) < math.inf and abs(value) < 1e38
