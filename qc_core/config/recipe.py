"""A recipe: a named configuration, with tuned settings for each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qc_core.config.methods import METHODS
from qc_core.config.settings import Config


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named configuration.

    Attributes:
        config: the configuration with the recipe's own method.
        memory_gib: memory of a training step with two cores: the peak of `benchmarks.step_memory`,
            with room for CUDA, the full replay buffer and a mapped dataset.
        settings: tuned train settings by method.
        has_numbered_tasks: the environment has tasks 1 to 5, and its id contains the number.
    """

    description: str
    config: Config
    memory_gib: int
    settings: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict)
    has_numbered_tasks: bool = False

    def for_method(self, method: str) -> Config:
        """Return the configuration with this method and the settings tuned for it."""
        defaults = METHODS[method].defaults if method in METHODS else {}
        values = {"method": method, **defaults, **self.settings.get(method, {})}
        return replace(self.config, train=self.config.train.changed(**values))
