"""Both stores store objects in the same way and support conditional writes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from qc_core.errors import RunError, UsageError
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import open_store


def test_objects_are_stored_listed_and_replaced(store: ObjectStore, tmp_path: Path) -> None:
    store.check()
    assert list(store.keys("a/")) == []
    assert store.folders("a/") == []
    store.put("a/b/one", b"1")
    store.put("a/c/two", b"2")
    store.put("a/b/one", b"3")
    (tmp_path / "file").write_bytes(b"x" * 100)
    store.put_file("a/three", tmp_path / "file")
    store.get_file("a/three", tmp_path / "back")
    assert store.get("a/b/one") == b"3"
    assert (tmp_path / "back").read_bytes() == b"x" * 100
    assert sorted(store.keys("a/")) == ["a/b/one", "a/c/two", "a/three"]
    assert store.folders("a/") == ["b", "c"]
    for missing in ("a/b/none", "a", "z/z"):
        with pytest.raises(NoSuchObject):
            store.get(missing)
    with pytest.raises(NoSuchObject):
        store.get_file("a/none", tmp_path / "none")


def test_only_the_given_objects_and_folders_are_deleted(store: ObjectStore) -> None:
    for key in ("a/one", "a/b/two", "a/b/c/three", "ab/four"):
        store.put(key, b"x")
    store.delete("a/one")
    store.delete("a/one")
    store.delete("none/none")
    assert sorted(store.keys("")) == ["a/b/c/three", "a/b/two", "ab/four"]
    store.delete_folder("a/b/")
    store.delete_folder("a/b/")
    assert sorted(store.keys("")) == ["ab/four"]


def test_a_conditional_write_needs_an_unchanged_object(store: ObjectStore) -> None:
    assert store.put_if("a/one", b"1", None)
    assert not store.put_if("a/one", b"2", None)
    _, tag = store.get_tagged("a/one")
    assert store.put_if("a/one", b"2", tag)
    assert not store.put_if("a/one", b"3", tag)
    assert not store.put_if("a/none", b"3", tag)
    assert store.get("a/one") == b"2"
    with pytest.raises(NoSuchObject):
        store.get_tagged("a/none")


def test_a_repeated_conditional_write_succeeds(store: ObjectStore) -> None:
    store.put("a/one", b"1")
    _, tag = store.get_tagged("a/one")
    assert store.put_if("a/one", b"2", tag)
    assert store.put_if("a/one", b"2", tag)


def test_a_lock_that_is_never_released_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store", lock_timeout=0.05)
    with store._locked(), pytest.raises(RunError, match=r"has held .*\.lock for 0 s"):
        store.put_if("a/one", b"1", None)
    assert store.put_if("a/one", b"1", None)


@pytest.mark.parametrize(
    "read",
    [
        FolderStore.check,
        lambda store: list(store.keys("")),
        lambda store: list(store.keys("a/")),
        lambda store: store.folders("a/"),
        lambda store: store.get("a/one"),
        lambda store: store.get_file("a/one", Path("unwritten")),
    ],
)
def test_an_unreadable_folder_is_not_an_empty_store(
    tmp_path: Path, forbid: Callable[[Path], None], read: Callable[[FolderStore], object]
) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("a/one", b"1")
    forbid(tmp_path / "store")
    with pytest.raises(RunError, match=r"store cannot be read \(Permission denied\): set"):
        read(store)
    with pytest.raises(UsageError, match=r"cannot be read .*: set QC_STORE"):
        read(FolderStore(Path("/" + "x" * 5000)))


Application = Callable[..., Iterable[bytes]]


def refusing(application: Application) -> Application:
    """A server that answers conditional writes with 501."""
    error = b"<?xml version='1.0'?><Error><Code>NotImplemented</Code><Message>no</Message></Error>"

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT" and environ.keys() & CONDITIONS:
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            start_response("501 Not Implemented", [("Content-Type", "application/xml")])
            return [error]
        return application(environ, start_response)

    return serve


def ignoring(application: Application) -> Application:
    """A server that ignores the conditions and writes."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        kept = {name: value for name, value in environ.items() if name not in CONDITIONS}
        return application(kept, start_response)

    return serve


CONDITIONS = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}


def forbidding(application: Application) -> Application:
    """A proxy that answers conditional writes with a page of its own."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT" and environ.keys() & CONDITIONS:
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            start_response("403 Forbidden", [("Content-Type", "text/html")])
            return [b"<html>no<br></html>"]
        return application(environ, start_response)

    return serve


@contextmanager
def serving(wrap: Callable[[Application], Application]) -> Iterator[str]:
    """Run a local S3 server behind a wrapper and yield its address."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    application = wrap(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=[refusing, ignoring])
def unconditional(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local S3 server without conditional writes."""
    request.getfixturevalue("s3_store")
    # moto's buckets belong to this process, so both servers have them.
    with serving(request.param) as address:
        monkeypatch.setenv("QC_S3_ENDPOINT", address)
        yield request.param.__name__


def test_an_answer_that_is_not_from_s3_is_one_line(
    s3_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(forbidding) as address:
        monkeypatch.setenv("QC_S3_ENDPOINT", address)
        monkeypatch.setenv("QC_S3_TIMEOUT", "2")
        with pytest.raises(RunError, match=r"not from S3 \(status 403\)") as refusal:
            open_store().put_if("a/one", b"1", None)
    assert "Signature" not in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_server_without_conditional_writes_is_supported(unconditional: str) -> None:
    store = open_store()
    assert store.put_if("a/one", b"1", None)
    _, tag = store.get_tagged("a/one")
    assert store.put_if("a/one", b"2", tag)
    assert store.put_if("a/one", b"3", tag), "documented: it cannot be told"
    assert store.get("a/one") == b"3"
