"""The page, served in this process, and Chromium to open it."""

import os
import shutil
import sys
import threading
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from derefl.web.local import address, listen, visitors_folder
from tests.hashing.tiny import tiny_hasher
from tests.tiny import tiny_remover

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

PATIENCE = 600_000
"""Milliseconds, for a busy machine."""


def pytest_collection_modifyitems(config, items):
    """Without Chromium, skip its tests and report this at the end; in CI, fail."""
    needing = [item for item in items if item.get_closest_marker("browser")]
    if CHROMIUM or not needing:
        return
    if os.environ.get("DEREFL_BROWSER_TESTS"):
        raise pytest.UsageError("DEREFL_BROWSER_TESTS is set, but there is no Chromium")
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter):
    if not CHROMIUM:
        terminalreporter.write_line(
            "NOT RUN: tests of the web page that need Chromium; "
            "install it with: apt-get install chromium",
            yellow=True,
        )


@pytest.fixture(scope="package")
def model():
    return tiny_remover()


@pytest.fixture(scope="package")
def hasher():
    return tiny_hasher()


@pytest.fixture(scope="package")
def server(model, hasher, package_patch):
    """The server of the page; its ``url`` is the address of the page."""
    from derefl.web import page as web_page  # gradio takes seconds to import

    package_patch.setattr(web_page, "LARGEST_UPLOAD", "1mb")
    with visitors_folder() as folder, listen(0) as socket:
        with strangers_refused():
            server = web_page.PageServer(web_page.build(model, hasher, folder))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
            thread.start()
            server.url = address(socket)
            urllib.request.urlopen(server.url).close()
        yield server
        server.should_exit = True
        thread.join()
    assert not folder.exists()


@pytest.fixture
def url(server):
    return server.url


@pytest.fixture(scope="package")
def package_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@contextmanager
def strangers_refused():
    """Fail at the end if this process connected to another machine, or looked up its address."""
    watching, met = True, []

    def watch(event, args):
        if watching and event in ("socket.connect", "socket.getaddrinfo"):
            host = args[0] if event == "socket.getaddrinfo" else args[1]
            met.append(host[0] if isinstance(host, tuple) else host)

    sys.addaudithook(watch)  # an audit hook cannot be removed
    try:
        yield
    finally:
        watching = False
    assert set(met) <= {"127.0.0.1", "localhost"}


@pytest.fixture(scope="package")
def visit(server):
    """Open the page as a new visitor; at the end, check that no other machine was contacted.

    All visitors share one Chromium and its cache: a cold start takes seconds.
    """
    asked, broken = [], []
    expect.set_options(timeout=PATIENCE)
    with strangers_refused(), sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        context = browser.new_context(
            viewport={"width": 1200, "height": 900}, reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: broken.append(error.error))

        def open_page():
            page = context.new_page()
            page.goto(server.url)
            page.get_by_role("heading", name="derefl").wait_for()
            return page

        yield open_page
        browser.close()
    assert len(asked) > 10
    assert {urlsplit(address).hostname for address in asked} == {"127.0.0.1"}
    assert broken == []


@pytest.fixture(scope="package")
def page(visit):
    """A page for all tests that need only one; its fields are as the previous test left them."""
    return visit()
