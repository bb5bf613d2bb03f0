"""What a recipe is: a configuration for each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qc_core.recipes.config import Config
from qc_core.recipes.methods import METHODS


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named configuration.

    Attributes:
        config: with the method that the recipe is for.
        settings: train settings that were tuned for a method, by its name.
        several_tasks: the environment's id ends in a task's number, from 1 to 5.
    """

    description: str
    config: Config
    settings: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict)
    several_tasks: bool = False

    def for_method(self, method: str) -> Config:
        """The configuration with this method and what was tuned for it."""
        values = {**METHODS[method].settings, **self.settings.get(method, {})}
        return replace(self.config, train=replace(self.config.train, method=method, **values))
