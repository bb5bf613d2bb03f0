"""For simulators that draw from NumPy's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def global_numpy_seed(seed: int) -> Iterator[None]:
    """Lend NumPy's global generator a seed, and leave it afterwards as it was found."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
