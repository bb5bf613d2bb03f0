"""The results file, which is complete and valid JSON at every moment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
# A figure: its name and value, and labels such as method, network, batch and kernels.
Figure = dict[str, Any]


class Results:
    """`results.json`; one process at a time writes to it.

    All parts share one file because few files can be brought back from some machines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, head: dict[str, Any]) -> None:
        """Start a new file."""
        self._write({"schema-version": SCHEMA_VERSION, **head, "parts": {}})

    def read(self) -> dict[str, Any]:
        return json.loads(self._path.read_text(encoding="utf-8"))

    def set_head(self, **values: Any) -> None:
        """Set values that concern all parts, such as the hardware."""
        self._change(lambda content: content.update(values))

    def set_part(self, part: str, **values: Any) -> None:
        """Set status, seconds and other values of one part."""
        self._change(lambda content: _part(content, part).update(values))

    def add_figure(self, part: str, figure: Figure) -> None:
        """Append one figure of a part."""
        self._change(lambda content: _part(content, part)["figures"].append(figure))

    def figures(self, part: str) -> list[Figure]:
        """The figures of a part; none if it has not run."""
        return self.read()["parts"].get(part, {}).get("figures", [])

    def all_passed(self) -> bool:
        return all(part.get("status") == "passed" for part in self.read()["parts"].values())

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        content = self.read()
        change(content)
        self._write(content)

    def _write(self, content: dict[str, Any]) -> None:
        temporary = self._path.with_suffix(".json.new")
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self._path)


def _part(content: dict[str, Any], part: str) -> dict[str, Any]:
    return content["parts"].setdefault(part, {"status": "running", "figures": []})


def labels_of(figure: Figure) -> tuple[str, ...]:
    """Name and labels of a figure: what identifies it among measurements and predictions."""
    named = (f"{key}={figure[key]}" for key in sorted(figure) if key not in ("value", "name"))
    return (figure["name"], *named)
