"""`qc play`: a pulled policy in its environment, with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.cli.output import measures, print_json
from qc_core.documents import to_json
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL, summarize_results
from qc_core.envs.play import play_episodes
from qc_core.envs.recorder import play_and_keep, write_episodes
from qc_core.errors import RunError, UsageError
from qc_core.files import require_file_place, require_new_file
from qc_core.policy_format.policy_folder import read_contract, verify
from qc_core.runtime.executor import require_execution_horizon
from qc_core.runtime.pulled_policy import PulledPolicy
from qc_core.seeds import RUN_SEEDS, seeds_for


def play(
    folder: Path,
    *,
    episodes: int,
    seed: int,
    workers: int,
    execution_horizon: int | None,
    video: Path | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Play unseen episodes and print success and steps with intervals, or else the return."""
    seeds = play_seeds(episodes, seed, workers)
    if video is not None:
        if video.suffix != ".mp4":
            raise UsageError(f"--video writes an .mp4 file, got {video}")
        require_file_place(video)
    if record is not None:
        if record.suffix != ".npz":
            raise UsageError(f"--record writes an .npz file, got {record}")
        require_new_file(record)
    verify(folder)
    contract = read_contract(folder)
    length: int = contract["execution-length"]
    if execution_horizon is not None:
        length = require_execution_horizon(execution_horizon, contract["horizon"])
    environment, policy = contract["environment"], PulledPolicy(folder, length)
    if record is None:
        played = play_episodes(
            environment, {"success": policy}, seeds, workers=min(workers, episodes)
        )
        outcomes = played["success"]
    else:
        kept = play_and_keep(environment, policy, seeds, workers=min(workers, episodes))
        write_episodes(record, kept)
        outcomes = [episode.outcome for episode in kept]
    summary = summarize_results(outcomes, contract["episode-limit"])
    result: dict[str, Any] = {
        "environment": contract["environment"],
        "episodes": episodes,
        "first-seed": seeds[0],
        "execution-length": length,
        **to_json(summary),
    }
    if video is not None:
        _film(folder, seeds, length, video, result)
    if as_json:
        print_json(result)
        return
    solved = f": {sum(o.success for o in outcomes)} of {episodes} solved"
    untold = f" {NO_SUCCESS_SIGNAL}: {episodes} episodes"
    print(
        contract["environment"] + (solved if summary.reports_success else untold),
        *(f"{what} {text}" for what, text in measures(summary).items()),
        f"playing {length} of {contract['horizon']} actions of a chunk",
        sep=", ",
    )
    if record is not None:
        print(f"{record}: {episodes} episodes, for `qc episodes push`")
    if video is not None:
        print(f"{video}: {result['video']}")


def play_seeds(episodes: int, seed: int, workers: int) -> list[int]:
    """The episodes that such options ask for (UsageError: a value outside its limits)."""
    for name, value, low in (("episodes", episodes, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if value < low:
            raise UsageError(f"--{name} must be at least {low}, got {value}")
    if seed >= RUN_SEEDS:
        raise UsageError(f"--seed must be less than {RUN_SEEDS}, got {seed}")
    return seeds_for("play", seed, episodes)


def _film(
    folder: Path, seeds: list[int], execution_horizon: int, video: Path, result: dict[str, Any]
) -> None:
    from qc_core.report.video import film_policy

    film = film_policy(folder, seeds, video, execution_horizon=execution_horizon)
    if film.path is None:
        raise RunError(film.note)
    result["video"] = film.note
