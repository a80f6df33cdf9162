"""What the tests of pages share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.pages import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as OpenPage


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
def browser(chromium: Browser) -> Iterator[OpenPage]:
    """An empty page; an error in its console fails the test, and so does a request to anywhere."""
    faults: list[str] = []
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, has_touch=True)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    yield page
    page.close()
    assert not faults


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A whole study with its report, which no test changes."""
    folder = make_study(tmp_path_factory.mktemp("full"))
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def page(study):
    """The page of that report, as read."""
    return Page((study / "report.html").read_text())
