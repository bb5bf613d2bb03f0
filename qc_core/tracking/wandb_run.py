"""A training, or the result of a run, in Weights & Biases: one run each, in a group."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from qc_core.tracking.metrics import Point

DEFAULT_PROJECT = "q-chunking"
_EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 1}


class WandbRun:
    """The tracker `wandb` of `qc_core.tracking.send`; `start` as for `MLflowRun`, with `folder`."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = start

    def begin(self) -> None:
        import wandb

        start = self._start
        group, name = start["run"] or start["title"], start["name"] or "result"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
            group=group,
            name=name,
            # The same in each attempt, so that a resumed training continues its curves.
            id=re.sub(r"[^\w-]", "-", f"{group}-{name}")[-128:],
            resume="allow",
            config={**start["options"], **start["parameters"]},
            dir=start["folder"],
            settings=wandb.Settings(console="off", silent=True),
        )
        # Points may come late: the axis is a metric, because wandb's own step cannot go back.
        self._run.define_metric("*", step_metric="step")

    def log(self, points: list[Point]) -> None:
        for point in points:
            self._run.log({"step": point.step, **point.values})

    def result(self, content: dict[str, Any]) -> None:
        self._run.summary.update({**content["metrics"], **content["tags"]})
        for name, path in content["artifacts"].items():
            # The upload ends with the run: the copy is in the run's own folder until then.
            copy = Path(self._run.dir) / name
            shutil.copyfile(path, copy)
            self._run.save(str(copy), base_path=self._run.dir, policy="now")

    def end(self, state: str) -> None:
        import wandb

        self._run.finish(_EXIT_CODES[state])
        # `finish` returns before the last points are written.
        wandb.teardown()
