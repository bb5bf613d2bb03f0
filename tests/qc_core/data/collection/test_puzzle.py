"""Every solvable light pattern is solved with the fewest presses."""

import numpy as np
import pytest

from qc_core.data.collection.puzzle import solve


def press(buttons_RC: np.ndarray) -> np.ndarray:
    """The lights that these presses turn over, button by button."""
    rows, columns = buttons_RC.shape
    lights = np.zeros((rows, columns), bool)
    for row, column in np.argwhere(buttons_RC):
        for r, c in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            if 0 <= row + r < rows and 0 <= column + c < columns:
                lights[row + r, column + c] ^= True
    return lights


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (4, 5), (4, 6)])
def test_random_patterns_are_solved(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        pressed = rng.uniform(size=shape) < 0.5
        solution = solve(press(pressed))
        np.testing.assert_array_equal(press(solution), press(pressed))
        assert solution.sum() <= pressed.sum()


def test_the_solution_with_fewest_presses_is_chosen() -> None:
    # On 4x4 each pattern has 16 solutions; this one's are known from its making.
    one_press = np.zeros((4, 4), bool)
    one_press[1, 2] = True
    np.testing.assert_array_equal(solve(press(one_press)), one_press)


def test_unsolvable_lights_raise_value_error() -> None:
    single_light = np.zeros((4, 4), bool)
    single_light[0, 0] = True
    with pytest.raises(ValueError, match="no presses"):
        solve(single_light)
