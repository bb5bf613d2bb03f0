"""The report shows the measure by which the policies were compared."""

import re
from pathlib import Path

import pytest

from qc_core.config.settings import Config
from qc_core.documents import write
from qc_core.errors import RunError
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.export import export
from qc_core.files import read_json
from qc_core.publish.promote import promote
from qc_core.report import html
from qc_core.report.html import write_report
from qc_core.report.video import Film
from qc_core.store.open import open_store
from qc_core.tuning.tune import tune
from tests.qc_core.report.browser import CHROMIUM, require_readable


def not_explored(*_: object) -> None:
    raise RunError("the test does not explore")


def test_without_success_signal_every_step_and_the_report_show_returns(
    pendulum_config: Config,
    pendulum_checkpoint: Path,
    pendulum: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(html, "film_episodes", lambda *_: [Film(None, "No video.")])
    monkeypatch.setattr(html, "explore", not_explored)
    online, history = tmp_path / "online", tmp_path / "history.json"
    tune(pendulum_config, pendulum_checkpoint, pendulum, online, history)
    messages = capsys.readouterr().err
    assert "environment has no success signal (info['success']): trials are compared" in messages
    # Two episodes cannot show that a trial is better.
    best = read_json(history)["best-trial"]
    assert f"fine-tuning did not help beyond chance: trial {best} is not shown" in messages
    evaluation, policy = tmp_path / "evaluation.json", tmp_path / "policy"
    evaluate(pendulum_config, pendulum_checkpoint, online, evaluation)
    export(online, policy, evaluation)
    promote(pendulum_config, policy, open_store())
    write(tmp_path / "promotion.json", promote(pendulum_config, policy, open_store()))
    write_report(
        pendulum_config,
        dataset=pendulum,
        offline=pendulum_checkpoint,
        history=history,
        evaluation=evaluation,
        policy=policy,
        promotion=tmp_path / "promotion.json",
        output=tmp_path / "report.html",
        date="2026-11-30",
    )
    page = (tmp_path / "report.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", "", page, flags=re.S)).split())
    assert page.index('<p class="verdict">Fine-tuning did not help') < page.index("<h1>")
    assert "policy return gain over the first" in text
    assert "policy return gain p offline policy -" in text
    assert "Pendulum-v1 has no success signal (info[&#39;success&#39;]): policies are" in text
    assert "online learning rate return time" in text
    assert "policy mean return ch" in text and "net wins of the challenger" in text
    assert "steps per episode" not in page and " 0%" not in text
    if CHROMIUM is not None:
        require_readable(tmp_path / "report.html")
