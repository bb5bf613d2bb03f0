"""The resolved configuration of a run, as one frozen tree of typed settings.

The same names serve the command line (`--train.offline-steps 5000`), YAML files, the KFP form and
Python. `doc` annotates each setting with its help text.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from qc_core.config.methods import METHODS, AlgorithmSettings
from qc_core.errors import UsageError, closest

TerminalHandling = Literal["drop", "keep"]
SuccessHandling = Literal["continue", "end"]
RewardTransform = Literal["none", "sparse", "minus-one"]
ReplayOverwrites = Literal["oldest", "online"]
Precision = Literal["auto", "float32", "bfloat16"]
Collection = Literal["mixed", "play", "noisy", "task"]
Gate = Literal["better", "not-worse"]
# `auto`, `reward`, `done`, `none`, or `final-reward>=X`.
SuccessRule = str
FINAL_REWARD = "final-reward>="
# The ids of robots that have no simulator start with it.
ROBOT = "robot/"


def doc(text: str, ge: int | None = None) -> Meta:
    """The help text of a setting; `ge` is its lower limit if 0 is allowed."""
    return Meta(description=text, ge=ge)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where the episodes come from."""

    source: Annotated[
        tuple[str, ...],
        doc(
            "One source or several, joined in order: `collect` (scripted demonstrators), `ogbench` "
            "(the official file), `ogbench:NAME`, `minari:ID`, `store:episodes` (uploads from "
            "robots), `s3://bucket/path`, `pvc://CLAIM/path` (a volume claim of the cluster), or a "
            "path: an npz file, a folder of npz shards, a robomimic HDF5 file, a "
            "LeRobot folder, or a dataset folder. `--data` is short for this option."
        ),
    ] = ("collect",)
    collection: Annotated[
        Collection,
        doc(
            "What to collect. `mixed` and `task` episodes aim at the environment's task, with "
            "demonstrators of mixed or of good quality. `play` and `noisy` episodes aim at random "
            "goals, as in OGBench's datasets."
        ),
    ] = "mixed"
    episodes: Annotated[
        int,
        doc(
            "Episodes to collect. `play` and `noisy` episodes have 1000 steps, others end at "
            "success."
        ),
    ] = 300
    demonstrator: Annotated[
        str,
        doc(
            "`module:function` of your own demonstrator, which `collect` plays instead of a "
            "scripted one. It takes an observation and returns an action. It can have further "
            "parameters, by name: `rng` (numpy.random.Generator of the episode), `step` (0 at the "
            "start of an episode), `info` and `environment`."
        ),
    ] = ""
    workers: Annotated[int, doc("Processes that collect.")] = 2
    filter: Annotated[
        str, doc("robomimic only: read the episodes that this mask lists; empty reads all.")
    ] = ""
    observation: Annotated[
        tuple[str, ...],
        doc("LeRobot folders and your own files: columns of the observation, in order."),
    ] = ()
    action: Annotated[
        tuple[str, ...],
        doc("LeRobot folders and your own files: columns of the action, in order."),
    ] = ()
    success: Annotated[
        SuccessRule,
        doc(
            "What counts as success in recorded data. `auto`: a success column or info, else "
            "sparse rewards. `reward`: sparse rewards. `done`: every step that is marked as done. "
            "`final-reward>=X`: the last step of an episode, if its reward is at least X. `none`: "
            "nothing."
        ),
    ] = "auto"
    max_clipped: Annotated[
        float,
        doc(
            "Largest share of steps, of 1, whose action may be outside of the environment's "
            "bounds. Such actions are clipped and reported; more are refused.",
            ge=0,
        ),
    ] = 0.01
    reward_transform: Annotated[
        RewardTransform,
        doc(
            "`sparse`: -1 wherever the reward is not 0. `minus-one`: the reward minus 1. Applied "
            "offline and online."
        ),
    ] = "none"
    success_handling: Annotated[
        SuccessHandling,
        doc(
            "`continue`: the episode continues after success (paper). `end`: success ends it, so "
            "that no later reward adds up."
        ),
    ] = "continue"
    terminal_handling: Annotated[
        TerminalHandling,
        doc(
            "Chunks in which the episode ends early. `drop`: the critic ignores them (paper). "
            "`keep`: it learns from them, with reward and state frozen at the episode's end."
        ),
    ] = "drop"
    shard_size: Annotated[
        int,
        doc(
            "For data larger than memory: transitions in memory at a time. The host holds two such "
            "shards, a GPU three. 0 loads the whole dataset. Fine-tuning of the flow family starts "
            "with the last shard in its buffer.",
            ge=0,
        ),
    ] = 0
    shard_updates: Annotated[int, doc("Offline updates on one shard before the next one.")] = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How the policy learns, offline and online.

    `algorithm` contains the settings that only the method's family has. Options and documents
    list them together with the common ones, as `train.alpha`.
    """

    method: Annotated[
        str,
        doc(f"Method: {', '.join(METHODS)}. Recipes have tuned values for each method."),
    ] = "qc-fql"
    algorithm: AlgorithmSettings = dataclasses.field(default_factory=AlgorithmSettings)
    warm_start: Annotated[
        str,
        doc(
            "Alias or version of the policy in the store whose weights training starts from, such "
            "as `champion`. Training starts from random weights if this is empty, or if it is "
            "`champion` and the policy has no champion yet."
        ),
    ] = ""
    backup_horizon: Annotated[
        int,
        doc(
            "H in control steps: the actions per chunk of a chunked method, and the steps of the "
            "return of a multi-step method."
        ),
    ] = 5
    discount: Annotated[
        float, doc("Per control step; the backup over a chunk bootstraps with discount^H.")
    ] = 0.99
    num_critics: Annotated[int, doc("Ensemble size K.")] = 2
    hidden_dims: Annotated[tuple[int, ...], doc("Hidden layer sizes of every network.")] = (
        512,
        512,
        512,
        512,
    )
    learning_rate: Annotated[float, doc("Adam's learning rate offline.")] = 3e-4
    learning_rate_decay: Annotated[
        float,
        doc("Offline, the rate falls linearly to this fraction; 1 keeps it constant (paper)."),
    ] = 1.0
    online_learning_rate: Annotated[float, doc("Adam's learning rate online.")] = 3e-4
    batch_size: Annotated[int, doc("Windows per update.")] = 256
    tau: Annotated[float, doc("Polyak coefficient of the target critics.")] = 0.005
    normalize_observations: Annotated[
        bool, doc("Scale observations by the dataset's mean and standard deviation.")
    ] = False
    offline_steps: Annotated[int, doc("Offline updates.")] = 1_000_000
    online_steps: Annotated[int, doc("Environment steps of fine-tuning.")] = 1_000_000
    learning_starts: Annotated[
        int, doc("Environment steps before the first online update.", ge=0)
    ] = 5_000
    num_envs: Annotated[
        int, doc("Environments that explore in parallel, one step of each in turn.")
    ] = 1
    utd_ratio: Annotated[int, doc("Online updates per environment step.", ge=0)] = 1
    replay_capacity: Annotated[
        int, doc("Transitions in the online replay buffer; 0 makes room for all.", ge=0)
    ] = 0
    replay_overwrites: Annotated[
        ReplayOverwrites,
        doc(
            "What a full buffer overwrites. `oldest`: its oldest rows, the dataset's first "
            "(paper). `online`: the oldest online rows, with the write position marked as an "
            "episode's end."
        ),
    ] = "oldest"
    precision: Annotated[
        Precision,
        doc(
            "Precision of the products between hidden layers during training. `auto` uses "
            "bfloat16 if the device supports it. Weights, rollouts and exports are float32."
        ),
    ] = "auto"
    log_every: Annotated[int, doc("Updates between two points of the learning curves.")] = 500

    def __post_init__(self) -> None:
        method = METHODS.get(self.method)
        if method is None:
            raise UsageError(
                f"unknown method {self.method!r}: one of {', '.join(METHODS)}."
                + closest(self.method, list(METHODS))
            )
        if type(self.algorithm) is AlgorithmSettings:
            object.__setattr__(self, "algorithm", method.settings)
        elif type(self.algorithm) is not type(method.settings):
            raise TypeError(
                f"{self.method} takes {type(method.settings).__name__}, "
                f"got {type(self.algorithm).__name__}"
            )

    @property
    def chunk_length(self) -> int:
        """Actions per chunk."""
        return self.backup_horizon if METHODS[self.method].chunked else 1

    @property
    def backup_steps(self) -> int:
        """Steps whose rewards one backup sums."""
        return self.backup_horizon if METHODS[self.method].multi_step else 1

    def changed(self, **values: Any) -> TrainConfig:
        """Return a copy with other values, by field name; algorithm settings may be among them.

        A new method starts from its own algorithm settings.
        """
        method = values.get("method", self.method)
        algorithm = self.algorithm
        if method != self.method and method in METHODS:
            algorithm = METHODS[method].settings
        names = {entry.name for entry in dataclasses.fields(algorithm)}
        own = {name: value for name, value in values.items() if name in names}
        common = {name: value for name, value in values.items() if name not in names}
        return dataclasses.replace(self, algorithm=dataclasses.replace(algorithm, **own), **common)


def train_config(method: str, **values: Any) -> TrainConfig:
    """The train settings of a method; `values` may name common and algorithm settings."""
    return TrainConfig(method=method).changed(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneConfig:
    """The Optuna study over fine-tuning runs."""

    trials: Annotated[
        int,
        doc(
            "Number of trials; the first uses the configured settings. 0 skips fine-tuning, and "
            "the policy is the pretrained one.",
            ge=0,
        ),
    ] = 8
    workers: Annotated[int, doc("Workers that share the study.")] = 2
    trials_per_gpu: Annotated[
        int, doc("Trials that each worker runs side by side on its device.")
    ] = 1
    evaluations: Annotated[
        int, doc("Evaluations per trial, evenly spaced; a trial may be pruned at each.")
    ] = 5
    episodes: Annotated[int, doc("Episodes per evaluation.")] = 50
    alpha_factor: Annotated[
        float,
        doc(
            "Trials search alpha, on a log scale, from the configured value divided by this to "
            "the configured value times this. 1 fixes it."
        ),
    ] = 10.0
    learning_rate_factor: Annotated[float, doc("The same for the online learning rate.")] = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How policies are compared."""

    episodes: Annotated[int, doc("Episodes per policy, the same seeds for each.")] = 50
    workers: Annotated[int, doc("Processes that run the episodes.")] = 2
    execution_horizon: Annotated[
        int, doc("Actions of a chunk to execute before the next one; 0 executes all.", ge=0)
    ] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishConfig:
    """Where the policy is published, and when it becomes champion."""

    name: Annotated[
        str, doc("Policy name in the store; empty uses the name of the recipe or of its file.")
    ] = ""
    gate: Annotated[
        Gate,
        doc(
            "How a challenger becomes champion. `better`: it needs fewer steps per episode, where "
            "a failure counts the episode's limit. `not-worse`: it is not worse by more than the "
            "margin."
        ),
    ] = "better"
    margin: Annotated[
        float,
        doc(
            "`not-worse` tolerates this share of the episode limit in steps, and this share of the "
            "episodes in success."
        ),
    ] = 0.05
    minimum_success: Annotated[
        float,
        doc(
            "Success rate that a first champion must exceed. 0 requires nothing, which is "
            "necessary where the environment reports no success.",
            ge=0,
        ),
    ] = 0.5
    gate_episodes: Annotated[
        int,
        doc(
            "Maximum episodes of champion and challenger; they stop as soon as the result is clear."
        ),
    ] = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One run of the pipeline."""

    recipe: str = ""
    environment: Annotated[
        str,
        doc(
            "Gymnasium id, `Name-v0`, or `package:Name-v0` for an environment that a Python "
            "package registers when it is imported. `robot/NAME` is a robot without a simulator."
        ),
    ] = "cube-single-singletask-task1-v0"
    seed: Annotated[int, doc("Seed of collection, training and every episode.")] = 0
    control_interval: Annotated[
        float,
        doc(
            "Seconds per control step, for an environment that does not report it; 0 takes it "
            "from the environment.",
            ge=0,
        ),
    ] = 0.0
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)

    @property
    def policy_name(self) -> str:
        """Name of the policy in the store."""
        return self.publish.name or self.recipe

    @property
    def execution_horizon(self) -> int:
        """Actions of a chunk that the policy executes before the next chunk."""
        return self.evaluate.execution_horizon or self.train.chunk_length


def final_reward_of(rule: SuccessRule) -> float | None:
    """Return X of `final-reward>=X`, or None for another rule (UsageError: no such rule)."""
    if rule in ("auto", "reward", "done", "none"):
        return None
    try:
        threshold = float(rule.removeprefix(FINAL_REWARD))
    except ValueError:
        threshold = math.nan
    if not rule.startswith(FINAL_REWARD) or not math.isfinite(threshold):
        raise UsageError(
            "--data.success must be auto, reward, done, none or "
            f"{FINAL_REWARD}NUMBER, got {rule[:50]!r}"
        )
    return threshold
