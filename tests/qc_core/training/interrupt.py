"""Trainings that are broken off."""

from __future__ import annotations


class Interrupt:
    """In place of `Progress.update`: interrupts a training in its so many-th step."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, count: int = 1, *_: object, **__: object) -> None:
        self._left -= count
        if self._left == 0:
            raise KeyboardInterrupt
