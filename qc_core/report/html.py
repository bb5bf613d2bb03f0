"""Write the report: one self-contained HTML file."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.documents import read
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.envs.registry import has_simulator
from qc_core.errors import RunError
from qc_core.evaluation.exploration import STEPS, explore, rows
from qc_core.evaluation.result import Evaluation
from qc_core.files import write_atomically
from qc_core.log import log
from qc_core.notify.verdict import verdict
from qc_core.policy_format.policy_folder import read_contract
from qc_core.publish.promotion import Promotion
from qc_core.report import figures
from qc_core.report.video import Film, film_policy
from qc_core.scratch import scratch_folder
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import read_curve
from qc_core.tuning.trials import read_history

_FILM_SEEDS = 5
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
) -> None:
    """Write the report of a run.

    Args:
        dataset: the data set folder.
        offline: the pretrained checkpoint.
        history: JSON with every trial of the tuning.
        evaluation: JSON with the comparison of the policies.
        policy: the exported policy folder.
        promotion: JSON with the gate's decision.
        output: the HTML file to write.
    """
    compared, promoted = read(evaluation, Evaluation), read(promotion, Promotion)
    study = read_history(history)
    if has_simulator(config.environment):
        with scratch_folder("video") as scratch:
            film = film_policy(
                policy, seeds_for("video", config.seed, _FILM_SEEDS), scratch / "policy.mp4"
            )
            video = film.path and _data_uri(film.path, "video/mp4")
        explored = _explore(policy, seeds_for("play", config.seed, _EXPLORED_EPISODES))
    else:
        film, video = Film(None, f"No video: {config.environment} has no simulator."), None
        explored = _Exploration(f"Not measured: {config.environment} has no simulator.")
    log.info(film.note)
    curve = read_curve(offline)
    template = templates().get_template("report.html.j2")
    page = template.render(
        title=f"{promoted.name}:{promoted.version}",
        verdict=verdict(compared, study, promoted),
        environment=config.environment,
        method=config.train.method,
        seed=config.seed,
        evaluation=compared,
        no_success_signal=NO_SUCCESS_SIGNAL,
        comparison=Markup(figures.comparison(compared.policies)) if compared.policies else None,
        video=video,
        video_note=film.note,
        exploration=explored,
        offline=Markup(figures.offline_curves(curve)) if curve else None,
        trials=study.trials,
        parameters=sorted({name for trial in study.trials for name in trial.parameters}),
        best_trial=study.best_trial,
        reports_success=any(policy.reports_success for policy in compared.policies),
        tuning=Markup(figures.tuning_history(study)) if study.trials else None,
        promotion=promoted,
        data=open_dataset(dataset).info,
        config=json.dumps(to_mapping(config), indent=2),
    )
    write_atomically(output, page.encode())


def templates() -> jinja2.Environment:
    """Return the templates of the report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["percent"] = lambda value: f"{value:.0%}"
    return environment


@dataclass(frozen=True, slots=True)
class _Exploration:
    """The report's section on exploration; without measures it has only the note.

    Attributes:
        names: the two rollouts.
        rows: measure, first rollout, second rollout, difference.
    """

    note: str
    names: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figure: Markup | None = None


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
        names=tuple(rollouts),
        rows=tuple(rows(measures)),
        figure=Markup(figures.exploration(measures, rollouts)),
    )


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
