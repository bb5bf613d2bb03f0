"""`qc run` runs the complete pipeline on this machine."""

import html
import json
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from pipeline.placement import STEPS
from tests.conftest import PENDULUM
from tests.pipeline.conftest import RUN, qc
from tests.qc_core.report.browser import CHROMIUM, require_readable
from tests.qc_core.report.test_video import renders

# The checks before a run play its environment; this one takes no time to make.
ON_PENDULUM = ("--environment", PENDULUM)
# Plays the video until it has shown a frame; false if none appears.
_SHOWS_A_FRAME = """film => Promise.race([
  film.play().then(() => new Promise(shown => film.requestVideoFrameCallback(
    () => shown(film.videoWidth > 0)))),
  new Promise(late => setTimeout(() => late(false), 20000)),
])"""


def test_run_prints_steps_progress_and_results(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = run
    steps = re.findall(r"▸ (\w+):", done.stderr)
    assert steps == list(STEPS)
    assert re.search(r"collecting: 6/6 episodes, +[\d.]+ episode/s", done.stderr)
    assert re.search(r"offline: 60/60 updates", done.stderr)
    lines = done.stdout.splitlines()
    assert re.match(r"Fine-tuning .*; smoke:\S+ is the first champion\.$", lines[-1]), lines[-1]
    assert f"run (smoke) finished: {lines[-1]}" in done.stderr
    for line in ("behaviour cloning ", "offline Q-learning ", "fine-tuned online ", "pretrain "):
        assert re.search(rf"^{line}", done.stdout, re.MULTILINE), done.stdout
    assert "\nreport  run/report.html\n" in done.stdout
    assert re.search(r"\n  qc play smoke-\d{8}T", done.stdout)
    assert "KFP" not in done.stdout + done.stderr
    assert (folder / "run" / "run.log").stat().st_size > 0


def test_suggested_commands_work(
    run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = run
    monkeypatch.delenv("QC_STORE")
    suggested = re.findall(r"^  qc (.+)$", done.stdout, re.MULTILINE)
    assert len(suggested) == 3
    for arguments in suggested:
        extra = ["--episodes", "1"] if arguments.startswith("play") else []
        result = qc(folder, *arguments.split(), *extra)
        assert result.returncode == 0, result.stderr


def test_a_finished_run_is_not_repeated(
    run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = run
    monkeypatch.delenv("QC_STORE")
    again = qc(folder, *RUN)
    assert again.returncode == 0, again.stderr
    assert "▸" not in again.stderr and again.stdout == done.stdout
    other = qc(folder, *(word if word != "3" else "4" for word in RUN))
    assert other.returncode == 2 and "run was started with --seed 3: give the same" in other.stderr


def test_summary_has_the_paths_of_all_results(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["promotion"]["champion"] and summary["verdict"].startswith("Fine-tuning")
    assert (folder / summary["report"]).exists()
    assert (folder / summary["policy"] / "policy.onnx").exists()
    assert set(summary["seconds"]) >= {"ingest", "pretrain", "tune", "all"}


def test_artifacts_carry_version_results_and_digest(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run
    promotion = json.loads((folder / "run" / "summary.json").read_text())["promotion"]
    facts = {
        name: artifact["metadata"]
        for path in (folder / "run" / "steps" / ".kfp_cache").glob("*.json")
        for name, artifact in json.loads(path.read_text()).items()
        if isinstance(artifact, dict)
    }
    assert facts["promotion"]["version"] == f"smoke:{promotion['version']}"
    assert facts["promotion"]["champion"] == "yes"
    assert facts["policy"]["episodes"] == facts["evaluation"]["episodes"] == 1
    assert (
        "%" in facts["policy"]["success"] and "success" in facts["evaluation"]["fine-tuned online"]
    )
    assert len(facts["policy"]["digest"]) == len(facts["dataset"]["digest"]) == 64
    assert facts["new_data"]["new"] == "yes"


def test_policy_records_its_run_and_its_data(
    run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run
    monkeypatch.delenv("QC_STORE")
    shown = json.loads(qc(folder, "policies", "show", "smoke", "--json").stdout)
    run_id = json.loads((folder / "run" / "run.json").read_text())["run-id"]
    assert shown["manifest"]["run-id"] == run_id
    provenance = shown["contract"]["provenance"]
    assert provenance["config"]["seed"] == provenance["dataset-source"]["seed"] == 3
    assert str(folder) not in json.dumps(shown)


def test_report_is_one_self_contained_page(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run
    page = (folder / "run" / "report.html").read_text()
    assert page.index('class="verdict"') < page.index("<h1>")
    assert page.count("<svg") >= 8
    for arguments in (
        "chunks of 5, open loop",
        "behaviour cloning",
        "trial 1",
        "smoke:",
        "&#34;offline-steps&#34;: 60",
        "qc run smoke --seed 3 --evaluate.episodes 1",
        "updates/s",
        json.loads((folder / "run" / "run.json").read_text())["run-id"],
    ):
        assert arguments in page
    # The page loads nothing: every src is a data URI, and there is no style sheet or script.
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]+)"', page))
    assert "<link" not in page and "<script" not in page and "url(http" not in page
    if renders():
        assert 'src="data:video/mp4;base64,' in page
    else:
        assert "No film: MuJoCo cannot render here" in page


# The KFP UI shows a report in a sandboxed frame without an origin.
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_report_is_complete_in_the_sandboxed_frame_of_the_kfp_ui(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run
    page_text = (folder / "run" / "report.html").read_text(encoding="utf-8")
    frame = f'<iframe srcdoc="{html.escape(page_text)}" sandbox="allow-scripts"></iframe>'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
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
        for curves in report.locator("svg").all():
            box = curves.bounding_box()
            assert box is not None and box["width"] > 200 and box["height"] > 50
        if renders():
            film = report.locator("video").first
            film.scroll_into_view_if_needed()
            assert film.evaluate(_SHOWS_A_FRAME)
        browser.close()
    require_readable(folder / "run" / "report.html")
    # Data URIs and the frame's own document are not network requests.
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == []
    assert complaints == []


def test_invalid_input_of_a_step_is_one_line_and_leaves_only_the_log(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    done = qc(tmp_path, "run", "smoke", "-o", "run", *ON_PENDULUM, "--data", "bad.npz")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("qc: ")]
    assert "bad.npz is not an npz file, or it is truncated" in line
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.log"]


def test_refused_run_keeps_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    done = qc(tmp_path, "run", "smoke", "-o", "link", *ON_PENDULUM, "--data", "nowhere.npz")
    assert done.returncode == 2 and "nowhere.npz does not exist" in done.stderr
    assert (tmp_path / "link").is_symlink() and (tmp_path / "mine" / "run.log").exists()
    assert len([*(tmp_path / "mine").iterdir()]) == 1


def test_failed_step_is_named_with_the_path_of_its_output(tmp_path: Path, pendulum: Path) -> None:
    arguments = [*ON_PENDULUM, "--train.learning-rate", "1e30", "--data", str(pendulum)]
    done = qc(tmp_path, "run", "smoke", "-o", "run", *arguments)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "step pretrain failed: training diverged before update" in last
    assert last.endswith("its output is in run/run.log")
    assert "Traceback" not in done.stderr


def test_retraining_without_new_data_stops_early(
    run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run
    # The run's own store is the default one.
    monkeypatch.delenv("QC_STORE")
    done = qc(
        folder, "run", "smoke", "-o", "again", "--seed", "3", "--train.warm-start", "champion"
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"▸ (\w+):", done.stderr) == ["configure", "ingest", "outcome"]
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"Up to date: smoke:\S+ was already trained on these data, so no policy was trained\.", last
    )
    assert f"(smoke) finished: {last}" in done.stderr
    assert set(json.loads((folder / "again" / "summary.json").read_text())) == {
        "folder",
        "up-to-date",
    }
