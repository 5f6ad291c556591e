"""The page in a real browser: its policy blocks nothing it needs, and hostile text runs nothing."""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from rsuper.views import render_demo_page
from rsuper.views.case_card import build_case_card

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--window-size=1000,900",
)


def sample():
    """The builders of the other page tests."""
    path = Path(__file__).with_name("test_demo_page.py")
    spec = importlib.util.spec_from_file_location("demo_page_builders", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def browse(page, tmp_path, *options):
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)


def test_nothing_is_blocked_and_the_style_applies(tmp_path):
    page = render_demo_page(sample().page_data())
    done = browse(page, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    assert "Content Security Policy" not in done.stderr
    assert "Refused to" not in done.stderr
    pixels = imread(io.BytesIO((tmp_path / "page.png").read_bytes()))[..., :3]
    hero = np.array([0x10, 0x20, 0x2F]) / 255
    assert (np.abs(pixels[:40] - hero).max(axis=-1) < 0.02).mean() > 0.8  # the dark band at the top
    assert (pixels[:, :, 2] - pixels[:, :, 0] > 0.3).sum() > 200  # blue outlines and numbers are drawn


def test_hostile_report_runs_nothing(tmp_path):
    builders = sample()
    attack = "document.title='OWNED'"
    text = f'A 9 mm mass. </mark></div><script>{attack}</script><img src=x onerror="{attack}">'
    page = render_demo_page(builders.page_data(cases=(build_case_card(builders.material(text)),)))
    dom = browse(page, tmp_path, "--dump-dom").stdout
    assert "<title>rsuper demo: reports as supervision</title>" in dom
    assert "<script" not in dom
    assert "&lt;script&gt;" in dom
