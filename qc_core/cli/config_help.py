"""The options of the configuration, as the help of a command lists them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from qc_core.config.differences import options_of
from qc_core.config.document import to_mapping
from qc_core.config.options import Option, options
from qc_core.config.settings import Config

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


def config_help(groups: Sequence[str], config: Config | None) -> str:
    """Return options by group, with their values, defaults and help texts.

    Args:
        groups: groups to show; empty for all.
        config: a configuration whose values are shown instead of the paper's; options that its
            method does not have are left out.
    """
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    values = {} if config is None else options_of(to_mapping(config))
    lines = ["configuration options, with the paper's defaults; RECIPE --help shows a recipe's:"]
    if config is not None:
        lines = [f"configuration options, with the values of {config.recipe}:"]
    for group, found in groupby(options().values(), key=group_of):
        if groups and group not in groups:
            continue
        lines += ["", f"{GROUP_TITLES.get(group, group)}:"]
        for option in found:
            if config is not None and option.name not in values:
                continue
            value = values.get(option.name, option.default)
            lines.append(f"  {written(option)} ({default_text(value)})")
            lines += textwrap.wrap(
                help_text(option),
                width,
                initial_indent=_INDENT,
                subsequent_indent=_INDENT,
                break_on_hyphens=False,
            )
    if groups:
        lines += ["", "it accepts the other options of `qc run --help` too, and ignores them"]
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
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text or "empty"
