"""The report shows what the policies were compared by."""

import re
from pathlib import Path

import pytest

from qc_core.config.settings import Config
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.export import export
from qc_core.files import read_json, write_json
from qc_core.publish.promote import promote
from qc_core.report import html
from qc_core.report.html import write_report
from qc_core.report.video import Film
from qc_core.store.open import open_store
from qc_core.tuning.tune import tune


def test_where_no_success_is_told_every_step_and_the_report_show_returns(
    pendulum_config: Config,
    pendulum_checkpoint: Path,
    pendulum: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(html, "film_policy", lambda *_: Film(None, "No film."))
    monkeypatch.setattr(html, "_explore", lambda *_: {"note": "Not explored."})
    online, history = tmp_path / "online", tmp_path / "history.json"
    tune(pendulum_config, pendulum_checkpoint, pendulum, online, history)
    told = capsys.readouterr().err
    assert "the environment reports no success (info['success']): trials are compared by" in told
    trials = read_json(history)["trials"]
    best = max(trials, key=lambda trial: trial["return"])
    assert f"trial {best['trial']} is selected: return {best['return']:.1f}" in told
    evaluation, policy = tmp_path / "evaluation.json", tmp_path / "policy"
    evaluate(pendulum_config, pendulum_checkpoint, online, evaluation)
    export(online, policy, evaluation)
    promote(pendulum_config, policy, open_store())
    write_json(tmp_path / "promotion.json", promote(pendulum_config, policy, open_store()))
    write_report(
        pendulum_config,
        dataset=pendulum,
        offline=pendulum_checkpoint,
        history=history,
        evaluation=evaluation,
        policy=policy,
        promotion=tmp_path / "promotion.json",
        output=tmp_path / "report.html",
    )
    page = (tmp_path / "report.html").read_text()
    words = " ".join(
        re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", "", page, flags=re.S)).split()
    )
    assert "policy return 95% interval gained over the first" in words
    assert (
        "Pendulum-v1 reports no success (info[&#39;success&#39;]): policies are compared by"
        in words
    )
    assert "online learning rate return seconds" in words
    assert "policy mean return ch" in words and "won less lost by the challenger" in words
    assert "steps to success" not in page and " 0%" not in words
