"""What a recipe is: a configuration for each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qc_core.config.methods import METHODS
from qc_core.config.settings import Config


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
        defaults = METHODS[method].defaults if method in METHODS else {}
        values = {"method": method, **defaults, **self.settings.get(method, {})}
        return replace(self.config, train=self.config.train.changed(**values))
