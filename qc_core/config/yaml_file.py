"""Reads YAML files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.errors import UsageError


def read_yaml(path: Path) -> Any:
    """Return a YAML file's plain content (UsageError: unreadable, or an alias in a cycle)."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        _require_no_cycle(content)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read {path}: {reason}") from error
    return content


def _require_no_cycle(value: Any, above: tuple[int, ...] = ()) -> None:
    if id(value) in above:
        raise ValueError("an alias (*) is inside the value that it names")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in inner:
        _require_no_cycle(child, (*above, id(value)))
