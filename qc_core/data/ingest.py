"""Writes a dataset folder from the sources that a configuration names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from qc_core import documents
from qc_core.config.settings import ROBOT, Config
from qc_core.data.clipping import Clipping
from qc_core.data.collection.collect import (
    collect_demonstrations,
    collect_episodes,
    require_demonstrator,
)
from qc_core.data.dataset.columns import ARRAYS
from qc_core.data.dataset.dataset import (
    REWARD_OF_SOURCE,
    SOLVED_FILE,
    VALIDATION_FOLDER,
    DatasetWriter,
    open_dataset,
    require_environment,
)
from qc_core.data.dataset.info import INFO_FILE, DatasetInfo, unrewarded
from qc_core.data.extremes import extreme_values
from qc_core.data.formats.claims import claim_path, is_claim
from qc_core.data.formats.dataset_folder import require_complete_episodes
from qc_core.data.formats.demonstrations import open_demonstrations
from qc_core.data.formats.download import fetch_official, official_name
from qc_core.data.formats.lerobot import open_lerobot
from qc_core.data.formats.locate import SourceKind, kind_of, name_in
from qc_core.data.formats.minari_dataset import open_minari
from qc_core.data.formats.ogbench_npz import open_ogbench
from qc_core.data.formats.remote import fetch_remote, is_remote, require_remote
from qc_core.data.formats.robomimic_hdf5 import open_robomimic
from qc_core.data.formats.source import Source
from qc_core.data.formats.steps_file import is_steps, open_steps
from qc_core.data.hold_out import hold_out
from qc_core.data.join import join
from qc_core.data.uploads.episodes import NoEpisodes, fetched_episodes
from qc_core.envs.episode_result import any_reports_success, format_score
from qc_core.envs.make import describe
from qc_core.envs.registry import has_simulator
from qc_core.errors import UsageError
from qc_core.files import require_space, require_vacant, sha256_of, staged_folder, writing_to
from qc_core.log import log
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.progress import Progress
from qc_core.scratch import STAGED, temporary_folder
from qc_core.seeds import seeds_for
from qc_core.store.open import open_store


def ingest(config: Config, output: Path) -> DatasetInfo:
    """Write a dataset folder for `config.environment` from the sources of `config.data`.

    The same seed gives the same digest for any number of workers. Several sources are written to
    separate datasets, which are then joined in order.

    Returns:
        The content of `dataset.json`.

    Raises:
        UsageError: a source does not exist, is damaged, belongs to another environment or does not
            fit the others.
        RunError: a download failed, or the disk is full.
    """
    require_vacant(output, staged=True)
    kinds = check_sources(config)
    if has_simulator(config.environment):
        read_sources(config, kinds, output)
    else:
        # Without a simulator, policies are evaluated on episodes that they were not trained on.
        with _scratch_next_to(output) as scratch:
            read_sources(config, kinds, scratch / "all")
            hold_out(open_dataset(scratch / "all"), output)
    dataset = open_dataset(output)
    info = dataset.info
    if warning := unrewarded(info):
        log.warning(warning)
    for warning in extreme_values(dataset):
        log.warning(warning)
    log.info(
        f"dataset: {info.transitions:,} transitions in {info.episodes:,} episodes, "
        f"digest {info.digest[:12]}"
    )
    return info


def check_sources(config: Config) -> list[SourceKind]:
    """Return the kind of each source, without reading its content.

    Raises:
        UsageError: a source does not exist, is named twice, or cannot be collected; an option
            belongs to another kind of source.
    """
    sources, data = config.data.source, config.data
    kinds: list[SourceKind] = [kind_of(source) for source in sources]
    if len(set(sources)) < len(sources):
        raise UsageError(f"--data names a source twice: {' '.join(sources)}")
    for source in sources:
        if is_remote(source):
            require_remote(source)
        elif is_claim(source):
            kind_of(str(claim_path(source)))
    # The content of a remote source is not known yet.
    elsewhere = {"remote", "claim"}
    if data.filter and not {"robomimic", *elsewhere} & set(kinds):
        raise UsageError("--data.filter chooses demonstrations of a robomimic file: give one")
    if data.demonstrator and "collect" not in kinds:
        raise UsageError("--data.demonstrator collects episodes: give --data collect")
    files = {"lerobot", "npz", "robomimic", *elsewhere} & set(kinds)
    if (data.observation or data.action) and not files:
        raise UsageError(
            "--data.observation and --data.action choose columns of LeRobot folders and of your "
            "own files: give one"
        )
    if data.success != "auto" and not files and "minari" not in kinds:
        raise UsageError("--data.success decides about recorded files: give one")
    if "collect" in kinds:
        require_demonstrator(config.environment, data.demonstrator)
    return kinds


def read_sources(config: Config, kinds: Sequence[SourceKind], output: Path) -> None:
    """Write all episodes of the sources to a dataset folder, without holding any out.

    Args:
        kinds: what `check_sources` returned.
    """
    sources = config.data.source
    if len(sources) == 1:
        _ingest_one(config, kinds[0], sources[0], output)
    else:
        _ingest_several(config, kinds, output)


def _ingest_several(config: Config, kinds: Sequence[SourceKind], output: Path) -> None:
    with _scratch_next_to(output) as scratch:
        parts = []
        for source, kind in zip(config.data.source, kinds, strict=True):
            part = scratch / str(len(parts))
            try:
                _ingest_one(config, kind, source, part)
            except NoEpisodes as error:
                log.info(str(error))
                continue
            parts.append((source, open_dataset(part)))
        with staged_folder(output) as staging:
            require_space(staging, sum(_bytes_in(part.folder) for _, part in parts))
            join(parts, staging)
            held_out = [(name, part.validation) for name, part in parts]
            validation = [(name, part) for name, part in held_out if part is not None]
            if validation:
                join(validation, staging / VALIDATION_FOLDER)


def _ingest_one(config: Config, kind: SourceKind, source: str, output: Path) -> None:
    if kind == "collect":
        _collect(config, output)
    elif kind == "dataset":
        _copy(Path(source), config.environment, output)
    elif kind == "store":
        with (
            _scratch_next_to(output) as scratch,
            fetched_episodes(open_store(), config, scratch) as uploaded,
        ):
            _write(replace(uploaded, kind=kind, name=source), config, output)
    elif kind == "remote":
        with _scratch_next_to(output) as scratch:
            _ingest_path(fetch_remote(source, scratch), source, config, output)
    elif kind == "claim":
        _ingest_path(claim_path(source), source, config, output)
    else:
        _write(open_source(kind, source, config, config.environment), config, output)


def _ingest_path(path: Path, source: str, config: Config, output: Path) -> None:
    """Write the dataset of a path that has another name outside of this machine."""
    if (kind := kind_of(str(path))) == "dataset":
        _copy(path, config.environment, output)
    else:
        opened = open_source(kind, str(path), config, config.environment)
        _write(replace(opened, name=source), config, output)


@contextmanager
def _scratch_next_to(output: Path) -> Iterator[Path]:
    """Make a temporary folder on the disk of the output."""
    parent = output.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {parent}: {error.strerror}") from error
    with writing_to(parent), temporary_folder(parent, f".{output.name}.{STAGED}") as scratch:
        yield scratch


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def _collect(config: Config, output: Path) -> None:
    spec = describe(config.environment, config.control_interval)
    with staged_folder(output) as staging:
        writer = DatasetWriter(staging, spec)
        if config.data.demonstrator:
            _collect_demonstrations(config, writer)
        else:
            _collect_from_oracle(config, writer)


def _collect_from_oracle(config: Config, writer: DatasetWriter) -> None:
    count = config.data.episodes
    done = solved = 0
    with Progress(count, "collecting", "episode") as progress:
        collected = collect_episodes(
            config.environment,
            seeds_for("collect", config.seed, count),
            collection=config.data.collection,
            workers=min(config.data.workers, count),
        )
        for done, episode in enumerate(collected, 1):
            writer.append(episode)
            # An episode with random goals may continue after it reached the task's goal.
            solved += int((episode.masks == 0).any())
            progress.update(note=f"{solved / done:.0%} solved")
        writer.finish(
            DataSource(
                kind="collect", collection=config.data.collection, episodes=done, seed=config.seed
            ),
            mujoco_version=version("mujoco"),
        )


def _collect_demonstrations(config: Config, writer: DatasetWriter) -> None:
    count, demonstrator = config.data.episodes, config.data.demonstrator
    results: list[EpisodeResult] = []
    clipped = 0
    with Progress(count, "collecting", "episode") as progress:
        collected = collect_demonstrations(
            config.environment,
            demonstrator,
            seeds_for("collect", config.seed, count),
            workers=min(config.data.workers, count),
        )
        for episode in collected:
            writer.append(episode.episodes)
            results.append(episode.result)
            clipped += episode.clipped
            progress.update(note=format_score(results))
        writer.finish(
            DataSource(
                kind="collect",
                demonstrator=demonstrator,
                episodes=len(results),
                seed=config.seed,
            ),
            reward_convention=REWARD_OF_SOURCE,
            reports_success=any_reports_success(results),
        )
    if clipped:
        total = sum(result.steps for result in results)
        log.info(
            f"{demonstrator}: {clipped:,} of {total:,} actions were outside the bounds of "
            f"{config.environment}; the nearest actions within them were executed and recorded"
        )


def open_source(kind: SourceKind, source: str, config: Config, environment: str | None) -> Source:
    """Open a source that is read from files.

    Args:
        environment: that the data are read for; None if only the source may name it.

    Raises:
        UsageError: the source is damaged or does not fit.
    """
    if kind == "minari":
        return open_minari(name_in(source), config)
    if kind == "ogbench":
        name = official_name(config.environment, name_in(source))
        return open_ogbench(fetch_official(name), config.environment)
    path = Path(source)
    if kind == "lerobot":
        return open_lerobot(path, config.data)
    if is_steps(path, environment):
        return open_steps(path, config, environment)
    if kind == "robomimic" and environment is not None and environment.startswith(ROBOT):
        return open_demonstrations(path, config, environment)
    if config.data.observation or config.data.action:
        raise UsageError(
            f"{path} has the columns of its environment: leave out --data.observation and "
            "--data.action"
        )
    if kind == "robomimic":
        return open_robomimic(path, config.data)
    if config.data.success != "auto":
        raise UsageError(
            f"{path} has no rewards of its own, they come from the task: leave out --data.success"
        )
    return open_ogbench(path, environment or config.environment)


def _write(source: Source, config: Config, output: Path) -> None:
    require_environment(source.name, source.spec.id, config.environment)
    if not source.spec.control_interval:
        raise UsageError(
            f"{source.name}: the control interval of {source.spec.id} is unknown: give it with "
            "--control-interval SECONDS"
        )
    for note in source.notes:
        log.info(f"{source.name}: {note}")
    with staged_folder(output) as staging:
        parts = {staging: source}
        if source.validation is not None:
            parts[staging / VALIDATION_FOLDER] = source.validation
        require_space(staging.parent, sum(map(_bytes_of, parts.values())))
        for folder, part in parts.items():
            # Bounds from the data exclude only a few outliers.
            allowed = 1.0 if source.bounds_from_data else config.data.max_clipped
            _write_one(part, folder, allowed)


def _write_one(source: Source, folder: Path, max_clipped: float) -> None:
    writer = DatasetWriter(folder, source.spec)
    clipping = Clipping(source.name, source.spec)
    steps = 0
    with ThreadPoolExecutor(1, thread_name_prefix="checksums") as hashing:
        checksums = {name: hashing.submit(sha256_of, path) for name, path in source.files.items()}
        try:
            with Progress(source.rows, f"reading {source.name}", "row") as progress:
                for block in source.read():
                    writer.append(replace(block, actions=clipping(block.actions)))
                    steps += len(block.actions)
                    # `rows` is an upper limit: so many cannot become a small share.
                    clipping.require(max_clipped, source.rows)
                    progress.update(len(block.observations))
            clipping.require(max_clipped, steps)
        except BaseException:
            hashing.shutdown(cancel_futures=True)
            raise
        files = {name: checksum.result() for name, checksum in checksums.items()}
    for note in clipping.notes():
        log.info(f"{source.name}: {note}")
    writer.finish(
        documents.convert(
            {"kind": source.kind, **source.origin, "files": files}, DataSource, source.name
        ),
        reward_convention=source.reward_convention,
        reports_success=source.reports_success,
    )


def _bytes_of(source: Source) -> int:
    """Return the disk space in bytes that a source needs as a dataset."""
    numbers = source.spec.observation_size + source.spec.action_size + len(ARRAYS) - 2
    return 4 * numbers * source.rows


def _copy(source: Path, environment: str, output: Path) -> None:
    """Copy a dataset folder after checking its checksums and its rows."""
    dataset = open_dataset(source, verify=True)
    require_environment(str(source), dataset.spec.id, environment)
    require_complete_episodes(dataset)
    with staged_folder(output) as staging:
        _copy_one(source, staging)
        if dataset.validation is not None:
            require_complete_episodes(open_dataset(source / VALIDATION_FOLDER, verify=True))
            _copy_one(source / VALIDATION_FOLDER, staging / VALIDATION_FOLDER)


def _copy_one(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in (INFO_FILE, *(f"{array}.npy" for array in ARRAYS)):
        shutil.copyfile(source / name, target / name)
    if (source / SOLVED_FILE).exists():
        shutil.copyfile(source / SOLVED_FILE, target / SOLVED_FILE)
