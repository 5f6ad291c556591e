"""How soon an evidence page of 5,000 reports can be used, in a real Chromium.

Run: ``python benchmarks/evidence_page.py [--reports 5000] [--json PATH]``. The reports are those of
``benchmarks/extraction.py`` (2 kB, 3.7 lesions), extracted by the rules; each of 100 is shown under many ids. Two
clocks: CPU seconds of the page's main thread, so that other jobs do not count, and wall seconds as a reader waits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from extraction import synthetic_report

from llm_extract.backends import extract_checked, load_backend
from llm_extract.evidence_page import EvidencePages
from llm_extract.reports import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from browser import CHROMIUM, Browser

TEXTS = 100
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def write_page(folder: Path, number: int) -> Path:
    """An evidence page of so many reports, made as an extraction makes it."""
    backend = load_backend("rules")
    texts = [synthetic_report(seed) for seed in range(min(TEXTS, number))]
    made = [extract_checked(backend, Report(report_id="R", text=text)) for text in texts]
    with EvidencePages(folder, limit=number, total=number) as pages:
        for index in range(number):
            name = f"R{index:05d}"
            record = made[index % len(made)].model_copy(update={"report_id": name})
            pages.add(Report(report_id=name, text=texts[index % len(texts)]), record)
    return pages.files[0]


def clock(browser: Browser) -> tuple[float, float]:
    """CPU seconds that the main thread of the page has worked, and the wall clock of the page."""
    metrics = {m["name"]: m["value"] for m in browser.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"], browser.value("performance.now() / 1000")


def timed(browser: Browser, action: Callable[[], Any]) -> dict[str, float]:
    """CPU and wall seconds of one action, until it has been painted."""
    cpu, wall = clock(browser)
    action()
    browser.value(PAINTED)
    cpu_after, wall_after = clock(browser)
    return {"cpu_s": cpu_after - cpu, "wall_s": wall_after - wall}


def measure(page: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Seconds until the page can be used, and of the next report, a filter and a search in it."""
    choose = (
        "(() => { const box = document.querySelector('#organ'); box.value = 'liver';"
        "box.dispatchEvent(new Event('change')); })()"
    )
    with Browser(folder / "profile") as browser:
        browser.send("Performance.enable", timeDomain="threadTicks")
        browser.open(page)
        browser.value(PAINTED)
        first = {"cpu_s": clock(browser)[0], "wall_s": browser.value(LOADED)}
        return {
            "until_usable": first,
            "next_report": timed(browser, lambda: browser.press("j")),
            "filter_by_organ": timed(browser, lambda: browser.value(choose)),
            "last_report": timed(browser, lambda: browser.value("location.hash = '#R04999'")),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("needs chromium")
    with tempfile.TemporaryDirectory() as name:
        page = write_page(Path(name), arguments.reports)
        result: dict[str, Any] = {
            "reports": arguments.reports,
            "page_mb": page.stat().st_size / 1e6,
            "load_before": os.getloadavg()[0],
            "seconds": measure(page, Path(name)),
        }
    print(f"{result['reports']} reports, {result['page_mb']:.1f} MB, load {result['load_before']:.1f}")
    for step, seconds in result["seconds"].items():
        print(
            f"{step:16s} {seconds['cpu_s']:6.2f} s of the main thread, {seconds['wall_s']:6.2f} s on the clock"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
