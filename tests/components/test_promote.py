"""The promote step shows metrics in the KFP UI."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.promote.component import promote
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.files import read_json, write_json
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.publish.gate import match
from tests.qc_core.publish.gate.episodes import with_returns, with_steps

step: Any = promote


def metrics_of(config: Config, policy: Path, checkpoint: Path, folder: Path) -> dict[str, float]:
    folder.mkdir()
    write_json(folder / "config", to_mapping(config))
    metrics = dsl.Metrics()
    step.python_func(
        config=dsl.Artifact(uri=str(folder / "config")),
        held_out=dsl.Dataset(uri=str(folder / "held-out")),
        policy=dsl.Model(uri=str(policy)),
        checkpoint=dsl.Model(uri=str(checkpoint)),
        run_id=folder.name,
        promotion=dsl.Artifact(uri=str(folder / "promotion")),
        metrics=metrics,
    )
    assert metrics.metadata["champion"] == read_json(folder / "promotion")["champion"]
    return metrics.metadata


def let_play(
    monkeypatch: pytest.MonkeyPatch, champion: list[EpisodeResult], challenger: list[EpisodeResult]
) -> None:
    """Use these episodes for the next match."""
    games = [
        {"champion": held, "challenger": tried}
        for held, tried in zip(champion, challenger, strict=True)
    ]
    monkeypatch.setattr(match, "play_side_by_side", lambda *_, **__: (game for game in games))


def test_metrics_show_the_decision_and_its_numbers(
    config: Config, policy: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = metrics_of(config, policy, checkpoint, tmp_path / "first")
    assert first == {"champion": 1, "episodes played": 0}
    let_play(monkeypatch, with_steps([60] * 100), with_steps([120] * 100))
    longer = replace(config, publish=replace(config.publish, gate_episodes=100))
    second = metrics_of(longer, policy, checkpoint, tmp_path / "second")
    assert second["champion"] == 0 and 5 < second["episodes played"] < 100
    assert second["champion: steps"] == 60 and second["challenger: steps"] == 120
    assert second["champion: success"] == second["challenger: success"] == 1
    assert second["steps saved: value"] == -60
    assert second["steps saved: low"] < -60 < second["steps saved: high"] < 0


def test_without_success_signal_the_metrics_show_returns(
    config: Config, policy: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics_of(config, policy, checkpoint, tmp_path / "first")
    let_play(monkeypatch, with_returns([-900.0] * 100), with_returns([-300.0] * 100))
    longer = replace(config, publish=replace(config.publish, gate_episodes=100))
    second = metrics_of(longer, policy, checkpoint, tmp_path / "second")
    assert second["champion"] == 1 and second["net wins: value"] == 1
    assert second["champion: mean return"] == -900
    assert "challenger: success" not in second
