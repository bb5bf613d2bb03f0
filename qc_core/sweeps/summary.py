"""Where each method of a study ends, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qc_core.statistics import mean_over_seeds
from qc_core.sweeps.definition import Study

# Means of them lie within.
BOUNDS = {"success": (0.0, 1.0), "steps": (0.0, math.inf), "return": (-math.inf, math.inf)}


def summarize(study: Study, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each recipe and method at the end of its offline and of its online phase.

    Args:
        rows: of the study's CSV.

    Returns:
        `success` in [0, 1], `steps` (a failure counts the episode's limit) and `return`, each a
        mean over seeds with Student's 95% t interval, whose ends are None for one seed, and how
        many `seeds` have come so far. `success-told` is False if the environment tells none.
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
                    end["success-told"] = any_reports_success(found)
                    for name, bounds in BOUNDS.items():
                        over_seeds = mean_over_seeds([row[name] for row in found], *bounds)
                        end[name] = {
                            # JSON has no NaN.
                            key: None if math.isnan(number) else number
                            for key, number in over_seeds._asdict().items()
                        }
                    ends.append(end)
    return ends


def any_reports_success(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the environment of these rows tells success; rows of old say nothing of it."""
    return any(row.get("success-told", True) for row in rows)
