"""The table of methods, and the settings type of each family of algorithms.

| method | policy | actions per chunk | steps per backup |
|---|---|---|---|
| qc | best-of-N of the flow | H | H |
| qc-fql | one-step policy, distilled from the flow | H | H |
| bfn, fql | best-of-N, one-step | 1 | 1 |
| bfn-n, fql-n | best-of-N, one-step | 1 | H, biased: the later actions come from the data |
| rlpd | tanh-Gaussian of soft actor-critic | 1 | 1 |
| rlpd-ac | tanh-Gaussian over chunks | H | H |
| qc-rlpd | rlpd-ac with a behaviour-cloning term | H | H |

To add a method, write its agent in a file in `qc_core/agents/`, and add a row to `METHODS`, with a
settings class if it has settings of its own. `Agent` lists what the agent declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from msgspec import Meta


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgorithmSettings:
    """Base class: the settings that only one family of algorithms has.

    Attributes:
        searched: names of the settings that tuning varies by `--tune.alpha-factor`, unless they
            are 0.
        has_bc_policy: whether the agents have a behaviour-cloning policy, `Agent.bc_chunk`.
    """

    searched: ClassVar[tuple[str, ...]] = ()
    has_bc_policy: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSettings(AlgorithmSettings):
    """Settings of every algorithm with a flow policy."""

    has_bc_policy: ClassVar[bool] = True
    flow_steps: Annotated[int, Meta(description="Euler steps T of the flow.")] = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfNSettings(FlowSettings):
    """Best-of-N: the critic chooses among samples of the flow."""

    num_samples: Annotated[int, Meta(description="N, the number of chunks to choose from.")] = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class OneStepSettings(FlowSettings):
    """One-step policy, distilled from the flow."""

    searched: ClassVar[tuple[str, ...]] = ("alpha",)
    alpha: Annotated[
        float,
        Meta(
            description="Distillation weight: larger values stay closer to the data; small values "
            "risk exploiting errors of the critic.",
            ge=0,
        ),
    ] = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianSettings(AlgorithmSettings):
    """Soft actor-critic with a tanh-Gaussian policy."""

    offline_fraction: Annotated[
        float, Meta(description="The part of each batch that comes from the dataset, in (0, 1).")
    ] = 0.5
    initial_temperature: Annotated[
        float, Meta(description="Initial entropy temperature; training changes it.")
    ] = 1.0
    target_entropy_factor: Annotated[
        float, Meta(description="Target entropy, as minus this value per number of the chunk.")
    ] = 0.5
    bc_weight: Annotated[
        float,
        Meta(
            description="Weight of the data's log-likelihood in the actor loss; 0 omits it.", ge=0
        ),
    ] = 0.0


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the paper.

    Attributes:
        agent: `module:class` of the agent that implements the method, imported on first use.
        settings: the algorithm's settings, with the paper's values for this method.
        chunked: policy and critics act on chunks of `backup_horizon` actions; else on one action.
        multi_step: the backup sums the rewards of `backup_horizon` steps; else of one step.
        online_only: there is no offline phase; the dataset is a part of each online batch.
        defaults: the paper's values for common train settings where they differ from the defaults.
    """

    agent: str
    settings: AlgorithmSettings
    chunked: bool
    multi_step: bool
    online_only: bool = False
    defaults: Mapping[str, int | float] = field(default_factory=dict)


_BEST_OF_N = "qc_core.agents.best_of_n:BestOfNAgent"
_ONE_STEP = "qc_core.agents.one_step:OneStepAgent"
_SAC = "qc_core.agents.sac:SACAgent"
_TEN_CRITICS = {"num_critics": 10}


def _gaussian(chunked: bool, bc_weight: float = 0.0) -> Method:
    settings = GaussianSettings(bc_weight=bc_weight)
    return Method(_SAC, settings, chunked, chunked, online_only=True, defaults=_TEN_CRITICS)


METHODS: dict[str, Method] = {
    "qc": Method(_BEST_OF_N, BestOfNSettings(), chunked=True, multi_step=True),
    "qc-fql": Method(_ONE_STEP, OneStepSettings(), chunked=True, multi_step=True),
    "bfn": Method(_BEST_OF_N, BestOfNSettings(num_samples=4), chunked=False, multi_step=False),
    "bfn-n": Method(_BEST_OF_N, BestOfNSettings(num_samples=4), chunked=False, multi_step=True),
    "fql": Method(_ONE_STEP, OneStepSettings(), chunked=False, multi_step=False),
    "fql-n": Method(_ONE_STEP, OneStepSettings(), chunked=False, multi_step=True),
    "rlpd": _gaussian(chunked=False),
    "rlpd-ac": _gaussian(chunked=True),
    "qc-rlpd": _gaussian(chunked=True, bc_weight=0.01),
}
