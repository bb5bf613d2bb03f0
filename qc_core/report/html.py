"""Write the report: one HTML file that asks nothing of any network."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.errors import RunError
from qc_core.evaluation.exploration import STEPS, explore, rows
from qc_core.files import read_json, write_atomically
from qc_core.log import log
from qc_core.policy_format.policy_folder import read_contract
from qc_core.report import figures
from qc_core.report.video import film_policy
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import read_curve

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
    """Write `output` from the artifacts of the run's steps."""
    compared, tuned, promoted = map(read_json, (evaluation, history, promotion))
    with tempfile.TemporaryDirectory(prefix="qc-video-") as scratch:
        film = film_policy(
            policy, seeds_for("video", config.seed, _FILM_SEEDS), Path(scratch) / "policy.mp4"
        )
        video = film.path and _data_uri(film.path, "video/mp4")
    log.info(film.note)
    explored = _explore(policy, config.seed)
    curve = read_curve(offline)
    template = templates().get_template("report.html.j2")
    page = template.render(
        title=f"{promoted['name']}:{promoted['version']}",
        environment=config.environment,
        method=config.train.method,
        seed=config.seed,
        episodes=compared["episodes"],
        limit=compared["episode-limit"],
        untold=NO_SUCCESS_SIGNAL,
        policies=compared["policies"],
        comparison=Markup(figures.comparison(compared["policies"])),
        video=video,
        video_note=film.note,
        explored=explored,
        offline=Markup(figures.offline_curves(curve)) if curve else None,
        trials=tuned["trials"],
        best_trial=tuned["best-trial"],
        tuning=Markup(figures.tuning_history(tuned["trials"], tuned["best-trial"])),
        promotion=promoted,
        data=open_dataset(dataset).info,
        config=json.dumps(to_mapping(config), indent=2),
    )
    write_atomically(output, page.encode())


def templates() -> jinja2.Environment:
    """The page and its parts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["percent"] = lambda value: f"{value:.0%}"
    return environment


def _explore(policy: Path, seed: int) -> dict[str, Any]:
    """What the template says of exploration: names, rows and figure, or only a note."""
    if read_contract(policy).chunk_length == 1:
        return {"note": "This policy plays single actions: it has no chunks to compare them with."}
    try:
        measures, rollouts = explore(policy, seeds_for("play", seed, _EXPLORED_EPISODES))
    except RunError as reason:
        return {"note": f"Not measured: {reason}."}
    return {
        "note": f"The first {STEPS} steps of {measures['episodes']} episodes, played twice from "
        "the same starts by the exported policy and cut pair by pair to the shorter one: chunks "
        "open loop, and one action each of a fresh chunk at every step. Intervals are bootstrap "
        "over episodes, and the last column compares pair by pair.",
        "names": list(rollouts),
        "rows": rows(measures),
        "figure": Markup(figures.exploration(measures, rollouts)),
    }


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
