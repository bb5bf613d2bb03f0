"""`qc clean`: remove what killed commands have left."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="also search these folders and everything in them (./runs and the files in .)",
    )
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Remove temporary files and folders of processes that have ended, and print their paths."""
    from qc_core.scratch import remove_leftovers

    for folder in options.folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder: give one, or none")
    removed = [
        path
        for folder in dict.fromkeys(_searched(options.folders))
        for path in remove_leftovers(folder)
    ]
    if options.json:
        print_json([str(path) for path in removed])
        return
    for path in removed:
        print(f"removed {path}")
    if not removed:
        print("nothing to remove: no killed command has left anything")


def _searched(folders: list[Path]) -> Iterator[Path]:
    """Yield the folders to look into: temporary folder, cache, local store and the given ones."""
    from qc_core.registry.cache import cache_folder
    from qc_core.store.open import DEFAULT_STORE, STORE_VARIABLE

    yield Path(tempfile.gettempdir())
    yield from () if folders else (Path(),)
    store = os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    trees = [cache_folder(), *(folders or [Path("runs")])]
    if "://" not in store:
        trees.append(Path(store))
    for tree in trees:
        for folder, _, _ in os.walk(tree):
            yield Path(folder)
