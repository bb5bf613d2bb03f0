"""Holds the shard of a dataset that updates sample from."""

from __future__ import annotations

from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.shards import Shards


class ShardBuffer:
    """Offline transitions, one shard at a time.

    If shards are copied in place, as for CUDA graphs, the device holds up to three shards: the
    copy, its source, and the next shard, which is loaded in the background.

    Attributes:
        transitions: the current shard.
    """

    def __init__(self, shards: Shards[OfflineData]) -> None:
        self._shards = shards
        self._shard = self.transitions = shards.shard_at(1)

    def advance(self, update: int, *, in_place: bool) -> bool:
        """Make the shard of an update current; the first update is 1.

        Args:
            in_place: copy a new shard into the tensors of the current one if it fits, so that a
                recorded CUDA graph finds it.

        Returns:
            Whether `transitions` is now a different object with different tensors.
        """
        shard = self._shards.shard_at(update)
        if shard is self._shard:
            return False
        before, self._shard = self.transitions, shard
        self.transitions = before.load_from(shard) if in_place else shard
        return self.transitions is not before
