"""Where each method of a study ends, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qc_core.statistics import mean
from qc_core.study.definition import Study


def summarize(study: Study, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each recipe and method at the end of its offline and of its online phase.

    Args:
        rows: of the study's CSV.

    Returns:
        `success` in [0, 1], `steps` (a failure counts the episode's limit) and `return`, each a
        mean over seeds with its 95% bootstrap interval, and how many `seeds` have come so far.
    """
    ends = []
    for recipe in study.recipes:
        train = study.data_config(recipe).train
        for method in study.methods:
            for step in (train.offline_steps, train.offline_steps + train.online_steps):
                place = (recipe, method, step)
                found = [r for r in rows if (r["recipe"], r["method"], r["step"]) == place]
                if found:
                    end = {"recipe": recipe, "method": method, "step": step, "seeds": len(found)}
                    for name in ("success", "steps", "return"):
                        end[name] = mean([row[name] for row in found])._asdict()
                    ends.append(end)
    return ends
