"""Runs are grouped by their options, paired by seed, and drawn on one page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qc_core.errors import UsageError
from qc_core.runs.comparison import compare
from qc_core.runs.page import write_page
from qc_core.runs.run import Run
from qc_core.statistics import success_gain, success_gain_over_seeds
from tests.qc_core.runs.examples import curves, evaluated, example_run

HALF = [True, False] * 10
MOST = [True] * 18 + [False] * 2


def run(name: str, solved: list[bool], *, seed: int = 0, updates: int = 60) -> Run:
    return example_run(name, HALF, solved, seed=seed, **{"train.offline-steps": updates})


def test_runs_that_differ_only_in_their_seed_are_one_group() -> None:
    compared = compare([run("a1", HALF, seed=1), run("b", MOST, updates=80), run("a0", HALF)])
    first, second = compared.groups
    assert ([each.name for each in first.runs], first.seeds) == (["a0", "a1"], (0, 1))
    assert (first.label, second.label) == ("A: offline steps 60", "B: offline steps 80")
    assert compared.options == {"train.offline-steps": [60, 80]}


def test_runs_with_the_same_options_and_seed_are_not_mixed() -> None:
    compared = compare([run("a", HALF), replace(run("b", MOST), commit="def")])
    assert [group.label for group in compared.groups] == ["A: a", "B: b"]
    assert compared.options == {"code commit": ["abc", "def"]}


def test_one_pair_of_equal_seeds_is_compared_by_episode() -> None:
    compared = compare([run("a", HALF), run("b", MOST, updates=80)])
    offline, online = compared.gains
    assert (offline.phase, offline.seeds, offline.estimate.value) == ("offline", (0,), 0)
    assert offline.estimate.low < 0 < offline.estimate.high
    assert online.estimate == success_gain(HALF, MOST)


def test_several_pairs_are_compared_over_seeds_and_others_are_left_out() -> None:
    compared = compare(
        [
            *(run(f"a{seed}", HALF, seed=seed) for seed in (0, 1, 2)),
            *(run(f"b{seed}", MOST, seed=seed, updates=80) for seed in (1, 2, 3)),
        ]
    )
    online = compared.gains[1]
    assert online.seeds == (1, 2)
    assert online.estimate == success_gain_over_seeds([HALF, HALF], [MOST, MOST])


def test_runs_that_played_other_episodes_are_not_paired() -> None:
    other = replace(run("b", MOST, updates=80), evaluation=evaluated(HALF, MOST, first_seed=5))
    assert compare([run("a", HALF), other]).gains == ()


def test_without_a_success_signal_returns_are_compared() -> None:
    runs = [
        replace(each, evaluation=evaluated(HALF, solved, reports_success=False))
        for each, solved in ((run("a", HALF), HALF), (run("b", MOST, updates=80), MOST))
    ]
    compared = compare(runs)
    assert compared.measure == "return"
    assert compared.gains[1].estimate.value == pytest.approx((18 - 10) / 20 * 150)


def test_a_run_without_a_configuration_is_refused() -> None:
    with pytest.raises(UsageError, match="run b is of an earlier release"):
        compare([run("a", HALF), replace(run("b", HALF), config=None)])


def test_the_page_has_differences_first_then_results_and_curves(tmp_path: Path) -> None:
    runs = [run("a", HALF), run("b<i>", MOST, updates=80)]
    runs[1] = replace(runs[1], read_curves=lambda: curves(0.9))
    page = tmp_path / "page.html"
    write_page(compare(runs), "qc compare a b", page)
    content = page.read_text()
    headings = re.findall(r"<h2>(.*?)</h2>", content)
    assert headings[:3] == ["Differences of the configurations", "Runs", "Performance: success"]
    assert content.count("<svg") == 3 and "b&lt;i&gt;" in content
    assert not re.search(r"""(src|href)=["'](?!#)""", content)
    text = " ".join(re.sub(r"<[^>]+>", " ", content).split())
    assert "B: offline steps 80 online 0 +40% (" in text
    assert "Made with qc compare a b" in text


def test_runs_without_curves_or_results_are_on_the_page(tmp_path: Path) -> None:
    bare = replace(run("b", MOST, updates=80), evaluation=None, read_curves=lambda: None)
    write_page(compare([run("a", HALF), bare]), "qc compare a b", tmp_path / "page.html")
    content = (tmp_path / "page.html").read_text()
    assert "Without curves: b." in content
    assert "No two runs of different groups have the same seed" in content
