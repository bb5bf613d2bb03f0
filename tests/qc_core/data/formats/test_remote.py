"""Sources in object storage give the same dataset as the files themselves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.formats.locate import is_path, without_path
from qc_core.data.formats.remote import fetch_remote, upload_source
from qc_core.data.ingest import check_sources, ingest
from qc_core.errors import UsageError
from qc_core.store.open import open_store


def taken_from(config: Config, source: str) -> Config:
    return replace(config, data=replace(config.data, source=(source,)))


def test_folder_of_a_bucket_is_ingested(
    s3_store: str, config: Config, dataset: Path, tmp_path: Path
) -> None:
    source = upload_source(dataset, open_store())
    key = source.removeprefix("store:")
    for name in (source, f"{s3_store}/{key}", f"{s3_store}/{key}/"):
        output = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        ingest(taken_from(config, name), output)
        assert open_dataset(output).digest == open_dataset(dataset).digest


def test_file_of_a_bucket_is_downloaded_with_its_name(s3_store: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    file.write_bytes(b"episodes")
    source = upload_source(file, open_store())
    assert source.startswith("store:data/") and source.endswith("/mine.npz")
    fetched = fetch_remote(source, tmp_path / "scratch")
    assert fetched.name == "mine.npz" and fetched.read_bytes() == b"episodes"


def test_same_content_is_uploaded_once(s3_store: str, dataset: Path) -> None:
    store = open_store()
    assert upload_source(dataset, store) == upload_source(dataset, store)


def test_interrupted_upload_is_repeated(
    s3_store: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    source = upload_source(dataset, store)
    key = source.removeprefix("store:")
    store.delete(f"{key.rpartition('/')[0]}/complete")
    store.delete(f"{key}/rewards.npy")
    upload_source(dataset, store)
    assert f"{key}/rewards.npy" in store.keys(f"{key}/")


def test_missing_source_is_refused_before_the_run_starts(s3_store: str, config: Config) -> None:
    for name in (f"{s3_store}/nowhere.npz", "store:data/0/nowhere.npz"):
        with pytest.raises(UsageError, match=r"nowhere\.npz does not exist in the object store"):
            check_sources(taken_from(config, name))
    with pytest.raises(UsageError, match="must be s3://bucket/path"):
        check_sources(taken_from(config, "s3://bucket"))


def test_own_keys_and_server_of_the_data_are_used_for_buckets_of_data_only(
    s3_store: str,
    s3_endpoint: str,
    config: Config,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = f"{s3_store}/{upload_source(dataset, open_store()).removeprefix('store:')}"
    # The store is elsewhere, and does not know these keys.
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("QC_DATA_S3_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("QC_DATA_ACCESS_KEY_ID", "data")
    with pytest.raises(UsageError, match="set both QC_DATA_ACCESS_KEY_ID and QC_DATA_SECRET"):
        check_sources(taken_from(config, source))
    monkeypatch.setenv("QC_DATA_SECRET_ACCESS_KEY", "datadata")
    ingest(taken_from(config, source), tmp_path / "copy")
    assert open_dataset(tmp_path / "copy").digest == open_dataset(dataset).digest


def test_data_in_a_volume_claim_are_read_where_it_is_mounted(
    config: Config, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "pvc://robots/day one"
    with pytest.raises(UsageError, match="the volume claim robots is not mounted here; compile or"):
        check_sources(taken_from(config, source))
    monkeypatch.setenv("QC_CLAIMS", str(tmp_path / "claims"))
    shutil.copytree(dataset, tmp_path / "claims" / "robots" / "day one")
    ingest(taken_from(config, source), tmp_path / "copy")
    assert open_dataset(tmp_path / "copy").digest == open_dataset(dataset).digest
    for wrong in ("pvc://robots/nowhere", "pvc://robots/../robots/day one", "pvc:///x"):
        with pytest.raises(UsageError, match=r"nowhere does not exist|must be pvc://CLAIM/path"):
            check_sources(taken_from(config, wrong))


def test_columns_of_data_that_are_elsewhere_can_be_chosen(s3_store: str, config: Config) -> None:
    open_store().put("mine.npz", b"")
    chosen = taken_from(config, f"{s3_store}/mine.npz")
    check_sources(replace(chosen, data=replace(chosen.data, action=("a",), success="reward")))


@pytest.mark.parametrize("source", ["collect", "ogbench:x", "minari:x", "store:episodes"])
def test_words_are_no_paths(source: str) -> None:
    assert not is_path(source) and without_path(source) == source


def test_remote_sources_are_no_paths_and_files_are() -> None:
    assert not is_path("pvc://claim/x.npz")
    assert not is_path("s3://b/x.npz") and not is_path("store:data/1/x.npz")
    assert is_path("/tmp/x.npz") and without_path("/tmp/x.npz") == "x.npz"
