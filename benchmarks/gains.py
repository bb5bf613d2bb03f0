"""Measures what fine-tuning gains in the quickstart, and what chunks gain over single actions.

For each seed: collects the recipe's episodes and trains each method on them, offline and then in
one trial online, with the same budget. All policies play the same unseen episodes, so that they
are compared pair by pair. Prints a table and writes JSON.

    python -m benchmarks.gains --seeds 0 1 2 3 4 -o benchmarks/results/gains.json

Options of `qc run`, such as --train.online-steps 5000, are passed on to the runs. A second call
with the same --work resumes.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import hardware
from qc_core.config.resolve import resolve
from qc_core.config.settings import Config
from qc_core.data.ingest import ingest
from qc_core.envs.episode_result import counted_steps
from qc_core.envs.make import describe
from qc_core.envs.play import play_episodes
from qc_core.evaluation.result import OFFLINE, ONLINE
from qc_core.seeds import seeds_for
from qc_core.significance import paired_p_value
from qc_core.statistics import success_rate
from qc_core.training.checkpoint_policy import CheckpointPolicy
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.fine_tune import fine_tune
from qc_core.training.local_checkpoints import LocalCheckpoints, partial_folder
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import save_checkpoint

_EPISODES = 100


def measure(config: Config, work: Path) -> dict[str, Any]:
    """Train a method with one seed, and return the results of its policies.

    Args:
        work: gets the dataset, which all methods share, and the checkpoints.
    """
    dataset = work / "dataset"
    if not dataset.exists():
        ingest(config, dataset)
    offline, online = (work / f"{config.train.method}-{phase}" for phase in ("offline", "online"))
    pretrain(config, dataset, offline)
    if not online.exists():
        checkpoints = CheckpointStore(LocalCheckpoints(partial_folder(online)), "fine-tuning")
        trained = fine_tune(
            config,
            offline,
            dataset,
            trial=0,
            on_score=lambda score: None,
            checkpoints=checkpoints,
        )
        save_checkpoint(online, trained.agent, trained.checkpoint, trained.curve)
        checkpoints.remove()
    played = play_episodes(
        config.environment,
        {
            OFFLINE: CheckpointPolicy(offline, "learned"),
            ONLINE: CheckpointPolicy(online, "learned"),
        },
        seeds_for("evaluate", config.seed, _EPISODES),
    )
    limit = describe(config.environment).episode_limit
    return {
        "seed": config.seed,
        "method": config.train.method,
        "policies": {
            name: {
                "steps": float(np.mean([counted_steps(result, limit) for result in results])),
                "solved": "".join(str(int(result.success)) for result in results),
            }
            for name, results in played.items()
        },
    }


def compare(
    runs: Sequence[dict[str, Any]], method: str, others: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare, for each seed, online with offline, and the method with the others, all online.

    Returns:
        Per comparison the episodes that only one of the two policies solved, and the one-sided
        p-value of the exact test of these pairs.
    """
    solved = {
        (run["seed"], run["method"], name): np.array([*map(int, policy["solved"])])
        for run in runs
        for name, policy in run["policies"].items()
    }
    comparisons = []
    for seed in sorted({run["seed"] for run in runs}):
        first = (seed, method, ONLINE)
        for what, second in (
            ("online over offline", (seed, method, OFFLINE)),
            *((f"{method} over {other}, online", (seed, other, ONLINE)) for other in others),
        ):
            if first in solved and second in solved:
                gains = solved[first] - solved[second]
                comparisons.append(
                    {
                        "seed": seed,
                        "what": what,
                        "won": int((gains > 0).sum()),
                        "lost": int((gains < 0).sum()),
                        "p-value": paired_p_value(gains),
                    }
                )
    return comparisons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="cube-single-quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=["qc-fql", "fql"])
    parser.add_argument("--work", type=Path, default=Path("runs/gains"))
    parser.add_argument("-o", "--output", type=Path)
    options, overrides = parser.parse_known_args()
    argv = [f"--recipe={options.recipe}", "--seeds", *map(str, options.seeds)]
    argv += ["--methods", *options.methods, *overrides]
    runs: list[dict[str, Any]] = []
    content = {
        "command": f"python -m benchmarks.gains {shlex.join(argv)}",
        "hardware": hardware(),
        "episodes": _EPISODES,
        "runs": runs,
    }
    for method in options.methods:
        for seed in options.seeds:
            given = ["--train.method", method, "--seed", str(seed), *overrides]
            config = resolve(options.recipe, given)
            runs.append(measure(config, options.work / f"seed-{seed}"))
            print(f"{method}, seed {seed}: {_text(runs[-1])}", flush=True)
            content["comparisons"] = compare(runs, options.methods[0], options.methods[1:])
            if options.output:
                options.output.write_text(json.dumps(content, indent=2) + "\n")
    for row in content["comparisons"]:
        print(
            f"seed {row['seed']}, {row['what']}: {row['won']} won, {row['lost']} lost, "
            f"p = {row['p-value']:.2g}"
        )


def _text(run: dict[str, Any]) -> str:
    texts = []
    for name, policy in run["policies"].items():
        rate = success_rate([solved == "1" for solved in policy["solved"]])
        texts.append(
            f"{name} {rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%}), "
            f"{policy['steps']:.0f} steps"
        )
    return " | ".join(texts)


if __name__ == "__main__":
    main()
