"""What the tests of pages share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from smoothiou.report import study_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def without_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave curves and histograms undrawn, which take nine tenths of the time: for tests of words and numbers."""
    monkeypatch.setattr(study_page, "draw_panel", lambda *_, **__: "")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """An installed Chromium or Chrome without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("neither Chromium nor Chrome is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Page]:
    """An empty page; an error in its console fails the test, and so does a request to anywhere."""
    faults: list[str] = []
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, has_touch=True)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    yield page
    page.close()
    assert not faults
