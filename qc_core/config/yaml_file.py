"""Reads YAML files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.errors import UsageError

_MAX_BYTES = 100_000
# Values, where a value counts as often as aliases name it.
_MAX_VALUES = 10_000


def read_yaml(path: Path) -> Any:
    """Return a YAML file's plain content.

    Raises:
        UsageError: the file is unreadable or too large, also through its aliases.
    """
    import yaml

    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        loader = yaml.SafeLoader(content)
        try:
            root = loader.get_single_node()
            # Building the values would already copy what aliases name.
            _require_few_values(root)
            return None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"cannot read {path}: {reason}") from error


def _require_few_values(root: Any) -> None:
    """Raise ValueError for more values than a person writes, or an alias in its own value."""
    counts: dict[int, int] = {}

    def count(node: Any) -> int:
        known = counts.get(id(node))
        if known == 0:
            raise ValueError("an alias (*) is inside the value that it names")
        if known is not None:
            return known
        counts[id(node)] = 0
        inner = node.value if isinstance(node.value, list) else []
        total = 1
        for entry in inner:
            total += sum(map(count, entry)) if isinstance(entry, tuple) else count(entry)
            if total > _MAX_VALUES:
                raise ValueError(f"it has more than {_MAX_VALUES:,} values, counting aliases (*)")
        counts[id(node)] = total
        return total

    if root is not None:
        count(root)
