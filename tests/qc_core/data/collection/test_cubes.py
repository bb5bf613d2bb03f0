"""Cubes are moved in an order that reaches the goal, and obstacles are cleared first."""

import numpy as np

from qc_core.data.collection.cubes import next_target

TABLE = np.array([[0.3, -0.3], [0.55, 0.3]])


def first_move(cubes: list[list[float]], goals: list[list[float]]) -> tuple[int, np.ndarray] | None:
    info = {f"privileged/block_{i}_pos": np.array(xyz) for i, xyz in enumerate(cubes)}
    target = next_target(info, np.array(goals), TABLE, np.random.default_rng(0))
    if target is None:
        return None
    return target["privileged/target_block"], target["privileged/target_block_pos"]


def test_no_target_if_all_cubes_are_at_their_goals() -> None:
    assert first_move([[0.4, 0.01, 0.02]], [[0.4, 0.0, 0.02]]) is None


def test_a_stack_is_built_from_below() -> None:
    goals = [[0.4, 0.0, 0.06], [0.4, 0.0, 0.02]]
    cube, place = first_move([[0.4, 0.2, 0.02], [0.4, -0.2, 0.02]], goals) or (-1, None)
    assert cube == 1
    np.testing.assert_array_equal(place, goals[1])


def test_a_stack_is_taken_down_from_above() -> None:
    stacked = [[0.4, 0.0, 0.02], [0.4, 0.0, 0.06]]
    goals = [[0.4, 0.2, 0.02], [0.4, -0.2, 0.02]]
    cube, place = first_move(stacked, goals) or (-1, None)
    assert cube == 1
    np.testing.assert_array_equal(place, goals[1])


def test_swapped_cubes_move_one_cube_to_a_free_position() -> None:
    here, there = [0.4, 0.1, 0.02], [0.4, -0.1, 0.02]
    cube, place = first_move([here, there], [there, here]) or (-1, np.zeros(3))
    assert cube in (0, 1)
    assert (TABLE[0] <= place[:2]).all() and (place[:2] <= TABLE[1]).all()
    assert place[2] == 0.02
    for taken in (here, there):
        assert np.linalg.norm(place[:2] - taken[:2]) >= 0.1


def test_the_top_cube_of_an_obstacle_moves_first() -> None:
    # Cube 0's place is taken by cube 1, on which cube 2 lies; those two want to change places.
    cubes = [[0.4, 0.2, 0.02], [0.4, 0.0, 0.02], [0.4, 0.0, 0.06]]
    goals = [[0.4, 0.0, 0.02], [0.4, 0.0, 0.10], [0.4, 0.0, 0.06]]
    cube, place = first_move(cubes, goals) or (-1, np.zeros(3))
    assert cube == 2
    assert np.linalg.norm(place[:2] - [0.4, 0.0]) >= 0.1
