"""Tell a command's own words from the overrides of its configuration."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from qc_core.errors import WrongUse

_NUMBER = re.compile(r"-\.?\d")


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise WrongUse(f"{self.prog}: {message}")


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate configuration overrides, wherever they stand, from all other words.

    Returns:
        (the other words, the overrides)
    """
    from qc_core.recipes.config import Config
    from qc_core.recipes.resolve import is_recipe, option_kinds

    kinds = option_kinds(Config)
    others: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.split("=")[0]
        if name not in kinds and not re.match(r"--[a-z]+\.", name):
            others.append(word)
            continue
        kind = kinds.get(name, str)
        if typing.get_origin(kind) is tuple and any(w.split("=")[0] == name for w in overrides):
            raise WrongUse(f"{name} is given twice: name all its values behind one")
        overrides.append(word)
        if "=" in word or kind is bool:
            continue
        many = typing.get_origin(kind) is tuple
        while rest and (not rest[0].startswith("-") or _NUMBER.match(rest[0])):
            if many and is_recipe(rest[0]):
                break
            overrides.append(rest.pop(0))
            if not many:
                break
    return others, overrides
