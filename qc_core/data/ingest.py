"""From wherever the episodes are to a data set folder."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

from qc_core.data import ogbench_npz
from qc_core.data.collect.collect import collect_episodes
from qc_core.data.collect.families import require_collectable
from qc_core.data.dataset import (
    ARRAYS,
    MANIFEST,
    VALIDATION,
    DatasetWriter,
    open_dataset,
    require_match,
)
from qc_core.data.download import fetch_official
from qc_core.envs.make import describe
from qc_core.envs.spec import EnvironmentSpec
from qc_core.errors import WrongUse
from qc_core.files import require_vacant, sha256_of, staged_folder
from qc_core.progress import Progress, say
from qc_core.recipes.config import Config
from qc_core.seeds import seeds_for


def ingest(config: Config, output: Path) -> None:
    """Write a data set folder for `config.environment` from `config.data.source`.

    The same seed gives the same digest, whatever the number of workers.

    Raises:
        WrongUse: a source that does not exist, is damaged or does not fit the environment.
        WorkFailed: a download that did not come through.
    """
    require_vacant(output)
    source = config.data.source
    spec = describe(config.environment)
    if not np.allclose((spec.action_low, spec.action_high), ([-1.0], [1.0])):
        raise WrongUse(f"{spec.id}: actions must lie in [-1, 1], its bounds are others")
    if source == "collect":
        _collect(config, spec, output)
    elif source == "ogbench":
        _convert(fetch_official(config.environment), spec, output, origin="ogbench")
    elif _is_dataset(source):
        _copy(Path(source), spec, output)
    else:
        _convert(Path(source), spec, output, origin="file")
    manifest = open_dataset(output).manifest
    say(
        f"data set: {manifest['transitions']:,} transitions in {manifest['episodes']:,} episodes, "
        f"digest {manifest['digest'][:12]}"
    )


def _is_dataset(source: str) -> bool:
    try:
        return (Path(source) / MANIFEST).exists()
    except (OSError, ValueError) as error:
        raise WrongUse(f"{source[:200]!r} cannot be the path of a data set: {error}") from error


def _collect(config: Config, spec: EnvironmentSpec, output: Path) -> None:
    require_collectable(spec.id)
    count = config.data.episodes
    seeds = seeds_for("collect", config.seed, count)
    with staged_folder(output) as staging, Progress(count, "collecting", "episode") as progress:
        writer = DatasetWriter(staging, spec)
        solved = 0
        workers = min(config.data.workers, count)
        collected = collect_episodes(
            spec.id, seeds, collection=config.data.collection, workers=workers
        )
        for done, episode in enumerate(collected, 1):
            writer.append(episode)
            # Random goals may pass by the task's goal, and go on.
            solved += int((episode.masks == 0).any())
            progress.update(note=f"{solved / done:.0%} solved")
        writer.finish(
            {
                "kind": "collect",
                "collection": config.data.collection,
                "episodes": count,
                "seed": config.seed,
            },
            mujoco_version=version("mujoco"),
        )


def _convert(path: Path, spec: EnvironmentSpec, output: Path, *, origin: str) -> None:
    with staged_folder(output) as staging:
        _convert_one(path, spec, staging, origin)
        if (validation := ogbench_npz.validation_file(path)) is not None:
            _convert_one(validation, spec, staging / VALIDATION, origin)


def _convert_one(path: Path, spec: EnvironmentSpec, folder: Path, origin: str) -> None:
    writer = DatasetWriter(folder, spec)
    ogbench_npz.convert(path, spec, writer)
    writer.finish({"kind": origin, "file": path.name, "file-sha256": sha256_of(path)})


def _copy(source: Path, spec: EnvironmentSpec, output: Path) -> None:
    """A data set folder is taken as it is, once its checksums are right."""
    dataset = open_dataset(source, verify=True)
    require_match(dataset, spec)
    with staged_folder(output) as staging:
        _copy_one(source, staging)
        if dataset.validation is not None:
            open_dataset(source / VALIDATION, verify=True)
            _copy_one(source / VALIDATION, staging / VALIDATION)


def _copy_one(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in (MANIFEST, *(f"{array}.npy" for array in ARRAYS)):
        shutil.copyfile(source / name, target / name)
