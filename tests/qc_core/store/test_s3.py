"""The S3 store through a real S3 protocol, behind a proxy that spoils responses."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from qc_core.errors import UsageError
from qc_core.store.bundle import get_folder, put_folder
from qc_core.store.objects import DamagedObject, ObjectStore, StoreUnavailable
from qc_core.store.open import open_store
from qc_core.store.s3_upload import PART_BYTES
from tests.faults import proxy as faults
from tests.faults.proxy import Client, Fault, FaultProxy, Forward, Response, running

Choose = Callable[[str, str], Fault | None]


@contextmanager
def behind(server: str, choose: Choose, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Yield the store behind a proxy with faults."""
    with running(FaultProxy(server, choose, seed=0)) as proxy:
        monkeypatch.setenv("QC_S3_ENDPOINT", proxy.address)
        yield open_store()


def first(number: int, fault: Fault) -> Choose:
    """Spoil the first requests."""
    left = iter(range(number))
    return lambda method, path: fault if next(left, None) is not None else None


def always(fault: Fault) -> Choose:
    return lambda method, path: fault


def s3_error(
    status: int, code: str, headers: dict[str, str] | None = None, clock: float | None = None
) -> Fault:
    """A fault that answers with an error of S3.

    Args:
        clock: hours by which the server's clock is ahead.
    """

    def fault(client: Client, forward: Forward) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
        head = [("Content-Type", "application/xml"), *(headers or {}).items()]
        if clock is not None:
            now = datetime.now(timezone.utc) + timedelta(hours=clock)
            head.append(("Date", now.strftime("%a, %d %b %Y %H:%M:%S GMT")))
        client.send(Response(status, head, body.encode()))

    return fault


def page(client: Client, forward: Forward) -> None:
    client.send(Response(200, [("Content-Type", "text/html")], b"<html>Welcome</html>"))


def operations(store: ObjectStore, folder: Path) -> list[Any]:
    """Use every operation of a store, and return the results."""
    content = bytes(range(256)) * 2000
    (folder / "file").write_bytes(content)
    store.check()
    store.put("a/one", b"1")
    store.put_file("a/b/two", folder / "file")
    store.get_file("a/b/two", folder / "back")
    created = store.put_if("a/three", b"3", None)
    _, tag = store.get_tagged("a/three")
    replaced = store.put_if("a/three", b"4", tag)
    store.delete("a/one")
    listed = sorted(store.keys("a/")), store.folders("a/")
    same = (folder / "back").read_bytes() == content
    return [created, replaced, store.get("a/three"), listed, same]


@pytest.mark.parametrize("fault", [faults.silence, faults.drip, page], ids=lambda f: f.__name__)
def test_a_server_that_never_answers_is_given_up_in_time(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Fault
) -> None:
    monkeypatch.setenv("QC_S3_TIMEOUT", "0.4")
    open_store().put("a/one", b"1" * 1000)
    with behind(s3_endpoint, always(fault), monkeypatch) as store:
        for operation in (
            lambda: list(store.keys("")),
            lambda: store.get("a/one"),
            lambda: store.put("a/two", b"2"),
            lambda: store.put_if("a/two", b"2", None),
            lambda: store.delete("a/one"),
        ):
            start = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"does not answer.*QC_S3_TIMEOUT") as error:
                operation()
            assert "\n" not in str(error.value) and "delete" not in str(error.value)
            # A block of an object has 3 s more.
            assert time.monotonic() - start < 10


def test_a_missing_object_is_missing_only_if_s3_says_so(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_S3_TIMEOUT", "1")

    def not_found(client: Client, forward: Forward) -> None:
        client.send(Response(404, [("Content-Type", "text/html")], b"<html>Not Found</html>"))

    with behind(s3_endpoint, always(not_found), monkeypatch) as store:
        with pytest.raises(StoreUnavailable):
            store.get("a/one")
        with pytest.raises(StoreUnavailable):
            store.folders("")


def test_an_interrupted_object_is_continued_and_not_read_twice(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 8000
    open_store().put("a/one", content)
    sent = []

    def quarter(client: Client, forward: Forward) -> None:
        response = forward()
        sent.append(len(response.body))
        client.send(response, 700_000)

    with behind(s3_endpoint, always(quarter), monkeypatch) as store:
        store.get_file("a/one", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert sent == sorted(sent, reverse=True) and len(set(sent)) == len(sent) > 2


def test_an_unavailable_store_is_not_a_damaged_folder(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x" * 1000)
    put_folder(open_store(), "folder/", tmp_path / "source")
    monkeypatch.setenv("QC_S3_TIMEOUT", "1")
    with (
        behind(s3_endpoint, always(faults.reset_in_body), monkeypatch) as store,
        pytest.raises(StoreUnavailable),
    ):
        get_folder(store, "folder/", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_an_altered_object_is_damaged_and_named(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store().put("a/one", b"1" * 1000)

    def flipped(client: Client, forward: Forward) -> None:
        response = forward()
        client.send(Response(response.status, response.headers, b"2" + response.body[1:]))

    with (
        behind(s3_endpoint, always(flipped), monkeypatch) as store,
        pytest.raises(DamagedObject, match=r"a/one in s3://.* is altered"),
    ):
        store.get("a/one")


def test_objects_of_other_programs_are_read(s3_store: str, s3_endpoint: str) -> None:
    """They carry no checksum, and an ETag may be anything."""
    import boto3

    bucket = s3_store.split("/")[2]
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.put_object(Bucket=bucket, Key="some/prefix/plain", Body=b"1")
    upload = client.create_multipart_upload(Bucket=bucket, Key="some/prefix/parts")["UploadId"]
    where = {"Bucket": bucket, "Key": "some/prefix/parts", "UploadId": upload}
    tag = client.upload_part(**where, PartNumber=1, Body=b"2")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    client.complete_multipart_upload(**where, MultipartUpload=parts)
    assert (open_store().get("plain"), open_store().get("parts")) == (b"1", b"2")


def test_a_large_file_is_written_in_parts_and_its_remains_are_removed(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(PART_BYTES + 1)
    open_store().put_file("a/large", tmp_path / "large")
    open_store().get_file("a/large", tmp_path / "back")
    assert (tmp_path / "back").stat().st_size == PART_BYTES + 1

    def no_second_part(method: str, path: str) -> Fault | None:
        return s3_error(403, "AccessDenied") if "partNumber=2" in path else None

    with (
        behind(s3_endpoint, no_second_part, monkeypatch) as store,
        pytest.raises(UsageError, match="AccessDenied"),
    ):
        store.put_file("b/large", tmp_path / "large")
    assert _uploads(s3_endpoint, s3_store) == []

    def no_end(method: str, path: str) -> Fault | None:
        denied = "partNumber=2" in path or method == "DELETE"
        return s3_error(403, "AccessDenied") if denied else None

    with behind(s3_endpoint, no_end, monkeypatch) as store, pytest.raises(UsageError):
        store.put_file("b/large", tmp_path / "large")
    assert _uploads(s3_endpoint, s3_store) == ["some/prefix/b/large"]
    monkeypatch.setenv("QC_S3_ENDPOINT", s3_endpoint)
    open_store().delete_folder("b/")
    assert _uploads(s3_endpoint, s3_store) == []


def _uploads(endpoint: str, store: str) -> list[str]:
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    found = client.list_multipart_uploads(Bucket=store.split("/")[2])
    return [entry["Key"] for entry in found.get("Uploads", [])]


def test_keys_that_are_limited_to_the_prefix_suffice(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = s3_store.split("/")[2]

    def policy(method: str, path: str) -> Fault | None:
        path = unquote(path)
        inside = path.startswith(f"/{bucket}/some/prefix/") or "prefix=some/prefix/" in path
        return None if inside else s3_error(403, "AccessDenied")

    with behind(s3_endpoint, policy, monkeypatch) as store:
        store.require_writable()
        assert len(operations(store, tmp_path)) == 5
        store.delete_folder("a/")


@pytest.mark.parametrize(
    ("fault", "settings", "says"),
    [
        (
            s3_error(403, "RequestTimeTooSkewed", clock=-2),
            {},
            "clock is 120 minutes fast",
        ),
        (s3_error(403, "SignatureDoesNotMatch", clock=1), {}, "60 minutes slow"),
        (s3_error(403, "SignatureDoesNotMatch"), {}, "check AWS_SECRET_ACCESS_KEY"),
        (s3_error(403, "InvalidAccessKeyId"), {}, "check AWS_ACCESS_KEY_ID"),
        (
            s3_error(403, "InvalidAccessKeyId"),
            {"AWS_ACCESS_KEY_ID": "ASIAXYZ"},
            "need AWS_SESSION_TOKEN, which is not set",
        ),
        (s3_error(400, "ExpiredToken"), {"AWS_SESSION_TOKEN": "old"}, "the keys have expired"),
        (s3_error(403, "AccessDenied"), {}, "bucket's policy allows below the prefix"),
        (
            s3_error(400, "AuthorizationHeaderMalformed", {"x-amz-bucket-region": "eu-west-1"}),
            {},
            "is in region eu-west-1: set AWS_REGION=eu-west-1",
        ),
        (
            s3_error(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}),
            {},
            "is in region eu-west-1: set AWS_REGION=eu-west-1",
        ),
        (s3_error(404, "NoSuchBucket"), {}, "has no bucket"),
    ],
)
def test_what_only_a_person_can_fix_is_reported_at_once(
    s3_store: str,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    settings: dict[str, str],
    says: str,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for use in (
        lambda store: store.check(),
        lambda store: store.get("a"),
        lambda store: store.put("a", b""),
    ):
        with (
            behind(s3_endpoint, always(fault), monkeypatch) as store,
            pytest.raises(UsageError, match=says) as error,
        ):
            use(store)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("http://store.invalid", "its name cannot be resolved"),
    ],
)
def test_a_server_that_cannot_be_reached_is_said_to_be_so(
    s3_store: str, monkeypatch: pytest.MonkeyPatch, endpoint: str, reason: str
) -> None:
    monkeypatch.setenv("QC_S3_ENDPOINT", endpoint)
    monkeypatch.setenv("QC_S3_TIMEOUT", "3")
    with pytest.raises(StoreUnavailable, match=f"does not answer: {reason}"):
        open_store().check()
