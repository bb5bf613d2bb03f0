"""Tell a command's own words from the overrides of its configuration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from qc_core.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate configuration overrides, wherever they stand, from all other words.

    Returns:
        (the other words, the overrides)
    """
    from qc_core.config.options import split_options, words_of

    others, texts = split_options(words)
    return others, words_of(texts)
