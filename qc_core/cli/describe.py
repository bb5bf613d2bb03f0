"""`qc describe`: show what a source of episodes contains."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.documents import to_json

if TYPE_CHECKING:
    from qc_core.data.describe import SourceDescription
    from qc_core.data.replaying import ReplayResult

# Maximum number of names and bounds in the table; JSON has all of them.
_SHOWN = 6
# Smaller differences are shown as 0.0000.
_VISIBLE = 0.5e-4


def arguments(parser: Parser) -> None:
    parser.add_argument("source", help="a file, a folder, or minari:ID")
    parser.add_argument(
        "--replay",
        type=int,
        default=0,
        metavar="N",
        help="play the actions of the first N episodes again and compare what follows",
    )
    json_argument(parser)
    parser.takes_config_options = True
    parser.config_groups = ("", "data")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print sizes, names, bounds, lengths, rewards and successes."""
    from qc_core.config.options import apply, split_options
    from qc_core.config.settings import Config
    from qc_core.data.describe import describe_source

    _, texts = split_options(options.overrides)
    config = apply(Config(), texts)
    environment = config.environment if "environment" in texts else None
    content = describe_source(options.source, config, environment, options.replay)
    if options.json:
        print_json(to_json(content))
    else:
        print_table(("property", "value"), _rows(content))


def _rows(content: SourceDescription) -> list[tuple[str, str]]:
    lengths, rewards, solved = (
        content.episode_lengths,
        content.reward_range,
        content.solved_episodes,
    )
    held_out = content.validation
    rows = [
        ("kind", content.kind),
        ("name", content.name),
        ("environment", content.environment or "unknown"),
        ("episodes", _counted(content.episodes, content.transitions)),
        ("lengths", f"{lengths.min} to {lengths.max}, median {lengths.median:g}"),
        ("observations", _shortened(content.observation_size, content.observation_names or ())),
        ("actions", _shortened(content.action_size, content.action_names or ())),
        ("action bounds", _bounds(content.action_low, content.action_high)),
        ("rewards", "unknown" if rewards is None else f"{rewards[0]:g} to {rewards[1]:g}"),
        ("solved", "unknown" if solved is None else f"{solved:,} episodes"),
        ("filters", ", ".join(f"{k} ({v})" for k, v in content.filters.items()) or "none"),
        (
            "validation",
            "none" if held_out is None else _counted(held_out.episodes, held_out.transitions),
        ),
    ]
    if content.control_interval_seconds:
        rows.append(("control interval", f"{content.control_interval_seconds:g} s"))
        rows.append(("episode limit", f"{content.episode_limit} steps"))
    rows += [(name, str(value)) for name, value in content.source.items()]
    if content.replay:
        rows.append(("replay", _replayed(content.replay)))
    return rows + [("note", note) for note in content.notes]


def _replayed(result: ReplayResult) -> str:
    rewards, largest = result.reward_difference, result.observation_difference
    early = f", {result.early_ends} episodes ended early" if result.early_ends else ""
    where = ""
    if largest >= _VISIBLE:
        where = (
            f" ({result.observation_name}, episode {result.episode}, step {result.step}; "
            f"{result.first_step_difference:.4f} after the first step)"
        )
    return (
        f"{result.episodes:,} episodes, {result.steps:,} steps{early}: observations differ by at "
        f"most {largest:.4f}{where}, rewards "
        + ("are not recorded" if rewards is None else f"by {rewards:.4f}")
    )


def _counted(episodes: int, transitions: int) -> str:
    return f"{episodes:,} of {transitions:,} transitions"


def _shortened(size: int, names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"{size}: {', '.join(names[:_SHOWN])}{more}" if names else str(size)


def _bounds(low: Sequence[float], high: Sequence[float]) -> str:
    ranges = [f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True)]
    if len(set(ranges)) == 1:
        return f"{ranges[0]} each"
    return ", ".join(ranges[:_SHOWN]) + (", …" if len(ranges) > _SHOWN else "")
