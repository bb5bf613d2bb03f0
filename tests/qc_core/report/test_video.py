"""A film is made where something renders, and its absence is said where nothing does."""

from pathlib import Path

import pytest

from qc_core.report.video import film_policy


def test_a_film_or_a_reason(policy: Path, tmp_path: Path) -> None:
    film = film_policy(policy, [1], tmp_path / "film.mp4")
    if film.path is None:
        assert "libosmesa6" in film.note
    else:
        assert film.path.read_bytes()[4:8] == b"ftyp"
        assert "The exported policy" in film.note


def test_without_a_renderer_the_reason_is_said(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disable")
    film = film_policy(policy, [1], tmp_path / "film.mp4")
    assert film.path is None
    assert "MuJoCo can render here neither with EGL nor with OSMesa" in film.note
    assert not (tmp_path / "film.mp4").exists()
