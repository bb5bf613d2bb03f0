"""The published curves are found for the tasks that the paper has, and for no other."""

import pytest

from qc_core.config.resolve import resolve
from qc_core.sweeps.published import published_curve


@pytest.mark.parametrize(
    ("recipe", "method", "step", "success"),
    [
        ("puzzle-3x3-sparse-task4", "fql", 100_000, 0.0),
        ("cube-double-task1", "qc-fql", 100_000, 0.20),
        ("cube-triple-task1", "qc", 1_100_000, 1.0),
    ],
)
def test_known_points_of_the_papers_figures(
    recipe: str, method: str, step: int, success: float
) -> None:
    curve = published_curve(resolve(recipe), method)
    assert len(curve) == 21
    (point,) = (point for point in curve if round(point.step) == step)
    assert point.success == pytest.approx(success, abs=0.03)
    assert point.low <= point.success <= point.high


@pytest.mark.parametrize("recipe", ["lift-mh", "square-mh", "scene-sparse", "cube-quadruple-100m"])
def test_every_domain_of_the_paper_is_found(recipe: str) -> None:
    assert published_curve(resolve(recipe), "qc")
    assert published_curve(resolve(recipe), "rlpd")[0].step == 1_000_000


@pytest.mark.parametrize(
    ("recipe", "source", "theirs"),
    [
        ("cube-double", ["ogbench"], True),
        ("cube-double", ["ogbench:cube-double-play-v0"], True),
        ("cube-double", ["here/cube-double-play-v0.npz"], True),
        ("cube-double", ["ogbench:cube-double-noisy-v0"], False),
        ("cube-double", ["collect"], False),
        ("cube-double", ["ogbench", "collect"], False),
        ("cube-double", ["minari:cube-double-play-v0"], False),
        ("cube-quadruple-100m", ["shards/cube-quadruple-play-100m-v0"], True),
        ("cube-quadruple-100m", ["ogbench"], False),
        ("lift-mh", ["here/low_dim_v141.hdf5"], True),
        ("lift-mh", ["played.npz"], False),
        ("lift-mh", ["store:episodes"], False),
    ],
)
def test_other_data_than_the_papers_have_no_curve_of_it(
    recipe: str, source: list[str], theirs: bool
) -> None:
    config = resolve(recipe, ["--data", *source])
    assert bool(published_curve(config, "qc")) == theirs


def test_a_choice_of_a_files_episodes_is_not_the_papers_data() -> None:
    assert published_curve(resolve("lift-mh", ["--data.filter", "better"]), "qc") == []


def test_other_tasks_rewards_and_methods_have_none() -> None:
    dense = resolve("puzzle-3x3-sparse", ["--data.reward-transform", "none"])
    assert published_curve(dense, "qc") == []
    assert published_curve(resolve("cube-single"), "qc") == []
    assert published_curve(resolve("cube-double"), "qc-rlpd") == []
