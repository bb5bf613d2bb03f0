"""The comparison plays every policy on the same unseen episodes."""

import json
from pathlib import Path

from qc_core.envs.play import Outcome
from qc_core.recipes.config import Config
from qc_core.seeds import seeds_for
from qc_core.training.evaluate import evaluate, summarize


def test_three_policies_play_the_same_unseen_seeds(
    tmp_path: Path, config: Config, checkpoint: Path
) -> None:
    content = evaluate(config, checkpoint, checkpoint, tmp_path / "evaluation.json")
    assert json.loads((tmp_path / "evaluation.json").read_text()) == content
    names = [policy["name"] for policy in content["policies"]]
    assert names == ["behaviour cloning", "offline Q-chunking", "fine-tuned online"]
    expected = seeds_for("evaluate", config.seed, config.evaluate.episodes)
    for policy in content["policies"]:
        assert [outcome["seed"] for outcome in policy["outcomes"]] == expected
    cloned, offline, online = content["policies"]
    assert offline["outcomes"] == online["outcomes"] != cloned["outcomes"]
    assert cloned["steps-saved-over-cloning"] == {"value": 0, "low": 0, "high": 0}


def test_a_failure_counts_the_limit() -> None:
    outcomes = [Outcome(0, True, 40, -40.0), Outcome(1, False, 150, -150.0)]
    summary = summarize(outcomes, limit=200)
    assert summary["success"]["value"] == 0.5
    assert summary["steps"]["value"] == 120
