"""Resolves a recipe and overrides to one checked configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qc_core.config.catalog import FILE_SUFFIXES, find_recipe
from qc_core.config.limits import check
from qc_core.config.options import (
    OptionText,
    apply,
    current_names,
    log_old_names,
    split_options,
    texts_from_nested,
    to_argv,
)
from qc_core.config.settings import Config
from qc_core.config.yaml_file import read_yaml
from qc_core.errors import UsageError
from qc_core.names import is_name

# Choice of the KFP form besides the names of methods.
AS_THE_RECIPE = "as the recipe says"


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a recipe with overrides applied.

    `--train.method` also selects the values that the recipe has tuned for that method.

    Args:
        recipe: a name from the catalog, or the path of a YAML file that names one under
            `recipe` and contains further overrides: `train: {offline-steps: 2000}`. The policy has
            the name of the file.
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
    """Return a name of the catalog and overrides, which include those of a YAML file.

    Raises:
        UsageError: unknown recipe or option.
    """
    name, texts = _expand(recipe, overrides)
    return name, to_argv(texts)


def _expand(recipe: str, overrides: Sequence[str]) -> tuple[str, dict[str, OptionText]]:
    others, given = split_options(overrides)
    if others:
        raise UsageError(f"{others[0]!r} is not an option: options start with --, such as --seed 3")
    name, in_file = (recipe, {}) if not recipe.endswith(FILE_SUFFIXES) else _read(Path(recipe))
    recipes_own = find_recipe(name).config.train.method
    method = str(given.get("train.method", in_file.get("train.method", recipes_own)))
    texts: dict[str, OptionText] = {}
    for source in (in_file, given):
        log_old_names(source, [method])
        texts |= current_names(source, [method])
    return name, texts


def _read(path: Path) -> tuple[str, dict[str, OptionText]]:
    """Return the recipe's name and the options in a recipe file."""
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("recipe"), str):
        raise UsageError(f"{path} must be a mapping with the name of a `recipe` to override")
    name: str = content.pop("recipe")
    try:
        texts = texts_from_nested(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    # Policies, run folders and reports have the name of the file, not of the recipe it changes.
    if is_name(path.stem):
        texts.setdefault("publish.name", path.stem)
    return name, texts
