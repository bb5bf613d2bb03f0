"""The sweep file: which methods, recipes and seeds to train and compare.

name: quickstart-methods
recipes: [cube-single-quickstart]        # cube-double-task1, cube-double-task2, …
methods: [qc, qc-fql, bfn, fql, rlpd]
seeds: [0, 1, 2]
evaluate-every: 1000                     # updates offline, environment steps online
episodes: 50                             # per evaluation
train: {offline-steps: 4000, online-steps: 1000}

All other fields are options of the runs, as on the command line. An option that only some methods
have applies to the runs of those methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from qc_core.config.catalog import find_recipe
from qc_core.config.options import (
    OptionText,
    current_names,
    log_old_names,
    options,
    split_options,
    texts_from_nested,
    to_argv,
)
from qc_core.config.resolve import resolve
from qc_core.config.settings import Config
from qc_core.config.yaml_file import read_yaml
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.names import require_name


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One training run of a sweep: a method on a recipe's task with a seed."""

    recipe: str
    method: str
    seed: int

    @property
    def folder(self) -> str:
        """The run's folder, relative to the sweep's `runs` folder."""
        return f"{self.recipe}/{self.method}/seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.recipe} {self.method} seed {self.seed}"


class Sweep(Document, frozen=True, kw_only=True):
    """A validated sweep, and the manifest of its folder.

    Attributes:
        name: of the sweep's default folder; empty in manifests.
        evaluate_every: updates offline and environment steps online between evaluations.
        episodes: episodes per evaluation.
        overrides: command-line options of the runs whose methods have them.
    """

    name: str = ""
    recipes: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    evaluate_every: int
    episodes: int
    overrides: tuple[str, ...]

    @property
    def runs(self) -> list[SweepRun]:
        """All runs. The first seed of every method comes first, so early results span the sweep."""
        return [
            SweepRun(recipe, method, seed)
            for seed in self.seeds
            for recipe in self.recipes
            for method in self.methods
        ]

    def config(self, run: SweepRun) -> Config:
        """Return the resolved configuration of one run."""
        argv = ("--train.method", run.method, "--seed", str(run.seed))
        return resolve(run.recipe, (*argv, *self._overrides_of(run.method)))

    def data_config(self, recipe: str) -> Config:
        """Return the configuration for a recipe's dataset, which all its runs share.

        It has the recipe's own method and no overrides of algorithm settings.
        """
        return resolve(recipe, self._overrides_of(None))

    @property
    def manifest(self) -> Sweep:
        """The settings that must stay the same when the sweep resumes.

        Options have their current names. UsageError: an unknown option.
        """
        return msgspec.structs.replace(self, name="", overrides=tuple(to_argv(self._texts)))

    @property
    def _texts(self) -> dict[str, OptionText]:
        """The overrides by current name."""
        _, texts = split_options(self.overrides)
        return current_names(texts, self.methods)

    def _overrides_of(self, method: str | None) -> list[str]:
        """Return the overrides that a method has; None: those that all methods have."""
        known = options()
        return to_argv(
            {
                name: text
                for name, text in self._texts.items()
                if (methods := known[name].methods) is None or method in methods
            }
        )


class _Fields(Document, frozen=True, kw_only=True):
    """The sweep's own fields of a sweep file."""

    name: str
    recipes: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    evaluate_every: int
    episodes: int


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file and check every run's settings.

    Raises:
        UsageError: the file is unreadable, a field is missing or invalid, or a run's settings are
            invalid.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        got = "nothing" if content is None else type(content).__name__
        raise UsageError(f"{path} must contain a YAML mapping with a sweep's fields, got {got}")
    fields = _fields(content, path)
    own = {field.encode_name for field in msgspec.structs.fields(_Fields)}
    nested = {key: value for key, value in content.items() if key not in own}
    overrides = _overrides(nested, fields.methods, path)
    sweep = Sweep(**msgspec.structs.asdict(fields), overrides=overrides)
    for recipe in sweep.recipes:
        find_recipe(recipe)
    for run in sweep.runs:
        if sweep.config(run).train.warm_start:
            raise UsageError(
                f"{path}: all runs of a sweep start with new networks: remove 'train.warm-start'"
            )
    # The loop has refused unknown methods, with a better message.
    _require_used(sweep, path)
    return sweep


def _fields(content: dict[str, Any], path: Path) -> _Fields:
    try:
        fields = msgspec.convert(content, _Fields)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from error
    require_name(fields.name, f"name in {path}")
    for name in ("recipes", "methods", "seeds"):
        entries = getattr(fields, name)
        if not entries:
            raise UsageError(f"{path}: {name!r} must have at least one entry")
        if len(set(entries)) < len(entries):
            raise UsageError(f"{path}: {name!r} has an entry twice")
    for name, value in (("evaluate-every", fields.evaluate_every), ("episodes", fields.episodes)):
        if value < 1:
            raise UsageError(f"{path}: {name!r} must be at least 1, got {value}")
    return fields


def _require_used(sweep: Sweep, path: Path) -> None:
    """Raise UsageError for an override that none of the methods has."""
    _, texts = split_options(sweep.overrides)
    for name in texts:
        methods = options()[name].methods
        if methods is not None and not set(methods) & set(sweep.methods):
            raise UsageError(
                f"{path}: --{name} is not an option of {' or '.join(sweep.methods)}: leave it out, "
                f"or add {' or '.join(methods)} to 'methods'"
            )


def _overrides(nested: dict[str, Any], methods: tuple[str, ...], path: Path) -> tuple[str, ...]:
    if "recipe" in nested:
        raise UsageError(f"{path}: a sweep has 'recipes', not 'recipe'")
    texts = texts_from_nested(nested)
    log_old_names(texts, methods)
    overrides = to_argv(current_names(texts, methods))
    for name, plural in (("seed", "seeds"), ("train.method", "methods")):
        if f"--{name}" in overrides:
            raise UsageError(f"{path}: a sweep has {plural!r}, not {name!r}")
    return tuple(overrides)
