"""The options of a configuration: their names, and conversion of text to typed values.

An option is a setting's path with dashes: `train.offline-steps`. The settings of the method's
algorithm are options of `train`, beside the settings that all methods have: `train.alpha` is
`Config.train.algorithm.alpha`, and in an agent `self.settings.alpha`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from qc_core.config.methods import METHODS
from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import UsageError, closest
from qc_core.log import log

# The text of one value, the texts of a list, or the value of a flag.
OptionText = str | list[str] | bool
_SHORT = {"data": "data.source"}
# Old names: documents may always contain them, and this release still accepts them as options.
RENAMED = {
    "data.resident-transitions": "data.shard-size",
    "data.slice-updates": "data.shard-updates",
    "train.horizon": "train.backup-horizon",
    "train.distillation-weight": "train.alpha",
    "train.candidates": "train.num-samples",
    "train.cloning-weight": "train.bc-weight",
    "train.critics": "train.num-critics",
    "train.widths": "train.hidden-dims",
    "train.target-rate": "train.tau",
    "train.online-start": "train.learning-starts",
    "train.environments": "train.num-envs",
    "train.updates-per-step": "train.utd-ratio",
    "tune.distillation-weight-factor": "tune.alpha-factor",
}
_NUMBER = re.compile(r"-\.?\d")


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: such as `train.offline-steps`, without dashes in front.
        kind: type of the value.
        default: the value without a recipe, and with the first of `methods`.
        methods: names of the methods that have the option; None for all.
    """

    name: str
    kind: Any
    help: str
    default: Any
    methods: tuple[str, ...] | None = None

    @property
    def is_list(self) -> bool:
        return get_origin(self.kind) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()


@functools.cache
def options() -> dict[str, Option]:
    """Every option by name, in the order of the settings."""
    found: dict[str, Option] = {}
    for name, (kind, text, default) in _fields_of(Config()).items():
        if dataclasses.is_dataclass(default):
            for part, (kind, text, value) in _fields_of(default).items():
                if part != "algorithm":
                    found[f"{name}.{part}"] = Option(f"{name}.{part}", kind, text, value)
                    continue
                found |= _algorithm_options()
        elif name != "recipe":
            found[name] = Option(name, kind, text, default)
    return found


def _algorithm_options() -> dict[str, Option]:
    found: dict[str, Option] = {}
    for settings in METHODS.values():
        for part, (kind, text, value) in _fields_of(settings.settings).items():
            name = f"train.{part}"
            methods = tuple(m for m, other in METHODS.items() if _has(other.settings, part))
            found.setdefault(name, Option(name, kind, text, value, methods))
    return found


def _has(settings: Any, part: str) -> bool:
    return hasattr(settings, part.replace("-", "_"))


def _fields_of(part: Any) -> dict[str, tuple[Any, str, Any]]:
    """Type, help and value of each field of a dataclass, by its name with dashes."""
    found = {}
    hints = typing.get_type_hints(type(part), include_extras=True)
    for name in (entry.name for entry in dataclasses.fields(part)):
        hint = hints[name]
        text = ""
        if get_origin(hint) is Annotated:
            hint, meta = get_args(hint)
            text = meta.description or ""
        found[name.replace("_", "-")] = (hint, text, getattr(part, name))
    return found


def split_options(argv: Sequence[str]) -> tuple[list[str], dict[str, OptionText]]:
    """Separate configuration options, wherever they are, from all other arguments.

    Returns:
        (the other arguments, the texts of the options by name; old names remain)

    Raises:
        UsageError: an unknown option, an option without its value, or a list given twice.
    """
    others: list[str] = []
    texts: dict[str, OptionText] = {}
    lists: set[str] = set()
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        written, equals, text = argument.partition("=")
        if not _is_option(written):
            others.append(argument)
            continue
        name, option, flag = _find(written)
        # Of an option given twice, also under an old name, the last value counts.
        texts.pop(name, None)
        if option.is_list:
            if option.name in lists:
                raise UsageError(
                    f"{written} is given twice: list all its values after one {written}"
                )
            values = [text] if equals else _take_list(rest)
            if not values:
                raise UsageError(f"{written} needs at least one value")
            lists.add(option.name)
            texts[name] = values
        elif option.kind is bool and not equals:
            texts[name] = flag
        elif equals or (rest and _is_value(rest[0])):
            texts[name] = text if equals else rest.pop(0)
        else:
            raise UsageError(f"{written} needs a value")
    return others, texts


def merged(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return the options of a command with those of a later one, whose values count.

    Raises:
        UsageError: as `split_options`.
    """
    return to_argv({**split_options(before)[1], **split_options(now)[1]})


def _is_option(argument: str) -> bool:
    name = argument[2:].replace("_", "-")
    return argument.startswith("--") and (name in options() or name in _SHORT or "." in name)


def _is_value(argument: str) -> bool:
    return not argument.startswith("-") or argument == "-" or _NUMBER.match(argument) is not None


def _take_list(rest: list[str]) -> list[str]:
    """Take the values of a list; it ends at an option, or at the recipe of a command."""
    from qc_core.config.catalog import is_recipe

    values: list[str] = []
    while rest and _is_value(rest[0]) and not is_recipe(rest[0]):
        values.append(rest.pop(0))
    return values


def _find(written: str) -> tuple[str, Option, bool]:
    """Return the current or old name in `--name` or `--no-name`, its option, and a flag's value."""
    name = written[2:].replace("_", "-")
    name = _SHORT.get(name, name)
    known = options()
    if name in RENAMED:
        return name, known[RENAMED[name]], True
    head, _, leaf = name.rpartition(".")
    positive = f"{head}.{leaf.removeprefix('no-')}"
    if leaf.startswith("no-") and positive in known and known[positive].kind is bool:
        return positive, known[positive], False
    if name not in known:
        names = [f"--{option}" for option in (*known, *_SHORT)]
        raise UsageError(f"unknown option {written}.{closest(written, names)}")
    return name, known[name], True


def texts_from_nested(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, OptionText]:
    """Return the texts of the nested options of a YAML file, by name; old names remain.

    Raises:
        UsageError: an unknown option.
    """
    texts: dict[str, OptionText] = {}
    for key, value in mapping.items():
        written = f"{prefix}{key}"
        if isinstance(value, Mapping):
            texts |= texts_from_nested(value, f"{written}.")
            continue
        name, _, _ = _find(f"--{written}")
        if isinstance(value, list):
            texts[name] = [str(entry) for entry in value]
        else:
            texts[name] = value if isinstance(value, bool) else str(value)
    return texts


def current_names(
    texts: Mapping[str, OptionText], methods: Collection[str]
) -> dict[str, OptionText]:
    """Return the texts by current name.

    The previous release ignored options of other methods. Therefore this function drops an option
    under an old name if none of the methods has it. `apply` refuses it under its current name.

    Args:
        methods: names of the methods that the options are for.
    """
    found: dict[str, OptionText] = {}
    for name, text in texts.items():
        if name not in RENAMED:
            found[name] = text
        elif _has_option(methods, options()[RENAMED[name]]):
            found[RENAMED[name]] = text
    return found


def log_old_names(texts: Mapping[str, OptionText], methods: Collection[str]) -> None:
    """Log a line for each old name: the current name, or that the methods ignore the option."""
    for old in texts:
        if old not in RENAMED:
            continue
        new = RENAMED[old]
        if _has_option(methods, options()[new]):
            log.info(f"--{old} is now called --{new}; the old name will be removed")
        else:
            log.info(f"ignoring --{old}: it is not an option of {' or '.join(methods)}")


def _has_option(methods: Collection[str], option: Option) -> bool:
    """Whether one of the methods has the option; unknown methods are refused elsewhere."""
    return option.methods is None or any(
        method in option.methods or method not in METHODS for method in methods
    )


def to_argv(texts: Mapping[str, OptionText]) -> list[str]:
    """Return options as arguments of a command, the inverse of `split_options`."""
    argv: list[str] = []
    for name, text in texts.items():
        if isinstance(text, bool):
            head, _, leaf = name.rpartition(".")
            argv.append(f"--{name}" if text else f"--{head}.no-{leaf}")
        else:
            argv += [f"--{name}", *([text] if isinstance(text, str) else text)]
    return argv


def apply(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with other values, by option name.

    Args:
        values: typed values, or texts to convert.

    Raises:
        UsageError: an unknown option or value, or an option that the method does not have.
    """
    grouped: dict[str, dict[str, Any]] = {}
    method = values.get("train.method", config.train.method)
    for name, value in values.items():
        option = options()[name]
        if option.methods is not None and method in METHODS and method not in option.methods:
            raise UsageError(
                f"--{name} is not an option of {method}: leave it out, or choose "
                + " or ".join(option.methods)
            )
        group, _, field = name.rpartition(".")
        grouped.setdefault(group, {})[field.replace("-", "_")] = _typed(option, value)
    changes = grouped.pop("", {})
    for group, fields in grouped.items():
        part = getattr(config, group)
        changes[group] = (
            part.changed(**fields)
            if isinstance(part, TrainConfig)
            else dataclasses.replace(part, **fields)
        )
    return dataclasses.replace(config, **changes)


def _typed(option: Option, value: Any) -> Any:
    try:
        return msgspec.convert(value, option.kind, strict=False)
    except msgspec.ValidationError as error:
        if option.choices:
            raise UsageError(
                f"--{option.name} must be one of {', '.join(option.choices)}, got {value!r}"
            ) from error
        raise UsageError(f"--{option.name}: {error}, got {value!r}") from error
