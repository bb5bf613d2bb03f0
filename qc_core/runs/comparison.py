"""Compares runs: which options differ, and how the policies of equal seeds differ."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from qc_core.config.differences import options_of
from qc_core.documents import plain
from qc_core.errors import UsageError
from qc_core.evaluation.result import Evaluation, PolicyResult
from qc_core.runs.run import Run
from qc_core.statistics import (
    Estimate,
    mean,
    mean_over_seeds,
    success_gain,
    success_gain_over_seeds,
    success_rate_over_seeds,
)

PHASES = ("offline", "online")
_MAX_LABEL = 60
# Options whose values say what they are.
_NAMES = ("recipe", "train.method")


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    Attributes:
        label: a letter, and the options in which the group differs from others.
        runs: by ascending seed.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def letter(self) -> str:
        """The label without the options."""
        return self.label.partition(":")[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each run."""
        return tuple(map(seed_of, self.runs))

    def with_phase(self, phase: str) -> dict[int, tuple[Evaluation, PolicyResult]]:
        """Return the results of a phase by seed, without runs that have none."""
        found = {}
        for run in self.runs:
            result = getattr(run, phase)
            if run.evaluation is not None and result is not None:
                found[seed_of(run)] = run.evaluation, result
        return found


@dataclass(frozen=True)
class Gain:
    """The difference between two groups in one phase.

    Attributes:
        seeds: that both groups have.
        estimate: the second group minus the first.
    """

    phase: str
    first: str
    second: str
    seeds: tuple[int, ...]
    estimate: Estimate


@dataclass(frozen=True)
class Comparison:
    """Groups of runs and how they differ.

    Attributes:
        options: values of each group by option, where they differ.
        measure: `success`, or `return` if an environment reports no success.
        performance: of each group, by phase; None without results.
        gains: over the first group.
    """

    groups: tuple[Group, ...]
    options: dict[str, list[Any]]
    measure: str
    performance: tuple[dict[str, Estimate | None], ...]
    gains: tuple[Gain, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {
            "measure": self.measure,
            "options": self.options,
            "groups": [
                {
                    "label": group.label,
                    "runs": [run.run_id for run in group.runs],
                    "seeds": list(group.seeds),
                    **{phase: _plain(estimate) for phase, estimate in performance.items()},
                }
                for group, performance in zip(self.groups, self.performance, strict=True)
            ],
            "gains": [
                {
                    "phase": gain.phase,
                    "group": gain.second,
                    "over": gain.first,
                    "seeds": list(gain.seeds),
                    "gain": _plain(gain.estimate),
                }
                for gain in self.gains
            ],
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs; the first run's group is the one that others are compared with.

    Raises:
        UsageError: the configuration of a run is unknown.
    """
    groups = group_runs(runs)
    measure = "success" if reports_success(groups) else "return"
    first, *others = groups
    gains = (gain(first, other, phase, measure) for other in others for phase in PHASES)
    return Comparison(
        groups=tuple(groups),
        options=differing_options(groups),
        measure=measure,
        performance=tuple(
            {phase: performance(group, phase, measure) for phase in PHASES} for group in groups
        ),
        gains=tuple(found for found in gains if found is not None),
    )


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else plain(structs.asdict(estimate))


def seed_of(run: Run) -> int:
    """Return the seed of a run whose configuration is known."""
    return int(_options(run)["seed"])


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Return the runs in groups that differ only in their seed, in the order of the first runs.

    Of runs with equal settings and seeds, each is in a group of its own.

    Raises:
        UsageError: the configuration of a run is unknown.
    """
    for run in runs:
        if run.config is None:
            raise UsageError(
                f"run {run.name} is of an earlier release, which did not store its configuration: "
                "leave it out, or give its run folder"
            )
    grouped: list[list[Run]] = []
    for run in runs:
        for group in grouped:
            if _settings(group[0]) == _settings(run) and seed_of(run) not in map(seed_of, group):
                group.append(run)
                break
        else:
            grouped.append([run])
    names = _labels([group[0] for group in grouped])
    return [
        Group(name, tuple(sorted(group, key=seed_of)))
        for name, group in zip(names, grouped, strict=True)
    ]


def differing_options(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Return the values of each group, by the options that are not equal in all groups.

    A value is None if the method of the group does not have the option. The code's commit counts as
    an option.
    """
    values = [{**_settings(group.runs[0]), "code commit": group.runs[0].commit} for group in groups]
    names = dict.fromkeys(name for options in values for name in options)
    rows = {name: [options.get(name) for options in values] for name in names}
    return {name: row for name, row in rows.items() if any(entry != row[0] for entry in row)}


def reports_success(groups: Sequence[Group]) -> bool:
    """Return whether success can be compared: every evaluated policy has a success rate."""
    return all(
        result.reports_success
        for group in groups
        for phase in PHASES
        for _, result in group.with_phase(phase).values()
    )


def performance(group: Group, phase: str, measure: str) -> Estimate | None:
    """Return the success or the return of a group; None without results.

    Over several seeds, the interval is over seeds. Of one seed, it is over episodes.

    Args:
        measure: `success` or `return`.
    """
    attribute = "success" if measure == "success" else "episode_return"
    found = list(group.with_phase(phase).values())
    if len(found) < 2:
        return getattr(found[0][1], attribute) if found else None
    values = [getattr(result, attribute).value for _, result in found]
    if measure == "success":
        return success_rate_over_seeds(values, min(each.episodes for each, _ in found))
    return mean_over_seeds(values)


def gain(first: Group, second: Group, phase: str, measure: str) -> Gain | None:
    """Return the second group's success or return minus the first group's, paired by seed.

    Runs of equal seeds played the same episodes, which are paired too. Of one seed, the interval is
    over episodes, otherwise over seeds. None if no seed has comparable results in both groups.
    """
    a, b = first.with_phase(phase), second.with_phase(phase)
    seeds = tuple(seed for seed in a if seed in b and _same_episodes(a[seed][0], b[seed][0]))
    if not seeds:
        return None
    pairs = [(a[seed][1].episode_results, b[seed][1].episode_results) for seed in seeds]
    if measure == "success":
        before = [[episode.success for episode in base] for base, _ in pairs]
        after = [[episode.success for episode in own] for _, own in pairs]
        estimate = (
            success_gain(before[0], after[0])
            if len(seeds) == 1
            else success_gain_over_seeds(before, after)
        )
    else:
        differences = [
            [y.episode_return - x.episode_return for x, y in zip(base, own, strict=True)]
            for base, own in pairs
        ]
        estimate = (
            mean(differences[0])
            if len(seeds) == 1
            else mean_over_seeds([sum(each) / len(each) for each in differences])
        )
    return Gain(phase, first.label, second.label, seeds, estimate)


def _same_episodes(a: Evaluation, b: Evaluation) -> bool:
    def episodes(evaluation: Evaluation) -> tuple[Any, ...]:
        seeds = [episode.seed for episode in evaluation.policies[0].episode_results]
        return evaluation.environment, evaluation.episode_limit, seeds

    return episodes(a) == episodes(b) and bool(a.policies[0].episode_results)


def _options(run: Run) -> dict[str, Any]:
    assert run.config is not None
    return options_of(run.config)


def _settings(run: Run) -> dict[str, Any]:
    """Return all options but the seed."""
    return {name: value for name, value in _options(run).items() if name != "seed"}


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return a letter for each run, and the options in which it differs from the others."""
    settings = [_settings(run) for run in runs]
    names = dict.fromkeys((*_NAMES, *(name for options in settings for name in options)))
    differing = [n for n in names if len({repr(options.get(n)) for options in settings}) > 1]
    labels = []
    for place, (run, options) in enumerate(zip(runs, settings, strict=True)):
        letter = string.ascii_uppercase[place % 26] + (str(place // 26) if place >= 26 else "")
        values = [
            options[name] if name in _NAMES else f"{_short(name)} {options[name]}"
            for name in differing
            if name in options
        ]
        text = ", ".join(map(str, values)) or run.name
        labels.append(f"{letter}: {text if len(text) <= _MAX_LABEL else text[:_MAX_LABEL] + '…'}")
    return labels


def _short(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ")
