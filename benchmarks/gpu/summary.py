"""Writes `summary.md`: every part's status, and measurements next to the predictions.

python3 -m benchmarks.gpu.summary DIR
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu import predictions
from benchmarks.gpu.results import Figure, Results, labels_of
from benchmarks.gpu.sizes import FULL

_NOT_MEASURED = "not measured"
# Of a value in the table.
_MAXIMUM_CHARACTERS = 300


def summary(results: dict[str, Any], predicted: list[Figure]) -> str:
    """The results as Markdown."""
    lines = ["# GPU measurements", "", *_head(results), ""]
    lines += ["| part | status | seconds | note |", "|---|---|---|---|"]
    for name, part in results["parts"].items():
        note = str(part.get("last-line") or part.get("reason") or "").replace("|", "/")
        lines.append(f"| {name} | {part['status']} | {part.get('seconds', '')} | {note} |")
    expected = by_labels(predicted)
    for name, part in results["parts"].items():
        rows = [_row(figure, expected) for figure in part["figures"]]
        lines += ["", f"## {name}", "", "| figure | measured | predicted | ratio |"]
        lines += ["|---|---|---|---|", *rows]
    measured = _measured(results)
    missing = [key for key in expected if key not in measured]
    if missing:
        lines += ["", f"{len(missing)} of {len(expected)} predicted figures are {_NOT_MEASURED}:"]
        lines += ["", "| figure | measured | predicted |", "|---|---|---|"]
        lines += [f"| {_shown(k)} | {_NOT_MEASURED} | {expected[k]['value']} |" for k in missing]
    return "\n".join(lines) + "\n"


def by_labels(predicted: list[Figure]) -> dict[tuple[str, ...], Figure]:
    """Predictions by name and labels; whichever part measures a figure, it is the same figure."""
    return {
        labels_of({k: v for k, v in figure.items() if k != "part"}): figure for figure in predicted
    }


# Little enough that the end of a long output still shows all of it.
_HEADLINE_CHARACTERS = 10_000
_DETAILS = ("| one update: ", "| ceiling updates/s", "| share of ceiling", "| kernels by time")


def headline(text: str) -> str:
    """The lines of a summary that answer the main questions."""
    network, batch = next(iter(FULL.networks)), FULL.batches[0]
    text, *_ = text.partition("\n| figure | measured | predicted |\n")
    shown = [line for line in text.splitlines() if not line.startswith(_DETAILS)]
    shown = [
        line
        for line in shown
        if not line.startswith("|")
        or "network=" not in line
        or (f"network={network} " in line and (f"batch={batch} " in line or "batch=" not in line))
    ]
    return "\n".join(line for line in shown if line)[:_HEADLINE_CHARACTERS]


def _head(results: dict[str, Any]) -> list[str]:
    hardware = results.get("hardware", {})
    shown = {
        "command": results.get("command"),
        "started": results.get("started"),
        "GPUs": ", ".join(hardware.get("gpus", [])) or "none here",
        "driver": hardware.get("nvidia-smi"),
        "processor": f"{hardware.get('processor')}, {hardware.get('cores')} cores",
        "versions": ", ".join(f"{k} {v}" for k, v in hardware.get("versions", {}).items()),
        "commit": hardware.get("git-commit"),
        "source (SHA-256)": results.get("source-sha256"),
        "network attempts": len(results.get("network-attempts", [])),
    }
    if results.get("tiny"):
        shown["sizes"] = "tiny: these numbers say nothing about speed"
    return [f"- {name}: {value}" for name, value in shown.items()]


def _measured(results: dict[str, Any]) -> set[tuple[str, ...]]:
    return {
        labels_of(figure)
        for part in results["parts"].values()
        for figure in part["figures"]
        if isinstance(figure["value"], int | float)
    }


def _row(figure: Figure, expected: dict[tuple[str, ...], Figure]) -> str:
    value = figure["value"]
    prediction = expected.get(labels_of(figure))
    predicted = ratio = ""
    if prediction is not None:
        predicted = str(prediction["value"])
        if isinstance(value, int | float):
            ratio = f"{value / prediction['value']:.2f}"
    shown = str(value).replace("|", "/")
    if len(shown) > _MAXIMUM_CHARACTERS:
        shown = "see results.json"
    return f"| {_shown(labels_of(figure))} | {shown} | {predicted} | {ratio} |"


def _shown(key: tuple[str, ...]) -> str:
    name, *labels = key
    return f"{name} {' '.join(labels)}"


def main() -> None:
    output = Path(sys.argv[1])
    results = Results(output / "results.json").read()
    # Predictions are for the full sizes.
    text = summary(results, [] if results.get("tiny") else predictions.read())
    (output / "summary.md").write_text(text, encoding="utf-8")
    print(headline(text))
    print(f"all figures: {output / 'summary.md'}")


if __name__ == "__main__":
    main()
