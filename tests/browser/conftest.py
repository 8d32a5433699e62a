"""A real Chromium on the real front end, once in each of its renderers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/harness"))

from editor import RENDERERS, Editor, launch_chromium
from server_fixtures import base_dir, host_dir, server

# Milliseconds: the machine may be busy with other tests.
expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A second try for each test, told in the summary: clicks meet an editor that is itself at work behind them."""
    for item in items:
        item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; without one the tests are skipped."""
    with sync_playwright() as playwright:
        try:
            launched = launch_chromium(playwright)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        yield launched


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


@pytest.fixture
def chinese(editor) -> Iterator[Editor]:
    """The editor in Chinese."""
    try:
        editor.speak("zh")
        yield editor
    finally:
        editor.speak("en")
