"""A hostile npz file is refused before memory is allocated for it."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qc_core.data.formats.npz_file import NpzFile
from qc_core.errors import UsageError


def test_a_huge_header_is_refused_without_reading_it(tmp_path: Path) -> None:
    size = 1 << 25
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        head = b"\x93NUMPY\x02\x00" + size.to_bytes(4, "little")
        archive.writestr("rows.npy", head + bytes(size))
    tracemalloc.start()
    with pytest.raises(UsageError, match=r"'rows' cannot be read: npy version 1\.0 is needed"):
        NpzFile(tmp_path / "bomb.npz", ["rows"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


def test_a_damaged_zip_directory_raises_a_one_line_error(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.savez(content, rows=np.arange(3))
    whole = content.getvalue()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "odd.npz").write_bytes(damaged)
        try:
            with NpzFile(tmp_path / "odd.npz", ["rows"]) as npz:
                assert [block["rows"].tolist() for block in npz.blocks(2)] == [[0, 1], [2]]
        except UsageError as refusal:
            assert "\n" not in str(refusal)
