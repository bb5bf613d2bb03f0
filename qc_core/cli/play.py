"""`qc play`: a pulled policy in its environment, with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.cli.output import estimate, print_json
from qc_core.envs.play import play_episodes
from qc_core.errors import WorkFailed, WrongUse
from qc_core.runtime.folder import read_contract, verify
from qc_core.seeds import RUN_SEEDS, seeds_for
from qc_core.store.promote import PulledPolicy
from qc_core.training.evaluate import summarize


def play(
    folder: Path, *, episodes: int, seed: int, workers: int, video: Path | None, as_json: bool
) -> None:
    """Play unseen episodes and print success and steps with intervals."""
    for name, value, low in (("episodes", episodes, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if value < low:
            raise WrongUse(f"--{name} must be at least {low}, got {value}")
    if seed >= RUN_SEEDS:
        raise WrongUse(f"--seed must be less than {RUN_SEEDS}, got {seed}")
    if video is not None and video.suffix != ".mp4":
        raise WrongUse(f"--video writes an .mp4 file, got {video}")
    verify(folder)
    contract = read_contract(folder)
    seeds = seeds_for("play", seed, episodes)
    played = play_episodes(
        contract["environment"],
        {"success": PulledPolicy(folder)},
        seeds,
        workers=min(workers, episodes),
    )
    outcomes = played["success"]
    result: dict[str, Any] = {
        "environment": contract["environment"],
        "episodes": episodes,
        "first-seed": seeds[0],
        **summarize(outcomes, contract["episode-limit"]),
    }
    if video is not None:
        _film(folder, seeds, video, result)
    if as_json:
        print_json(result)
        return
    print(
        f"{contract['environment']}: {sum(o.success for o in outcomes)} of {episodes} solved, "
        f"success {estimate(result['success'], '{:.0%}')}, "
        f"steps {estimate(result['steps'], '{:.0f}')}"
    )
    if video is not None:
        print(f"{video}: {result['video']}")


def _film(folder: Path, seeds: list[int], video: Path, result: dict[str, Any]) -> None:
    from qc_core.report.video import film_policy

    video.parent.mkdir(parents=True, exist_ok=True)
    film = film_policy(folder, seeds, video)
    if film.path is None:
        raise WorkFailed(film.note)
    result["video"] = film.note
