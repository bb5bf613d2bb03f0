"""Decides whether a trial is better than the offline policy, beyond chance.

All of them play the same new episodes, which neither the trials' scores nor the final comparison
use. A trial replaces the offline policy if it needs fewer steps per episode, where a failure counts
as the episode limit, and succeeds at least as often. Without a success signal it needs a higher
return. `qc_core.significance` tests the difference and accounts for the number of trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from qc_core.documents import Document
from qc_core.envs.episode_result import any_reports_success, counted_steps, summarize_results
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.readable import p_value_text
from qc_core.significance import LEVEL, holm, paired_p_value
from qc_core.statistics import Estimate, mean


class Candidate(Document, frozen=True, kw_only=True):
    """A policy that could be published, and its results on the episodes of the selection.

    Attributes:
        trial: number of the trial; None for the offline policy.
        steps: control steps; a failure counts as the episode limit.
        gain: steps saved over the offline policy, or return gained, paired by episode.
        single_p_value: probability of such a gain by chance, for this trial alone.
        p_value: the same, adjusted for the number of trials.
    """

    trial: int | None
    success: Estimate
    steps: Estimate
    episode_return: Estimate = msgspec.field(name="return")
    gain: Estimate | None = None
    single_p_value: float | None = None
    p_value: float | None = None


class Selection(Document, frozen=True, kw_only=True):
    """Which policy of a study is published.

    Attributes:
        best_trial: the best of the trials that helped; if none did, the best of all.
        helped: the best trial is better than the offline policy beyond chance, and replaces it.
        episodes: per policy, with seeds from `first_seed`.
        reports_success: the environment reports success; without it, returns were compared.
        candidates: the offline policy, then every complete trial.
    """

    best_trial: int
    helped: bool
    episodes: int
    first_seed: int
    reports_success: bool
    candidates: tuple[Candidate, ...]

    @property
    def evidence(self) -> str:
        """The test of the best trial, for people: `p = 0.012 of 4 trials on 50 episodes`."""
        (best,) = [c for c in self.candidates if c.trial == self.best_trial]
        assert best.p_value is not None
        text = p_value_text(best.p_value)
        equals = "" if text.startswith("<") else "= "
        trials = len(self.candidates) - 1
        return (
            f"p {equals}{text}, {trials} trial{'s' if trials > 1 else ''}, "
            f"{self.episodes} selection episode{'s' if self.episodes > 1 else ''}"
        )


def decide(
    offline: Sequence[EpisodeResult],
    trials: Mapping[int, Sequence[EpisodeResult]],
    limit: int,
    earlier: Selection | None = None,
) -> Selection:
    """Compare the episodes of each trial with those of the offline policy.

    Args:
        offline: one result per seed.
        trials: results for the same seeds, by the number of the trial.
        limit: control steps of an episode.
        earlier: the selection among fewer trials of the study, if it has got more since. Its other
            trials have lost and cannot be selected, but they count in the correction.
    """
    reports_success = any(map(any_reports_success, (offline, *trials.values())))

    def worth(result: EpisodeResult) -> float:
        return -counted_steps(result, limit) if reports_success else result.episode_return

    baseline = _candidate(None, offline, limit)
    candidates = {}
    for number, results in trials.items():
        gains = [worth(own) - worth(base) for own, base in zip(results, offline, strict=True)]
        candidates[number] = msgspec.structs.replace(
            _candidate(number, results, limit),
            gain=mean(gains),
            single_p_value=paired_p_value(gains),
        )
    if earlier is not None:
        lost = {c.trial: c for c in earlier.candidates if c.trial is not None}
        candidates = dict(sorted((lost | candidates).items()))
    adjusted = holm([candidate.single_p_value or 0.0 for candidate in candidates.values()])
    compared = [
        msgspec.structs.replace(candidate, p_value=p_value)
        for candidate, p_value in zip(candidates.values(), adjusted, strict=True)
    ]
    selectable = [candidate for candidate in compared if candidate.trial in trials]
    helping = [
        candidate
        for candidate in selectable
        if candidate.p_value is not None
        and candidate.p_value <= LEVEL
        and candidate.success.value >= baseline.success.value
    ]
    best = max(helping or selectable, key=_ranking)
    assert best.trial is not None
    return Selection(
        best_trial=best.trial,
        helped=bool(helping),
        episodes=len(offline),
        first_seed=offline[0].seed,
        reports_success=reports_success,
        candidates=(baseline, *compared),
    )


def _candidate(trial: int | None, results: Sequence[EpisodeResult], limit: int) -> Candidate:
    summary = summarize_results(results, limit)
    return Candidate(
        trial=trial,
        success=summary.success,
        steps=summary.steps,
        episode_return=summary.episode_return,
    )


def _ranking(candidate: Candidate) -> tuple[float, float, float]:
    """Return the key by which candidates compare: success, then fewer steps, then return."""
    return candidate.success.value, -candidate.steps.value, candidate.episode_return.value
