"""From a recipe's name or file and overrides to one checked configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from qc_core.errors import WrongUse, closest
from qc_core.files import read_json, require_fields
from qc_core.recipes.catalog import find_recipe
from qc_core.recipes.config import Config, check

T = TypeVar("T")

# What the form of the pipeline offers beside the names of methods.
AS_THE_RECIPE = "as the recipe says"
_FILE_SUFFIXES = (".yaml", ".yml")


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a recipe with overrides applied in order.

    `--train.method` also brings what the recipe has tuned for that method.

    Args:
        recipe: a name from the catalog, or the path of a YAML file that names one under
            `recipe` and nests further overrides: `train: {offline-steps: 2000}`.
        overrides: command-line words, `["--train.offline-steps", "2000"]`.

    Raises:
        WrongUse: unknown recipe, option or value, or a value outside its limits.
    """
    recipe, overrides = expand(recipe, overrides)
    found = find_recipe(recipe)
    method = check(parse(Config, overrides, default=found.config)).train.method
    return check(parse(Config, overrides, default=found.for_method(method)))


def is_recipe(word: str) -> bool:
    """Whether a word names a recipe, and so ends a list of an option's values."""
    if word.endswith(_FILE_SUFFIXES):
        return True
    try:
        find_recipe(word)
    except WrongUse:
        return False
    return True


def expand(recipe: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """A catalog name and overrides that say the same without any file of this machine."""
    if recipe.endswith(_FILE_SUFFIXES):
        recipe, words = _read_file(Path(recipe))
        return recipe, [*words, *overrides]
    return recipe, list(overrides)


def parse(kind: type[T], words: Sequence[str], *, default: T | None = None) -> T:
    """Fill a dataclass from command-line words; what tyro refuses becomes one line (WrongUse)."""
    refusal = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(refusal):
            # Help is the commands' own; here it would end them with nothing done.
            parsed, unknown = tyro.cli(
                kind, args=list(words), return_unknown_args=True, add_help=False, **options
            )
    except SystemExit:
        raise WrongUse(_one_line(refusal.getvalue())) from None
    if unknown:
        name = unknown[0].split("=")[0]
        raise WrongUse(f"unknown option {name}.{closest(name, list(option_kinds(kind)))}")
    return parsed


def option_kinds(kind: type, prefix: str = "--") -> dict[str, Any]:
    """Every `--option` of a dataclass of dataclasses, with its type."""
    kinds: dict[str, Any] = {"--data": tuple[str, ...]} if prefix == "--" else {}
    for name, hint in typing.get_type_hints(kind).items():
        flag = name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            kinds |= option_kinds(typing.cast(type, hint), f"{prefix}{flag}.")
        elif flag != "recipe":
            kinds[prefix + flag] = hint
            if hint is bool:
                kinds[f"{prefix}no-{flag}"] = hint
    return kinds


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


def as_config(mapping: Any, what: str) -> Config:
    """The inverse of `to_mapping`, every value checked as if it stood on the command line.

    Args:
        what: the file, as messages name it.
    """
    require_fields(mapping, {"recipe": str}, what)
    values = {name: value for name, value in mapping.items() if name != "recipe"}
    base = dataclasses.replace(Config(), recipe=mapping["recipe"])
    try:
        return check(parse(Config, as_words(values), default=base))
    except WrongUse as error:
        raise WrongUse(f"{what}: {error}") from error


def read_config(path: Path) -> Config:
    """Load a resolved configuration that a step wrote."""
    return as_config(read_json(path), str(path))


def read_yaml(path: Path) -> Any:
    """Plain YAML content (WrongUse: unreadable)."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        _require_no_cycle(content)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise WrongUse(f"cannot read {path}: {reason}") from error
    return content


def _require_no_cycle(value: Any, above: tuple[int, ...] = ()) -> None:
    if id(value) in above:
        raise ValueError("an alias (*) stands within what it names")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in inner:
        _require_no_cycle(child, (*above, id(value)))


def _read_file(path: Path) -> tuple[str, list[str]]:
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("recipe"), str):
        raise WrongUse(f"{path} must be a mapping with the name of a `recipe` to start from")
    return content.pop("recipe"), as_words(content)


def as_words(content: Mapping[str, Any], prefix: str = "--") -> list[str]:
    """Nested options as on the command line."""
    words: list[str] = []
    for name, value in content.items():
        flag = f"{prefix}{name}"
        if isinstance(value, dict):
            words += as_words(value, f"{flag}.")
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
