"""Reads numeric columns from parquet files, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.data.formats.source import require_finite
from qc_core.errors import UsageError
from qc_core.files import require_content

_BLOCK_ROWS = 50_000


def read_blocks(
    files: Sequence[Path], columns: Mapping[str, int]
) -> Iterator[dict[str, np.ndarray]]:
    """Read columns of consecutive files, block by block.

    Args:
        columns: numbers per row of each column, by name.

    Yields:
        Arrays [rows, numbers] by name; at least one row.

    Raises:
        UsageError: a file is damaged, or a column is missing, not numeric, of the wrong width, or
            contains nulls, NaN or infinity.
    """
    import pyarrow
    from pyarrow import parquet

    for path in files:
        row = 0
        try:
            require_content(path)
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                present = file.schema_arrow.names
                for name in columns:
                    if name not in present:
                        raise UsageError(f"{path}: column {name!r} is missing, it has {present}")
                for batch in file.iter_batches(_BLOCK_ROWS, columns=list(columns)):
                    if not len(batch):
                        continue
                    block = {
                        name: _numbers(f"{path}: column {name!r}", batch.column(name), width)
                        for name, width in columns.items()
                    }
                    for name, values in block.items():
                        require_finite(str(path), name, values, row)
                    row += len(batch)
                    yield block
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{path} is not a parquet file, or it is damaged: {reason}") from error


def _numbers(what: str, column: Any, width: int) -> np.ndarray:
    """Convert an Arrow column of numbers, or of lists of numbers, to an array [rows, width]."""
    from pyarrow import types

    rows, kind, values, widths = len(column), column.type, column, [1]
    if types.is_fixed_size_list(kind):
        values, widths = column.flatten(), [kind.list_size]
    elif types.is_list(kind) or types.is_large_list(kind):
        values, widths = column.flatten(), column.value_lengths().unique().to_pylist()
    if column.null_count or values.null_count:
        raise UsageError(f"{what} has rows without a value")
    kind = values.type
    if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)):
        raise UsageError(f"{what} must hold numbers, got {kind}")
    if widths != [width]:
        raise UsageError(f"{what} must hold {width} numbers in every row, got {widths[:3]}")
    return values.to_numpy(zero_copy_only=False).reshape(rows, width)
