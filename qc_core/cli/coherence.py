"""`qc play --coherence`: how coherent in time a policy explores, set against another way."""

from __future__ import annotations

from pathlib import Path

from qc_core.cli.output import print_json, print_table
from qc_core.cli.play import play_seeds
from qc_core.documents import to_json
from qc_core.errors import UsageError
from qc_core.evaluation.exploration import STEPS, explore, rows
from qc_core.files import require_file_place, write_atomically
from qc_core.report import figures


def coherence(
    folder: Path,
    figure: Path,
    *,
    against: Path | None,
    episodes: int,
    seed: int,
    workers: int,
    execution_horizon: int | None,
    as_json: bool,
) -> None:
    """Explore twice, print the measures side by side and draw them.

    Args:
        figure: the .svg file to write.
        against: another policy; None sets chunks against single actions of the same.
    """
    seeds = play_seeds(episodes, seed, workers)
    if figure.suffix != ".svg":
        raise UsageError(f"--coherence writes an .svg file, got {figure}")
    require_file_place(figure)
    measures, rollouts = explore(
        folder,
        seeds,
        against=against,
        execution_horizon=execution_horizon,
        workers=min(workers, 2 * episodes),
    )
    write_atomically(figure, figures.exploration(measures, rollouts).encode())
    if as_json:
        print_json({"first-seed": seeds[0], **to_json(measures)})
        return
    print_table(("", *rollouts, "difference"), rows(measures))
    print(
        f"\nThe first {STEPS} steps of {measures.episodes} of {episodes} episodes, each pair "
        "cut to its shorter one; 95% bootstrap\nintervals over episodes, the difference pair by "
        f"pair. Figure: {figure}"
    )
