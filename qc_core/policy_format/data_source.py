"""Where the episodes of a dataset came from, as datasets, checkpoints and policies record it."""

from __future__ import annotations

from msgspec import field

from qc_core.documents import Document


class DataSummary(Document, frozen=True, kw_only=True):
    """Kind, size and digest of one source of episodes; None where it is unknown.

    Attributes:
        digest: SHA-256 over the checksums of all arrays of the dataset.
    """

    kind: str | None
    transitions: int | None
    episodes: int | None
    digest: str | None


class DataSource(DataSummary, frozen=True, kw_only=True, omit_defaults=True):
    """One source of episodes, or several that were joined. Only known fields are written.

    Attributes:
        files: SHA-256 of each file that was read, by name.
        collection: how a scripted oracle collected episodes in a simulator.
        demonstrator: `module:function` of the user's demonstrator that collected them.
        seed: of the collection.
        dataset: Minari's id of the dataset.
        minari_version: of the Minari release that wrote it.
        codebase_version: of the LeRobot format.
        demonstrations: number of robomimic demonstrations.
        filter: robomimic's filter key.
        sources: the sources that were joined; empty for one source.
    """

    kind: str | None = None
    transitions: int | None = None
    episodes: int | None = None
    digest: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    collection: str | None = None
    demonstrator: str | None = None
    seed: int | None = None
    dataset: str | None = None
    minari_version: str | None = None
    codebase_version: str | None = None
    demonstrations: int | None = None
    filter: str | None = None
    sources: tuple[DataSource, ...] = ()

    @property
    def parts(self) -> tuple[DataSource, ...]:
        """The sources that were joined, or this one if it is the only one."""
        return self.sources or (self,)

    def summary(self) -> DataSummary:
        return DataSummary(
            kind=self.kind,
            transitions=self.transitions,
            episodes=self.episodes,
            digest=self.digest,
        )
