"""`qc describe`: show what a source of episodes contains."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser

# Maximum number of names and bounds in the table; JSON has all of them.
_SHOWN = 6


def arguments(parser: Parser) -> None:
    parser.add_argument("source", help="a file, a folder, or minari:ID")
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print sizes, names, bounds, lengths, rewards and successes."""
    from qc_core.data.describe import describe_source

    content = describe_source(options.source)
    if options.json:
        print_json(content)
    else:
        print_table(("property", "value"), _rows(content))


def _rows(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    lengths, rewards = content["episode-lengths"], content["reward-range"]
    held_out = content["validation"]
    rows = [
        ("kind", content["kind"]),
        ("name", content["name"]),
        ("environment", content["environment"] or "unknown"),
        ("episodes", _counted(content)),
        ("lengths", "{min} to {max}, median {median:g}".format(**lengths)),
        *(
            (f"{what}s", _shortened(content[f"{what}-size"], content.get(f"{what}-names", ())))
            for what in ("observation", "action")
        ),
        ("action bounds", _bounds(content["action-low"], content["action-high"])),
        ("rewards", "unknown" if rewards is None else f"{rewards[0]:g} to {rewards[1]:g}"),
        ("solved", "unknown" if rewards is None else f"{content['solved-episodes']:,} episodes"),
        ("filters", ", ".join(f"{k} ({v})" for k, v in content["filters"].items()) or "none"),
        ("validation", "none" if held_out is None else _counted(held_out)),
    ]
    if "control-interval-seconds" in content:
        rows.append(("control interval", f"{content['control-interval-seconds']:g} s"))
        rows.append(("episode limit", f"{content['episode-limit']} steps"))
    rows += [(name, str(value)) for name, value in content["source"].items()]
    return rows + [("note", note) for note in content["notes"]]


def _counted(sizes: Mapping[str, int]) -> str:
    return f"{sizes['episodes']:,} of {sizes['transitions']:,} transitions"


def _shortened(size: int, names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"{size}: {', '.join(names[:_SHOWN])}{more}" if names else str(size)


def _bounds(low: Sequence[float], high: Sequence[float]) -> str:
    ranges = [f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True)]
    if len(set(ranges)) == 1:
        return f"{ranges[0]} each"
    return ", ".join(ranges[:_SHOWN]) + (", …" if len(ranges) > _SHOWN else "")
