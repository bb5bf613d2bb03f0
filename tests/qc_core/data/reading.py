"""Reads sources as `ingest` does, but holds no episode out."""

from pathlib import Path

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.dataset.info import DatasetInfo
from qc_core.data.ingest import check_sources, read_sources


def read_all(config: Config, output: Path) -> DatasetInfo:
    """Write every episode to one dataset folder, also of a robot without a simulator."""
    read_sources(config, check_sources(config), output)
    return open_dataset(output).info
