"""The report in a real browser, where one is installed: on a phone's width nothing but tables and pictures scrolls."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from minimaxopt.plugins import ResultStore
from minimaxopt_study.profiles.profile import load_profile
from minimaxopt_study.report.write import write_results
from minimaxopt_study.study import Study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Make

PHONE, DESK = 390, 1280
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox", "firefox-esr")
PATIENCE = 60  # seconds for a browser to start and answer
# Loads the page in frames of several widths, opens all that is folded, measures and reports.
MEASURING = """<!doctype html><link rel="icon" href="data:,"><body><script>
async function measure(width) {
  const frame = document.createElement("iframe");
  frame.style = ``width: ${width}px; height: 844px; border: 0``;
  const loaded = new Promise(resolve => frame.onload = resolve);
  frame.src = "/page"; document.body.append(frame); await loaded;
  const page = frame.contentDocument, root = page.documentElement, images = [...page.images];
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  const beyond = element => !element.parentElement.closest(".scroll")
    && element.getBoundingClientRect().right > root.clientWidth + 1;
  return {
    width: root.clientWidth, needed: root.scrollWidth, images: images.length,
    blank: images.filter(image => !image.naturalWidth).length,
    beyond: [...page.body.querySelectorAll("*")].filter(beyond).map(element => element.outerHTML.slice(0, 90)),
    scrolling: [...page.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length,
    loaded: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")),
  };
}
(async () => {
  const measurements = {};
  for (const width of WIDTHS) measurements[width] = await measure(width);
  await fetch("/measurements", {method: "POST", body: JSON.stringify(measurements)});
})();
</script>"""


class Desk(ThreadingHTTPServer):
    """Serves a page with what measures it, and waits for the measurements."""

    daemon_threads = True

    def __init__(self, page: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        measuring = MEASURING.replace("WIDTHS", json.dumps([PHONE, DESK]))
        self.pages = {"/": measuring, "/page": page}
        self.measurements: dict[str, Any] = {}
        self.answered = threading.Event()


class Answer(BaseHTTPRequestHandler):
    server: Desk

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write((page or "").encode())

    def do_POST(self) -> None:
        self.server.measurements = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.answered.set()

    def log_message(self, *_: Any) -> None:
        """Nothing: a test has no log."""


def installed() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def started(browser: str, address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A browser without a window that shows an address, until the block ends."""
    profile = folder / "profile"
    profile.mkdir()
    if "firefox" in browser:
        options = ["--headless", "--no-remote", "--profile", str(profile)]
    else:
        # The sandbox needs what containers lack; the page is our own.
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--no-proxy-server", "--enable-logging=stderr", f"--user-data-dir={profile}"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([browser, *options, address], stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def measured(page: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return a browser's measurements of a page at each width, and its console's lines (Firefox gives none)."""
    browser = installed()
    if browser is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    with Desk(page) as desk:
        serving = threading.Thread(target=desk.serve_forever, args=(0.05,))
        serving.start()
        try:
            with started(browser, f"http://127.0.0.1:{desk.server_port}/", folder) as process:
                for _ in range(PATIENCE * 10):
                    if desk.answered.wait(0.1) or process.poll() is not None:
                        break
        finally:
            desk.shutdown()
            serving.join()
    log = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    if not desk.answered.is_set():
        pytest.skip(f"{browser} is installed but shows no page: {log[-1] if log else 'it says nothing'}")
    return desk.measurements, [line for line in log if "CONSOLE" in line]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_phone_shows_the_report(made_up: Make, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    profile = load_profile("quick", seeds=seeds)
    data = {"name": "images", "note": "made up", "train": 4000, "evaluated": 1000, "fingerprint": "f" * 64}
    path = write_results(Study(tmp_path, profile, data, {}, []), ResultStore(tmp_path), made_up(seeds=seeds))
    measurements, console = measured(path.read_text(encoding="utf-8"), tmp_path)
    for at in measurements.values():
        assert at["beyond"] == []
        assert at["needed"] <= at["width"]
        assert (at["images"], at["blank"]) == (4, 0)
        assert at["loaded"] == []
    assert console == []
    assert measurements[str(PHONE)]["scrolling"] > measurements[str(DESK)]["scrolling"]


def test_the_measurements_see_a_bad_page(tmp_path: Path) -> None:
    page = (
        "<!doctype html><body style='margin: 0'><div style='width: 900px'>wide</div><img "
        "src='data:image/png;base64,AAAA'>"
        "<img src='/missing.png'><div class='scroll' style='overflow: auto'><p style='width: 700px'>inside</p></div>"
        "<script>throw new Error('a fault')</script>"
    )
    measurements, console = measured(page, tmp_path)
    phone, desk = measurements[str(PHONE)], measurements[str(DESK)]
    assert [element[:20] for element in phone["beyond"]] == ['<div style="width: 9']
    assert phone["needed"] == 900
    assert phone["width"] <= PHONE
    assert desk["beyond"] == []
    assert (phone["images"], phone["blank"]) == (2, 2)
    assert (phone["scrolling"], desk["scrolling"]) == (1, 0)
    assert [name.rpartition("/")[2] for name in phone["loaded"]] == ["missing.png"]
    if "firefox" not in str(installed()):
        assert ["a fault" in line for line in console] == [True, True]
