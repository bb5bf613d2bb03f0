"""Both stores hold policies complete or not at all; damage is refused by name."""

import hashlib
import json
import shutil
import traceback
from pathlib import Path
from typing import Any

import pytest

from qc_core.errors import QCError, RunError, UsageError
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.registry.registry import Registry
from qc_core.runtime import ChunkPolicy
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store


def test_a_published_policy_is_pulled_and_runs(
    registry: Registry, policy: Path, tmp_path: Path
) -> None:
    version = registry.publish(policy, "cube")
    registry.set_alias("cube", "champion", version)
    for reference in ("cube", "cube@champion", f"cube:{version}"):
        target = tmp_path / reference.replace(":", "-")
        assert registry.pull(reference, target) == ("cube", version)
        for path in policy.iterdir():
            assert (target / path.name).read_bytes() == path.read_bytes()
        ChunkPolicy.load(target)


def test_versions_and_aliases_are_listed(registry: Registry, policy: Path) -> None:
    assert registry.versions() == []
    version = registry.publish(policy, "cube")
    registry.set_alias("cube", "latest", version)
    registry.set_alias("cube", "champion", version)
    registry.publish(policy, "other")
    with pytest.raises(UsageError, match=r"no policy 'cubee'.*Did you mean cube\?"):
        registry.versions("cubee")
    first, second = registry.versions()
    assert (first.name, first.version, first.aliases) == ("cube", version, ("champion", "latest"))
    assert (second.name, second.aliases) == ("other", ())
    assert [entry.name for entry in registry.versions("other")] == ["other"]


def test_a_version_without_its_manifest_does_not_exist(
    registry: Registry, store: ObjectStore, policy: Path
) -> None:
    for path in policy.iterdir():
        store.put_file(f"policies/cube/versions/unfinished/{path.name}", path)
    assert registry.versions() == []
    with pytest.raises(UsageError, match="no version 'unfinished'"):
        registry.set_alias("cube", "latest", "unfinished")


def test_damaged_objects_are_refused_by_name(
    registry: Registry, store: ObjectStore, policy: Path, tmp_path: Path
) -> None:
    version = registry.publish(policy, "cube")
    key = f"policies/cube/versions/{version}/policy.onnx"
    whole = store.get(key)
    store.put(key, whole[:-1])
    with pytest.raises(RunError, match=rf"policy\.onnx is truncated: {len(whole)} bytes"):
        registry.pull(f"cube:{version}", tmp_path / "pulled")
    store.put(key, bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(RunError, match=r"policy\.onnx is altered"):
        registry.pull(f"cube:{version}", tmp_path / "pulled")
    store.put(f"policies/cube/versions/{version}/manifest.json", b"{]")
    with pytest.raises(RunError, match=r"manifest\.json .* is damaged"):
        registry.pull(f"cube:{version}", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def test_using_the_latest_version_without_a_champion_is_logged(
    registry: Registry, small_policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = registry.publish(small_policy, "cube")
    registry.set_alias("cube", "latest", version)
    assert registry.resolve("cube") == ("cube", version)
    assert "cube has no champion: using its latest version" in capsys.readouterr().err
    registry.resolve("cube@latest")
    registry.set_alias("cube", "champion", version)
    registry.resolve("cube")
    assert capsys.readouterr().err == ""


def test_an_invalid_name_is_refused_with_the_allowed_characters(
    registry: Registry, small_policy: Path
) -> None:
    registry.publish(small_policy, "small_cube")
    with pytest.raises(UsageError, match=r"the alias has up to 100 .* underscores, .* got 'Best'"):
        registry.set_alias("small_cube", "Best", "any")


@pytest.mark.parametrize(
    "reference",
    ["none", "none@champion", "cube@none", "cube:none", "", "a@b@c", "../x", "cube@../x", "A"],
)
def test_an_unknown_reference_is_one_line(
    registry: Registry, policy: Path, tmp_path: Path, reference: str
) -> None:
    registry.set_alias("cube", "latest", registry.publish(policy, "cube"))
    with pytest.raises(UsageError) as refusal:
        registry.pull(reference, tmp_path / "pulled")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "pulled").exists()


def test_an_incomplete_policy_folder_is_not_published(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a policy folder"):
        registry.publish(tmp_path, "cube")
    assert registry.versions() == []


def test_an_unwritable_store_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QC_STORE", str(tmp_path / "file" / "store"))
    with pytest.raises(UsageError, match="cannot be written"):
        Registry(open_store()).publish(policy, "cube")
    with pytest.raises(UsageError, match="cannot be written"):
        open_store().require_writable()
    with pytest.raises(UsageError, match="cannot be a folder"):
        open_store().check()


def test_the_write_probe_leaves_no_object(store: ObjectStore) -> None:
    store.require_writable()
    assert list(store.keys("")) == []


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"policy.onnx": {}}},
        {"success": "high"},
        {"name": None},
        {"version": 3},
        {"data": ["collect"]},
        {"data": [{"digest": "a", "transitions": 80, "episodes": 2}]},
    ],
)
def test_an_invalid_manifest_is_damage(
    registry: Registry,
    store: ObjectStore,
    small_policy: Path,
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    version = registry.publish(small_policy, "cube")
    key = f"policies/cube/versions/{version}/manifest.json"
    store.put(key, json.dumps({**json.loads(store.get(key)), **change}).encode())
    with pytest.raises(RunError, match=r"manifest\.json .* is damaged"):
        registry.pull(f"cube:{version}", tmp_path / "pulled")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000])
def test_a_damaged_version_is_logged_and_the_others_are_listed(
    registry: Registry,
    store: ObjectStore,
    small_policy: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    damaged, whole = (registry.publish(small_policy, "cube", run_id=run) for run in ("1", "2"))
    store.put(f"policies/cube/versions/{damaged}/manifest.json", content)
    assert [entry.version for entry in registry.versions("cube")] == [whole]
    told = capsys.readouterr().err
    assert "is damaged" in told and f"`qc policies delete cube:{damaged}` removes" in told
    plain = {"signed": False, "checkpoint": False}
    assert registry.published_by("2", small_policy, "cube", **plain) == whole
    assert registry.published_by("1", small_policy, "cube", **plain) is None
    with pytest.raises(RunError, match="is damaged"):
        registry.details(f"cube:{damaged}")


def test_a_published_contract_that_is_not_json_is_named(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    prefix, content = f"policies/cube/versions/{version}/", b"[" * 100_000
    manifest = json.loads(store.get(prefix + "manifest.json"))
    manifest["files"]["policy.json"]["sha256"] = hashlib.sha256(content).hexdigest()
    store.put(prefix + "policy.json", content)
    store.put(prefix + "manifest.json", json.dumps(manifest).encode())
    with pytest.raises(RunError, match=r"policy\.json in .* is not readable JSON"):
        registry.details(f"cube:{version}")


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"version": "../../x"}', b"\xff", b"[" * 100_000]
)
def test_an_invalid_alias_is_refused(
    registry: Registry, store: ObjectStore, policy: Path, tmp_path: Path, content: bytes
) -> None:
    registry.set_alias("cube", "latest", registry.publish(policy, "cube"))
    store.put("policies/cube/aliases/latest.json", content)
    with pytest.raises(RunError, match="is not an alias"):
        registry.pull("cube@latest", tmp_path / "pulled")


def test_an_incomplete_contract_is_not_published(
    registry: Registry, store: ObjectStore, policy: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    (copy / "policy.json").write_text('{"schema-version": 1}')
    write_checksums(copy)
    with pytest.raises(UsageError, match=r"policy\.json is damaged"):
        registry.publish(copy, "cube")
    assert list(store.keys("policies/")) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"QC_STORE": "gs://bucket/x"},
        {"QC_STORE": "s3://b/x", "QC_S3_ENDPOINT": "http://h:99999"},
        {"QC_STORE": "s3://b/x", "QC_S3_ENDPOINT": "http://h/path"},
        {"QC_STORE": "s3://b/x", "AWS_ACCESS_KEY_ID": "k"},
        {"QC_STORE": "s3://["},
        {"QC_STORE": "s3://b/x", "QC_S3_ENDPOINT": "http://["},
    ],
)
def test_invalid_settings_are_usage_errors(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QC_S3_TIMEOUT", "0.3")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError):
        open_store().check()


def test_s3_errors_name_what_is_missing(s3_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store().check()
    monkeypatch.setenv("QC_STORE", "s3://no-such-bucket/x")
    with pytest.raises(UsageError, match="has no bucket no-such-bucket"):
        open_store().check()
    with pytest.raises(UsageError, match="has no bucket"):
        Registry(open_store()).versions()
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QC_S3_TIMEOUT", "0.3")
    with pytest.raises(RunError, match="does not answer"):
        open_store().check()
    for location, endpoint in (
        ("s3://", "http://x"),
        ("s3://b", "ftp://x"),
        ("s3://b", "nonsense"),
    ):
        monkeypatch.setenv("QC_STORE", location)
        monkeypatch.setenv("QC_S3_ENDPOINT", endpoint)
        with pytest.raises(UsageError):
            open_store()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QC_STORE", "s3://key:{}@bucket/x"),
        ("QC_STORE", "s3://key:{}/with/slashes@bucket/x"),
        ("QC_STORE", "s3://{}@bucket/x"),
        ("QC_STORE", "s3://key:{}@bucket]/x"),
        ("QC_STORE", "s3://key:{}@bucket\u2100/x"),
        ("QC_STORE", "s3a://key:{}@bucket/x"),
        ("QC_S3_ENDPOINT", "http://key:{}@host:9000"),
        ("QC_S3_ENDPOINT", "http://key:{}/with/slashes@host:9000"),
        ("QC_S3_ENDPOINT", "ftp://key:{}@host"),
    ],
)
def test_keys_in_an_address_are_refused_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("QC_STORE", "s3://bucket/x")
    monkeypatch.setenv(variable, value.format("very-secret"))
    with pytest.raises(UsageError, match=f"{variable} must be ") as refusal:
        open_store()
    assert "very-secret" not in "".join(traceback.format_exception(refusal.value))


def test_no_error_shows_a_secret(s3_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "very-secret-key"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QC_S3_TIMEOUT", "0.3")
    with pytest.raises(QCError) as refusal:
        open_store().check()
    assert secret not in str(refusal.value)
    assert secret not in open_store().describe()
