"""`qc play`: run a published policy in its environment, with onnxruntime."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from qc_core.cli.arguments import POLICY, json_argument, policy_folder
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser
from qc_core.documents import to_json
from qc_core.errors import RunError, UsageError
from qc_core.readable import measures
from qc_core.seeds import RUN_SEEDS, seeds_for


def arguments(parser: Parser) -> None:
    rollout_arguments(parser)
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="also record one episode as an mp4 film"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="also save the episodes as npz, for `qc episodes push`",
    )
    json_argument(parser)
    parser.set_defaults(run=run)


def rollout_arguments(parser: Parser) -> None:
    """Add the policy, and which episodes it plays how."""
    parser.add_argument("policy", help=POLICY)
    parser.add_argument("--episodes", type=int, default=50, help="number of episodes (50)")
    parser.add_argument("--seed", type=int, default=0, help="selects other episodes (0)")
    parser.add_argument("--workers", type=int, default=2, help="number of processes (2)")
    parser.add_argument(
        "--execution-horizon",
        type=int,
        metavar="K",
        help="steps of a chunk to execute before the next chunk (as the policy says)",
    )


def run(options: Namespace) -> None:
    """Play unseen episodes and print success and steps with intervals, or else the return."""
    from qc_core.envs.episode_file import record_policy, write_episodes
    from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL, summarize_results
    from qc_core.envs.play import play_episodes
    from qc_core.files import require_file_place, require_new_file
    from qc_core.policy_format.policy_folder import read_contract, verify
    from qc_core.runtime.executor import require_execution_horizon
    from qc_core.runtime.pulled_policy import PulledPolicy

    episodes, execution_horizon = options.episodes, options.execution_horizon
    video, record = options.video, options.record
    workers = min(options.workers, episodes)
    seeds = play_seeds(options)
    if video is not None:
        if video.suffix != ".mp4":
            raise UsageError(f"--video writes an .mp4 file, got {video}")
        require_file_place(video)
    if record is not None:
        if record.suffix != ".npz":
            raise UsageError(f"--record writes an .npz file, got {record}")
        require_new_file(record)
    folder = policy_folder(options.policy)
    verify(folder)
    contract = read_contract(folder)
    length = contract.execution_horizon
    if execution_horizon is not None:
        length = require_execution_horizon(execution_horizon, contract.chunk_length)
    environment, policy = contract.environment, PulledPolicy(folder, length)
    if record is None:
        played = play_episodes(environment, {"success": policy}, seeds, workers=workers)
        results = played["success"]
    else:
        recorded = record_policy(environment, policy, seeds, workers=workers)
        write_episodes(record, contract, recorded)
        results = [episode.result for episode in recorded]
    failed, episodes = episodes - len(results), len(results)
    summary = summarize_results(results, contract.episode_limit)
    result: dict[str, Any] = {
        "environment": contract.environment,
        "episodes": episodes,
        "failed-episodes": failed,
        "first-seed": seeds[0],
        "execution-horizon": length,
        **to_json(summary),
    }
    if video is not None:
        _film(folder, seeds, length, video, result)
    if options.json:
        print_json(result)
        return
    solved = f": {sum(o.success for o in results)} of {episodes} solved"
    no_signal = f" {NO_SUCCESS_SIGNAL}: {episodes} episodes"
    print(
        contract.environment + (solved if summary.reports_success else no_signal),
        *(f"{what} {text}" for what, text in measures(summary).items()),
        f"executing {length} of {contract.chunk_length} actions of a chunk",
        sep=", ",
    )
    if failed:
        print(f"left out: {failed} episodes whose environment failed")
    if record is not None:
        print(f"{record}: {episodes} episodes, for `qc episodes push`")
    if video is not None:
        print(f"{video}: {result['video']}")


def play_seeds(options: Namespace) -> list[int]:
    """Return the seeds of the episodes to play (UsageError: an option is outside its limits)."""
    for name, low in (("episodes", 1), ("workers", 1), ("seed", 0)):
        value = getattr(options, name)
        if value < low:
            raise UsageError(f"--{name} must be at least {low}, got {value}")
    if options.seed >= RUN_SEEDS:
        raise UsageError(f"--seed must be less than {RUN_SEEDS}, got {options.seed}")
    return seeds_for("play", options.seed, options.episodes)


def _film(
    folder: Path, seeds: list[int], execution_horizon: int, video: Path, result: dict[str, Any]
) -> None:
    from qc_core.report.video import film_policy

    film = film_policy(folder, seeds, video, execution_horizon=execution_horizon)
    if film.path is None:
        raise RunError(film.note)
    result["video"] = film.note
