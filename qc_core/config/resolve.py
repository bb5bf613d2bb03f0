"""Resolves a recipe and overrides to one checked configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_core.config.catalog import FILE_SUFFIXES, find_recipe
from qc_core.config.options import OptionText, apply, split_options, texts_from_nested, to_argv
from qc_core.config.settings import Config, check
from qc_core.config.yaml_file import read_yaml
from qc_core.errors import UsageError

# Choice of the KFP form besides the names of methods.
AS_THE_RECIPE = "as the recipe says"


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a recipe with overrides applied.

    `--train.method` also selects the values that the recipe has tuned for that method.

    Args:
        recipe: a name from the catalog, or the path of a YAML file that names one under
            `recipe` and contains further overrides: `train: {offline-steps: 2000}`.
        overrides: arguments of a command, `["--train.offline-steps", "2000"]`; they have
            precedence over the file.

    Raises:
        UsageError: unknown recipe, option or value, or a value outside its limits.
    """
    name, texts = _expand(recipe, overrides)
    found = find_recipe(name)
    method = texts.get("train.method", found.config.train.method)
    return check(apply(found.for_method(str(method)), texts))


def expand(recipe: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """Return a name of the catalog and overrides, which include those of a YAML file."""
    name, texts = _expand(recipe, overrides)
    return name, to_argv(texts)


def _expand(recipe: str, overrides: Sequence[str]) -> tuple[str, dict[str, OptionText]]:
    others, texts = split_options(overrides)
    if others:
        raise UsageError(f"{others[0]!r} is not an option: options start with --, such as --seed 3")
    if not recipe.endswith(FILE_SUFFIXES):
        return recipe, texts
    path = Path(recipe)
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("recipe"), str):
        raise UsageError(f"{path} must be a mapping with the name of a `recipe` to override")
    name: str = content.pop("recipe")
    return name, {**_texts(content, path), **texts}


def _texts(content: dict[str, Any], path: Path) -> dict[str, OptionText]:
    try:
        return texts_from_nested(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
