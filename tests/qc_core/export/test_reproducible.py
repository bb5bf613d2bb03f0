"""The same recipe, seed and data give the same bytes in another process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from qc_core.config.document import as_config, to_mapping
from qc_core.config.settings import Config
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.export import export
from qc_core.training.fine_tune import fine_tune
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import save_checkpoint

ROOT = Path(__file__).parents[3]
# A run that knows nothing of this one's hash seed, zone, language or home.
ELSEWHERE = {
    "PYTHONHASHSEED": "77",
    "TZ": "Asia/Tokyo",
    "LC_ALL": "C",
    "HOME": "/",
    "QC_RUN_ID": "b",
}


def make_policy(config: Config, dataset: Path, folder: Path) -> None:
    """Run every step from the data to the policy."""
    torch.set_num_threads(1)
    pretrain(config, dataset, folder / "offline")
    tuned = fine_tune(config, folder / "offline", dataset, trial=0, on_score=lambda _: None)
    save_checkpoint(folder / "online", tuned.agent, tuned.checkpoint, tuned.curve)
    evaluate(config, folder / "offline", folder / "online", folder / "evaluation.json")
    export(folder / "online", folder / "policy", folder / "evaluation.json")


def test_the_same_seed_gives_the_same_bytes(
    pendulum: Path, pendulum_config: Config, tmp_path: Path
) -> None:
    config = replace(pendulum_config, evaluate=replace(pendulum_config.evaluate, episodes=1))
    make_policy(config, pendulum, tmp_path / "here")
    (tmp_path / "config.json").write_text(json.dumps(to_mapping(config)))
    words = [str(tmp_path / "config.json"), str(pendulum), str(tmp_path / "there")]
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env={**os.environ, **ELSEWHERE, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / "here" / "policy").iterdir())
    assert len(files) == 5
    for name in files:
        here, there = (tmp_path / place / "policy" / name for place in ("here", "there"))
        assert here.read_bytes() == there.read_bytes(), name


if __name__ == "__main__":
    settings, data, output = map(Path, sys.argv[1:])
    make_policy(as_config(json.loads(settings.read_text()), str(settings)), data, output)
