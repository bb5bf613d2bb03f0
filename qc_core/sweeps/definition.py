"""What a study file asks for.

name: quickstart-methods
recipes: [cube-single-quickstart]        # cube-double-task1, cube-double-task2, …
methods: [qc, qc-fql, bfn, fql, rlpd]
seeds: [0, 1, 2]
evaluate-every: 1000                     # updates offline, environment steps online
episodes: 50                             # per evaluation
train: {offline-steps: 4000, online-steps: 1000}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qc_core.config.catalog import find_recipe
from qc_core.config.options import texts_from_nested, to_argv
from qc_core.config.resolve import resolve
from qc_core.config.settings import Config
from qc_core.config.yaml_file import read_yaml
from qc_core.errors import UsageError
from qc_core.files import require_fields
from qc_core.names import require_name

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "recipes": list,
    "methods": list,
    "seeds": list,
    "evaluate-every": int,
    "episodes": int,
}


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the protocol: a method on a recipe's task with a seed."""

    recipe: str
    method: str
    seed: int

    @property
    def folder(self) -> str:
        """Where below the study's folder it works."""
        return f"{self.recipe}/{self.method}/seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.recipe} {self.method} seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study that has been checked.

    Attributes:
        evaluate_every: updates offline and environment steps online between evaluations.
        episodes: per evaluation.
        overrides: options that every run has, as on the command line.
    """

    name: str
    recipes: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    evaluate_every: int
    episodes: int
    overrides: tuple[str, ...]

    @property
    def jobs(self) -> list[Job]:
        """Every run, one seed of each first, so that early results span the whole study."""
        return [
            Job(recipe, method, seed)
            for seed in self.seeds
            for recipe in self.recipes
            for method in self.methods
        ]

    def config(self, job: Job) -> Config:
        """The resolved configuration of one run."""
        words = ("--train.method", job.method, "--seed", str(job.seed), *self.overrides)
        return resolve(job.recipe, words)

    def data_config(self, recipe: str) -> Config:
        """The configuration that a recipe's data are ingested with, the same for all its runs."""
        return resolve(recipe, self.overrides)

    def as_mapping(self) -> dict[str, Any]:
        """What makes a study the same study when it goes on."""
        return {
            "recipes": list(self.recipes),
            "methods": list(self.methods),
            "seeds": list(self.seeds),
            "evaluate-every": self.evaluate_every,
            "episodes": self.episodes,
            "overrides": list(self.overrides),
        }


def read_sweep(path: Path) -> Study:
    """Read a study file and check everything in it.

    Raises:
        UsageError: unreadable, a field missing or wrong, or a run whose settings are.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        got = "nothing" if content is None else type(content).__name__
        raise UsageError(f"{path} must hold a YAML mapping with a study's fields, got {got}")
    require_fields(content, _FIELDS, str(path))
    require_name(content["name"], f"name in {path}")
    values = {name: content.pop(name) for name in _FIELDS}
    for name in ("recipes", "methods", "seeds"):
        kind = int if name == "seeds" else str
        entries = values[name]
        if not entries or not all(type(entry) is kind for entry in entries):
            raise UsageError(f"{path}: {name!r} must be a list of at least one {kind.__name__}")
        if len(set(entries)) < len(entries):
            raise UsageError(f"{path}: {name!r} names something twice")
    for name in ("evaluate-every", "episodes"):
        if type(values[name]) is not int or values[name] < 1:
            raise UsageError(f"{path}: {name!r} must be at least 1, got {values[name]}")
    overrides = to_argv(texts_from_nested(content))
    for name in ("recipe", "seed", "train.method"):
        if f"--{name}" in overrides:
            plural = name.split(".")[-1] + "s"
            raise UsageError(f"{path}: a study has {plural!r}, not {name!r}")
    for recipe in values["recipes"]:
        find_recipe(recipe)
    study = Study(
        name=values["name"],
        recipes=tuple(values["recipes"]),
        methods=tuple(values["methods"]),
        seeds=tuple(values["seeds"]),
        evaluate_every=values["evaluate-every"],
        episodes=values["episodes"],
        overrides=tuple(overrides),
    )
    for job in study.jobs:
        if study.config(job).train.warm_start:
            raise UsageError(
                f"{path}: every run of a study begins with fresh networks: leave out "
                "'train.warm-start'"
            )
    return study
