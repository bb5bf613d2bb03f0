"""Episodes in which the cube becomes unreachable are detected."""

import numpy as np
import pytest

from qc_core.data.collection.scene import cube_stays_reachable


@pytest.mark.parametrize(
    ("cube", "seen"),
    [
        ((0.4, 0.1, 0.02), True),
        ((0.33, -0.35, 0.066), True),  # in the closed drawer
        ((0.33, -0.35, 0.02), False),  # beside it
        ((0.4, 0.3, 0.02), False),
        ((0.4, np.nan, np.nan), False),
    ],
)
def test_a_cube_is_reachable_on_the_table_and_in_the_drawer(
    cube: tuple[float, ...], seen: bool
) -> None:
    qpos = np.zeros((3, 25))
    qpos[:, 14:17] = (0.4, 0.0, 0.02)
    qpos[1, 14:17] = cube
    assert cube_stays_reachable(qpos) is seen
