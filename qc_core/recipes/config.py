"""The resolved configuration of a run: one frozen tree, every number in one home.

The same names serve the command line (`--train.offline-steps 5000`), YAML files, the KFP
form and Python. Docstrings below the fields are the help texts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from qc_core.errors import WrongUse, closest
from qc_core.recipes.methods import METHODS
from qc_core.seeds import RUN_SEEDS
from qc_core.store.names import require_name

TerminalHandling = Literal["drop", "keep"]
SuccessHandling = Literal["continue", "end"]
RewardTransform = Literal["none", "sparse", "minus-one"]
ReplayOverwrites = Literal["oldest", "online"]
Precision = Literal["auto", "float32", "bfloat16"]
Collection = Literal["mixed", "play", "noisy", "task"]
Gate = Literal["better", "not-worse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where the episodes come from."""

    source: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--data",))] = ("collect",)
    """One or several, joined in order: `collect` (scripted oracles), `ogbench` (the official file),
    `ogbench:NAME`, `minari:ID`, `store:episodes` (what robots have uploaded), or a path: an npz
    file or a folder of npz shards, a robomimic HDF5 file, a LeRobot folder, or a data set
    folder."""
    collection: Collection = "mixed"
    """What to collect: `mixed` and `task` episodes go for the environment's task, with
    demonstrators of mixed or of good quality; `play` and `noisy` go for random goals, as
    OGBench's data sets do."""
    episodes: int = 300
    """Episodes to collect; `play` and `noisy` ones have 1000 steps, others end at success."""
    workers: int = 2
    """Processes that collect."""
    filter: str = ""
    """Of a robomimic file, only the episodes that this mask lists; empty takes all."""
    reward_transform: RewardTransform = "none"
    """`sparse`: -1 wherever the reward is not 0; `minus-one`: the reward less 1. The same offline
    and online."""
    success_handling: SuccessHandling = "continue"
    """Solved transitions inside an episode: it goes on behind them, as in the paper, or each
    ends an episode, so that no later reward adds up."""
    terminal_handling: TerminalHandling = "drop"
    """Chunks in which the episode ends early: the critic drops them, as in the paper, or keeps
    them with reward and state frozen at the episode's end."""
    resident_transitions: int = 0
    """Transitions to learn from at a time, for data larger than memory, which then holds two such
    parts, a GPU three; 0 takes the whole set. Fine-tuning of the flow family begins with the last
    part alone in its buffer."""
    slice_updates: int = 1000
    """Offline updates before the next so many transitions take their place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What learns, offline and online."""

    method: str = "qc-fql"
    """Algorithm: qc, qc-fql, bfn, bfn-n, fql, fql-n, rlpd, rlpd-ac or qc-rlpd. A recipe has its own
    alpha, N and K for each."""
    warm_start: str = ""
    """Alias or version of the policy in the store whose weights training begins with, such as
    `champion`; empty begins anew, as `champion` does while there is none."""
    horizon: int = 5
    """H in control steps: the chunk's length, and the backup's where the method has several."""
    discount: float = 0.99
    """Per control step; the backup over a chunk bootstraps with discount^H."""
    distillation_weight: float = 300.0
    """Alpha of the one-step policy: how closely it follows the flow."""
    candidates: int = 32
    """N of the best-of-N policy."""
    cloning_weight: float = 0.01
    """Weight of the data's log-likelihood in qc-rlpd's actor loss."""
    initial_temperature: float = 1.0
    """Of the entropy in the RLPD family's actor loss; it is learned from there."""
    target_entropy_factor: float = 0.5
    """The RLPD family's target entropy is minus this per number of its chunk."""
    offline_fraction: float = 0.5
    """Of each batch of the RLPD family, what comes from the data set."""
    flow_steps: int = 10
    """Euler steps T of the flow."""
    critics: int = 2
    """Ensemble size K."""
    widths: tuple[int, ...] = (512, 512, 512, 512)
    """Hidden layers of every network."""
    learning_rate: float = 3e-4
    """Adam's, for all networks, offline."""
    learning_rate_decay: float = 1.0
    """Offline, the rate falls linearly to this fraction of itself; 1 keeps it, as in the paper."""
    online_learning_rate: float = 3e-4
    """The same, online."""
    batch_size: int = 256
    """Windows per update."""
    target_rate: float = 0.005
    """Tau of the target critics' moving average."""
    normalize_observations: bool = False
    """Scale observations by the data set's mean and standard deviation."""
    offline_steps: int = 1_000_000
    """Offline updates."""
    online_steps: int = 1_000_000
    """Environment steps of fine-tuning."""
    online_start: int = 5_000
    """Environment steps before the first online update."""
    environments: int = 1
    """Environments that are explored side by side, a step of each in turn."""
    updates_per_step: int = 1
    """Online updates per environment step."""
    replay_capacity: int = 0
    """Transitions that the online buffer holds; 0 makes room for all."""
    replay_overwrites: ReplayOverwrites = "oldest"
    """What a full buffer gives up: its oldest rows, the data set's first, as in the paper, or the
    oldest online ones, with the place of writing marked as an episode's end."""
    precision: Precision = "auto"
    """Of the products between hidden layers while learning: bfloat16 where the device multiplies
    it, or as said. Weights are float32, and policies are played and exported in float32."""
    log_every: int = 500
    """Updates between two points of the learning curves."""

    @property
    def chunk_length(self) -> int:
        """Actions that the policy chooses at once."""
        return self.horizon if METHODS[self.method].chunked else 1

    @property
    def backup_length(self) -> int:
        """Steps whose rewards one backup sums."""
        return self.horizon if METHODS[self.method].multi_step else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneConfig:
    """The Optuna study over fine-tuning runs."""

    trials: int = 8
    """Trials in all; the first is the recipe's own settings."""
    workers: int = 2
    """Workers that share the study."""
    trials_per_gpu: int = 1
    """Trials that each worker runs side by side on its device."""
    evaluations: int = 5
    """Times that a trial is scored (and may be pruned), evenly spaced."""
    episodes: int = 50
    """Episodes per score."""
    distillation_weight_factor: float = 10.0
    """Trials search alpha from the recipe's value divided to multiplied by this."""
    learning_rate_factor: float = 3.0
    """The same for the online learning rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How policies are compared."""

    episodes: int = 50
    """Episodes per policy, the same seeds for each."""
    workers: int = 2
    """Processes that play them."""
    execution_horizon: int = 0
    """Actions of a chunk to play before asking again; 0 plays the whole chunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishConfig:
    """Where the policy goes."""

    name: str = ""
    """Policy name in the store; the recipe's name if empty."""
    gate: Gate = "better"
    """What makes a champion of a challenger: to be better than the champion, in steps per episode
    where a failure counts the episode's limit, or to be not worse by more than the margin."""
    margin: float = 0.05
    """What `not-worse` lets a champion lose: this share of the episode's limit in steps, and this
    share of the episodes in success."""
    minimum_success: float = 0.5
    """Success rate that a first champion is shown to be above; 0 asks for nothing, as it must where
    the environment tells no success."""
    gate_episodes: int = 200
    """Episodes that challenger and champion both play at most; they stop when it is clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One run of the pipeline."""

    recipe: tyro.conf.Suppress[str] = ""
    environment: str = "cube-single-singletask-task1-v0"
    """Gymnasium id."""
    seed: int = 0
    """Seed of collection, training and every episode."""
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)

    @property
    def policy_name(self) -> str:
        return self.publish.name or self.recipe

    @property
    def execution_length(self) -> int:
        """Actions of a chunk that the policy plays before it is asked again."""
        return self.evaluate.execution_horizon or self.train.chunk_length


def check(config: Config) -> Config:
    """Return the configuration if every value is within its limits, else raise WrongUse."""
    train, tune, publish = config.train, config.tune, config.publish
    if train.method not in METHODS:
        raise WrongUse(
            f"unknown method {train.method!r}: one of {', '.join(METHODS)}."
            + closest(train.method, list(METHODS))
        )
    if not 0 < train.discount <= 1:
        raise WrongUse(f"--train.discount must be in (0, 1], got {train.discount}")
    if not 0 < train.target_rate <= 1:
        raise WrongUse(f"--train.target-rate must be in (0, 1], got {train.target_rate}")
    if not 0 < train.learning_rate_decay <= 1:
        raise WrongUse(
            f"--train.learning-rate-decay must be in (0, 1], got {train.learning_rate_decay}"
        )
    if not 0 < publish.margin < 1:
        raise WrongUse(f"--publish.margin must be between 0 and 1, got {publish.margin}")
    if not 0 <= publish.minimum_success < 1:
        raise WrongUse(
            f"--publish.minimum-success must be in [0, 1), got {publish.minimum_success}"
        )
    if not 0 < train.offline_fraction < 1:
        raise WrongUse(
            f"--train.offline-fraction must be between 0 and 1, got {train.offline_fraction}"
        )
    if not config.data.source or not all(config.data.source):
        raise WrongUse("--data needs at least one source, such as collect")
    if not train.widths or min(train.widths) < 1:
        raise WrongUse(f"--train.widths needs positive layer sizes, got {train.widths}")
    for group in (config.data, train, tune, config.evaluate, config.publish):
        for entry in dataclasses.fields(group):
            value = getattr(group, entry.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            low = 0 if entry.name in _MAY_BE_ZERO else 1 if isinstance(value, int) else 1e-12
            if not low <= value < float("inf"):
                name = f"--{_GROUP_NAMES[type(group)]}.{entry.name.replace('_', '-')}"
                raise WrongUse(f"{name} must be at least {low}, got {value}")
    if config.execution_length > train.chunk_length:
        raise WrongUse(
            f"--evaluate.execution-horizon must be at most {train.chunk_length}, the actions of a "
            f"chunk, got {config.execution_length}"
        )
    if not 0 <= config.seed < RUN_SEEDS:
        raise WrongUse(f"--seed must be in [0, {RUN_SEEDS}), got {config.seed}")
    require_name(config.policy_name, "policy name (--publish.name)")
    if min(tune.distillation_weight_factor, tune.learning_rate_factor) < 1:
        raise WrongUse("--tune.*-factor must be at least 1: it widens the search both ways")
    return config


_MAY_BE_ZERO = {
    "cloning_weight",
    "distillation_weight",
    "execution_horizon",
    "minimum_success",
    "online_start",
    "replay_capacity",
    "resident_transitions",
    "updates_per_step",
}
_GROUP_NAMES: dict[type, str] = {
    DataConfig: "data",
    TrainConfig: "train",
    TuneConfig: "tune",
    EvaluateConfig: "evaluate",
    PublishConfig: "publish",
}
