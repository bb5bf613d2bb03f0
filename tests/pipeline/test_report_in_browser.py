"""The report shows itself where the KFP UI shows it: in a sandboxed frame without an origin."""

import html
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.qc_core.report.test_video import renders

_CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(_CHROMIUM is None, reason="there is no chromium")
def test_curves_and_film_are_visible_and_nothing_is_fetched(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run
    page_text = (folder / "run" / "report.html").read_text(encoding="utf-8")
    frame = f'<iframe srcdoc="{html.escape(page_text)}" sandbox="allow-scripts"></iframe>'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_content(frame)
        report = page.frame_locator("iframe")
        assert report.locator("h1").inner_text()
        assert report.locator("svg").count() == 4
        for curves in report.locator("svg").all():
            box = curves.bounding_box()
            assert box is not None and box["width"] > 100 and box["height"] > 50
        if renders():
            film = report.locator("video")
            film.evaluate("film => new Promise(seen => film.requestVideoFrameCallback(seen))")
            assert film.evaluate("film => film.videoWidth > 0 && film.error === null")
        browser.close()
    # Data and the frame's own document are no requests to anywhere.
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == []
    assert complaints == []
