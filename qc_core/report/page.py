"""What all reports share: the frame of a page, tables that scroll, and rows of figures."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import jinja2
from markupsafe import Markup


def templates() -> jinja2.Environment:
    """Return the templates; `base.html.j2` is the frame of every page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["percent"] = lambda value: f"{value:.0%}"
    return environment


def markup(figures: Iterable[str]) -> list[Markup]:
    """Mark SVG text as safe to insert into a page."""
    return [Markup(figure) for figure in figures]


def data_uri(path: Path, kind: str) -> str:
    """Return a file as an address that contains it.

    Args:
        kind: MIME type.
    """
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
