"""Settings of the documentation site: `make docs` builds it with Sphinx into build/docs.

The sources are Markdown files that code hosts also show: relative links, mermaid diagrams and
$mathematics$. The README is the site's first page.
"""

from pathlib import Path
from typing import Any

from qc_core import __version__

project = "Q-chunking pipelines"
author = "The q-chunking maintainers"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = ["docs/menu.md"]
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"{project} {release}"
html_extra_path = ["site"]
html_use_index = False
html_copy_source = False
html_show_sourcelink = False


def add_menu(app: Any, page: str, source: list[str]) -> None:
    """Add the menu to the README, which code hosts show without it."""
    if page == root_doc:
        menu = Path(__file__).with_name("menu.md")
        app.env.note_dependency(menu)
        source[0] += menu.read_text()


def setup(app: Any) -> dict[str, Any]:
    app.connect("source-read", add_menu)
    return {"parallel_read_safe": True}
