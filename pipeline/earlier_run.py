"""What a run on a KFP server was started with, so that another run can continue it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.follow import ENDED
from pipeline.inputs import current_inputs, misfits, recipe_options
from pipeline.server import NotFound, Server
from qc_core.errors import UsageError

CONTINUE_INPUT = "continue_run"


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run that is to be continued.

    Attributes:
        recipe, overrides: of its configuration.
        inputs: values of its other inputs.
        state: that KFP shows, such as FAILED.
    """

    id: str
    recipe: str
    overrides: list[str]
    inputs: dict[str, Any]
    state: str

    @property
    def is_active(self) -> bool:
        """Whether KFP shows that the run has not ended."""
        return self.state not in ENDED

    def inputs_for(self, definitions: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs for a package, which continue this run.

        Raises:
            UsageError: the package does not accept an input that was set.
        """
        if refused := misfits(self.inputs, definitions):
            raise UsageError(
                f"run {self.id} has inputs that this version does not accept "
                f"({', '.join(refused)}): give its recipe, its options and --input NAME=VALUE"
            )
        return {**self.inputs, CONTINUE_INPUT: self.id}


def read_earlier_run(server: Server, run_id: str) -> EarlierRun:
    """Read a run (UsageError: KFP has none of that id, or it is of another pipeline)."""
    try:
        run = server.runs.run_service_get_run(run_id)
    except NotFound as error:
        raise UsageError(
            f"KFP has no run {run_id}: if it was deleted there, give its recipe and options too"
        ) from error
    config = run.runtime_config
    given = current_inputs(config.parameters or {}) if config is not None else {}
    if not given.get("recipe"):
        raise UsageError(f"run {run_id} was not started with a recipe: give one")
    overrides = recipe_options(given)
    recipe = given.pop("recipe")
    return EarlierRun(run_id, recipe, overrides, given, run.state or "")
