"""A real Chromium on the real front end, once in each of its renderers."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/harness"))

from editor import RENDERERS, Editor
from server_fixtures import base_dir, host_dir, server

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright brings none of its own: it is the system's."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("There is no Chromium: install Debian's package chromium to test in the browser.")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=OPTIONS)


@pytest.fixture(scope="session", params=RENDERERS)
def opened(request, server, browser) -> Iterator[Editor]:
    """The editor in one renderer, shared by the tests."""
    with Editor(server, browser, request.param, ROOT / "demo_output/browser") as editor:
        yield editor


@pytest.fixture
def editor(opened) -> Iterator[Editor]:
    """The editor with an empty graph; the test fails when the console or the editor shows an error."""
    opened.clear()
    yield opened
    assert not opened.complaints()
