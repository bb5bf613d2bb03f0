"""The sweep file: which methods, recipes and seeds to train and compare.

name: quickstart-methods
recipes: [cube-single-quickstart]        # cube-double-task1, cube-double-task2, …
methods: [qc, qc-fql, bfn, fql, rlpd]
seeds: [0, 1, 2]
evaluate-every: 1000                     # updates offline, environment steps online
episodes: 50                             # per evaluation
train: {offline-steps: 4000, online-steps: 1000}

All other fields are options of every run, as on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from qc_core.config.catalog import find_recipe
from qc_core.config.options import texts_from_nested, to_argv
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
        overrides: command-line options of every run.
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
        options = ("--train.method", run.method, "--seed", str(run.seed), *self.overrides)
        return resolve(run.recipe, options)

    def data_config(self, recipe: str) -> Config:
        """Return the configuration for a recipe's data set, which all its runs share."""
        return resolve(recipe, self.overrides)

    @property
    def manifest(self) -> Sweep:
        """The settings that must stay the same when the sweep resumes."""
        return msgspec.structs.replace(self, name="")


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
    options = {key: value for key, value in content.items() if key not in own}
    sweep = Sweep(**msgspec.structs.asdict(fields), overrides=_overrides(options, path))
    for recipe in sweep.recipes:
        find_recipe(recipe)
    for run in sweep.runs:
        if sweep.config(run).train.warm_start:
            raise UsageError(
                f"{path}: all runs of a sweep start with new networks: remove 'train.warm-start'"
            )
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


def _overrides(options: dict[str, Any], path: Path) -> tuple[str, ...]:
    if "recipe" in options:
        raise UsageError(f"{path}: a sweep has 'recipes', not 'recipe'")
    overrides = to_argv(texts_from_nested(options))
    for name, plural in (("seed", "seeds"), ("train.method", "methods")):
        if f"--{name}" in overrides:
            raise UsageError(f"{path}: a sweep has {plural!r}, not {name!r}")
    return tuple(overrides)
