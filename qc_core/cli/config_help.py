"""The options of the configuration, as the help of a command lists them."""

from __future__ import annotations

import shutil
import textwrap
from itertools import groupby
from typing import Any

from qc_core.config.options import Option, options

GROUP_TITLES = {
    "": "options of the run",
    "data": "options of the data",
    "train": "options of training",
    "tune": "options of tuning",
    "evaluate": "options of evaluation",
    "publish": "options of publishing",
}
_VALUES = {int: "N", float: "X", str: "TEXT"}
_INDENT = " " * 6
_MAX_WIDTH = 100


def config_help() -> str:
    """Return all options by group, with their values, defaults and help texts."""
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    lines = ["configuration options, with the paper's defaults; a recipe can override these:"]
    for group, found in groupby(options().values(), key=group_of):
        lines += ["", f"{GROUP_TITLES.get(group, group)}:"]
        for option in found:
            lines.append(f"  {written(option)} ({default_text(option.default)})")
            lines += textwrap.wrap(
                help_text(option),
                width,
                initial_indent=_INDENT,
                subsequent_indent=_INDENT,
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def group_of(option: Option) -> str:
    """Return the group of an option, `train` for `train.alpha`; empty for options of the run."""
    return option.name.rpartition(".")[0]


def written(option: Option) -> str:
    """Return an option as a command line has it: `--tune.trials N`, or both forms of a flag."""
    if option.kind is bool:
        group, _, name = option.name.rpartition(".")
        return f"--{option.name}, --{group}.no-{name}"
    if option.choices:
        return f"--{option.name} {{{','.join(option.choices)}}}"
    if option.is_list:
        return f"--{option.name} VALUE ..."
    return f"--{option.name} {_VALUES.get(option.kind, 'VALUE')}"


def help_text(option: Option) -> str:
    """Return the help of an option, with the methods that have it if not all do."""
    if option.methods is None:
        return option.help
    return f"{option.help} Only for {', '.join(option.methods)}."


def default_text(value: Any) -> str:
    """Return a default as a command line has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text or "empty"
