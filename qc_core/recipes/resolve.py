"""From a recipe's name or file and overrides to one checked configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from qc_core.errors import WrongUse, closest
from qc_core.files import read_json
from qc_core.recipes.catalog import RECIPES
from qc_core.recipes.config import Config, check

T = TypeVar("T")


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a recipe with overrides applied in order.

    Args:
        recipe: a name from the catalog, or the path of a YAML file that names one under
            `recipe` and nests further overrides: `train: {offline-steps: 2000}`.
        overrides: command-line words, `["--train.offline-steps", "2000"]`.

    Raises:
        WrongUse: unknown recipe, option or value, or a value outside its limits.
    """
    recipe, overrides = expand(recipe, overrides)
    if recipe not in RECIPES:
        raise WrongUse(
            f"unknown recipe {recipe!r}: `qc recipes` lists them." + closest(recipe, list(RECIPES))
        )
    return check(parse(Config, overrides, default=RECIPES[recipe].config))


def expand(recipe: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """A catalog name and overrides that say the same without any file of this machine."""
    if recipe.endswith((".yaml", ".yml")):
        recipe, words = _read_file(Path(recipe))
        return recipe, [*words, *overrides]
    return recipe, list(overrides)


def parse(kind: type[T], words: Sequence[str], *, default: T | None = None) -> T:
    """Fill a dataclass from command-line words; what tyro refuses becomes one line (WrongUse)."""
    refusal = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(refusal):
            parsed, unknown = tyro.cli(kind, args=list(words), return_unknown_args=True, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise WrongUse(_one_line(refusal.getvalue())) from None
    if unknown:
        name = unknown[0].split("=")[0]
        raise WrongUse(f"unknown option {name}.{closest(name, option_names(kind))}")
    return parsed


def option_names(kind: type) -> list[str]:
    """Every `--option` of a dataclass of dataclasses."""
    import typing

    names = []
    for name, hint in typing.get_type_hints(kind).items():
        flag = "--" + name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            names += [flag + "." + inner[2:] for inner in option_names(hint)]  # type: ignore[arg-type]
        else:
            names.append(flag)
    return names


def to_mapping(config: Any) -> dict[str, Any]:
    """Nested plain values under the option names, ready for JSON."""
    return {
        field.name.replace("_", "-"): to_mapping(value)
        if dataclasses.is_dataclass(value := getattr(config, field.name))
        else list(value)
        if isinstance(value, tuple)
        else value
        for field in dataclasses.fields(config)
    }


def from_mapping(kind: type[T], mapping: Mapping[str, Any]) -> T:
    """The inverse of `to_mapping`."""
    import typing

    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        key = name.replace("-", "_")
        hint = hints.get(key)
        if hint is None:
            raise WrongUse(f"unknown setting {name!r} in a saved configuration")
        if dataclasses.is_dataclass(hint):
            values[key] = from_mapping(hint, value)  # type: ignore[arg-type]
        else:
            values[key] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def read_config(path: Path) -> Config:
    """Load a resolved configuration that a step wrote."""
    return check(from_mapping(Config, read_json(path)))


def _read_file(path: Path) -> tuple[str, list[str]]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise WrongUse(f"cannot read recipe file {path}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("recipe"), str):
        raise WrongUse(f"{path} must be a mapping with the name of a `recipe` to start from")
    return content.pop("recipe"), _as_words(content)


def _as_words(content: Mapping[str, Any], prefix: str = "--") -> list[str]:
    words: list[str] = []
    for name, value in content.items():
        flag = f"{prefix}{name}"
        if isinstance(value, dict):
            words += _as_words(value, f"{flag}.")
        elif isinstance(value, bool):
            head, _, leaf = flag.rpartition(".")
            words.append(flag if value else (f"{head}.no-{leaf}" if head else f"--no-{name}"))
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [flag, str(value)]
    return words


def _one_line(boxed: str) -> str:
    """The sentence inside tyro's box, without its frame and help."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", boxed)
    lines = [line.strip("│╭╮╰╯─ \t") for line in text.splitlines()]
    # The first line is the box's title; the next ruler ends the message.
    message: list[str] = []
    for line in lines[1:]:
        if not line or line.startswith("For full helptext"):
            break
        message.append(line)
    return " ".join(message) or "the command line could not be read: see --help"
