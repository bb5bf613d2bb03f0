"""`qc coherence`: compare how coherently in time two policies explore."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import json_argument, policy_folder
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.cli.play import play_seeds, rollout_arguments
from qc_core.documents import to_json
from qc_core.errors import UsageError


def arguments(parser: Parser) -> None:
    rollout_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("coherence.svg"),
        metavar="FIGURE",
        help="figure to write (coherence.svg)",
    )
    parser.add_argument(
        "--against",
        metavar="POLICY",
        help="other policy to compare with (single actions of the same policy)",
    )
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Explore with both, print their measures side by side and draw them."""
    from qc_core.evaluation.exploration import STEPS, explore, rows
    from qc_core.files import require_file_place, write_atomically
    from qc_core.report import figures

    figure, episodes = options.output, options.episodes
    seeds = play_seeds(options)
    if figure.suffix != ".svg":
        raise UsageError(f"--output must be an .svg file, got {figure}")
    require_file_place(figure)
    measures, rollouts = explore(
        policy_folder(options.policy),
        seeds,
        against=options.against and policy_folder(options.against),
        execution_horizon=options.execution_horizon,
        workers=min(options.workers, 2 * episodes),
    )
    write_atomically(figure, figures.exploration(measures, rollouts).encode())
    if options.json:
        print_json({"first-seed": seeds[0], **to_json(measures)})
        return
    print_table(("", *rollouts, "difference"), rows(measures))
    print(
        f"\nThe first {STEPS} steps of {measures.episodes} of {episodes} episodes; each pair is "
        "cut to the shorter episode.\n95% bootstrap intervals over episodes; the difference is "
        f"paired. Figure: {figure}"
    )
