"""The part of a data set that updates draw from."""

from __future__ import annotations

from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.shards import Shards


class ShardBuffer:
    """Offline transitions whose parts take turns.

    Where a part is put in the place of the one before, as on CUDA, it is held twice until the next
    one comes: with the next one, which is read meanwhile, three parts are on the device.

    Attributes:
        transitions: of the part that is there.
    """

    def __init__(self, slices: Shards[OfflineData]) -> None:
        self._slices = slices
        self._part = self.transitions = slices.at(1)

    def advance(self, update: int, *, in_place: bool) -> bool:
        """Have there what an update draws from, the first being 1.

        Args:
            in_place: put a part that follows in the place of the one before, where what was
                recorded on a device finds it, if there is room.

        Returns:
            Whether `transitions` are now others, in another place.
        """
        part = self._slices.at(update)
        if part is self._part:
            return False
        before, self._part = self.transitions, part
        self.transitions = before.holding(part) if in_place else part
        return self.transitions is not before
