"""Write the report: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.documents import read
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.envs.registry import has_simulator
from qc_core.errors import RunError
from qc_core.evaluation.exploration import STEPS, explore, rows
from qc_core.evaluation.result import Evaluation, PolicyResult
from qc_core.files import write_atomically
from qc_core.log import log
from qc_core.notify.verdict import published_policy, verdict
from qc_core.policy_format.policy_folder import read_contract
from qc_core.publish.promotion import Promotion
from qc_core.report import figures
from qc_core.report.comparison import compare_policies
from qc_core.report.page import data_uri, markup, templates
from qc_core.report.provenance import COST_HEADER, command_of, cost_rows, provenance_rows
from qc_core.report.tuning import tuning_section
from qc_core.report.video import film_episodes
from qc_core.results.step_cost import StepCost
from qc_core.scratch import scratch_folder
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import read_curve
from qc_core.tuning.trials import read_history

_EXPLORED_EPISODES = 8


def write_report(
    config: Config,
    *,
    dataset: Path,
    offline: Path,
    history: Path,
    evaluation: Path,
    policy: Path,
    promotion: Path,
    output: Path,
    date: str,
    run_id: str = "",
    costs: Sequence[StepCost] = (),
) -> None:
    """Write the report of a run.

    Args:
        dataset: the dataset folder.
        offline: the pretrained checkpoint.
        history: JSON with every trial of the tuning.
        evaluation: JSON with the comparison of the policies.
        policy: the exported policy folder.
        promotion: JSON with the gate's decision.
        output: the HTML file to write.
        date: of the run, for people.
        run_id: '' outside of a run.
        costs: of the steps so far.
    """
    compared, promoted = read(evaluation, Evaluation), read(promotion, Promotion)
    study, contract = read_history(history), read_contract(policy)
    published = published_policy(compared, study)
    if has_simulator(config.environment):
        films = _films(policy, published)
        explored = _explore(policy, seeds_for("play", config.seed, _EXPLORED_EPISODES))
    else:
        films = [_Film(None, f"No video: {config.environment} has no simulator.")]
        explored = _Exploration(f"Not measured: {config.environment} has no simulator.")
    for film in films:
        log.info(film.note)
    curve = read_curve(offline)
    reports_success = any(entry.reports_success for entry in compared.policies)
    page = (
        templates()
        .get_template("report.html.j2")
        .render(
            title=f"{promoted.name}:{promoted.version}",
            verdict=verdict(compared, study, promoted),
            recipe=config.recipe,
            environment=config.environment,
            method=config.train.method,
            seed=config.seed,
            date=date,
            evaluation=compared,
            comparison=compare_policies(compared, published),
            reports_success=reports_success,
            no_success_signal=NO_SUCCESS_SIGNAL,
            films=films,
            promotion=promoted,
            study=study,
            tuning=tuning_section(study, config.tune.episodes, reports_success),
            episodes_per_score=config.tune.episodes,
            offline=markup(figures.offline_curves(curve)) if curve else [],
            exploration=explored,
            data=open_dataset(dataset).info,
            provenance=provenance_rows(contract, run_id, date, costs),
            command=command_of(config),
            costs=cost_rows(costs, config, study),
            cost_header=COST_HEADER,
            measures_energy=any(cost.gpu_joules is not None for cost in costs),
            config=json.dumps(to_mapping(config), indent=2),
        )
    )
    write_atomically(output, page.encode())


@dataclass(frozen=True, slots=True)
class _Film:
    """A video as a data URI, or only the reason why there is none."""

    video: str | None
    note: str


def _films(policy: Path, published: PolicyResult | None) -> list[_Film]:
    """Film a success and a failure of the published policy; without a success signal, extremes."""
    with scratch_folder("video") as scratch:
        return [
            _Film(film.path and data_uri(film.path, "video/mp4"), film.note)
            for film in film_episodes(policy, _film_seeds(published), scratch)
        ]


def _film_seeds(published: PolicyResult | None) -> list[int]:
    """Return the first success and the first failure, or the highest and the lowest return."""
    if published is None:
        return []
    results = published.episode_results
    if not published.reports_success:
        ordered = sorted(results, key=lambda result: -result.episode_return)
        return list(dict.fromkeys(result.seed for result in (ordered[0], ordered[-1])))
    successes = [result.seed for result in results if result.success]
    failures = [result.seed for result in results if not result.success]
    return [*successes[:1], *failures[:1]]


@dataclass(frozen=True, slots=True)
class _Exploration:
    """The report's section on exploration; without measures it has only the note.

    Attributes:
        names: the two rollouts.
        rows: measure, first rollout, second rollout, difference.
    """

    note: str
    names: Sequence[str] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figures: Sequence[Markup] = ()


def _explore(policy: Path, seeds: list[int]) -> _Exploration:
    if read_contract(policy).chunk_length == 1:
        return _Exploration("This policy has no chunks: it executes one action at a time.")
    try:
        measures, rollouts = explore(policy, seeds)
    except RunError as error:
        return _Exploration(f"Not measured: {error}.")
    return _Exploration(
        note=f"The first {STEPS} steps of {measures.episodes} episodes. The exported policy played "
        "each start twice: with open-loop chunks, and with one action of a new chunk at every "
        "step. Each pair of episodes is cut to the shorter one. Intervals are 95% bootstrap "
        "intervals over episodes; the difference is paired by episode.",
        names=list(rollouts),
        rows=tuple(rows(measures)),
        figures=markup(figures.exploration_panels(measures, rollouts)),
    )
