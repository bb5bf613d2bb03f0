"""Opens a report in Chromium, as narrow as KFP's side panel, and checks that people can read it."""

import shutil
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium")
_TEXT_HEIGHTS = (
    "[...document.querySelectorAll('svg text')].map(text => text.getBoundingClientRect().height)"
)
# Pixels of the panel in a window of 1440.
PANEL_WIDTH = 447


def require_readable(report: Path) -> None:
    """Fail if the page is wider than the panel, or has a serious violation in light or dark."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": PANEL_WIDTH, "height": 600}, color_scheme=scheme
            )
            page.goto(report.resolve().as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == PANEL_WIDTH
            # Text of figures has at least 7 pixels after scaling.
            sizes = page.evaluate(_TEXT_HEIGHTS)
            assert sizes and min(sizes) >= 7
            violations = Axe().run(page).response["violations"]
            serious = [v for v in violations if v["impact"] in ("serious", "critical")]
            assert not serious, [(v["id"], v["nodes"][0]["html"]) for v in serious]
        browser.close()
