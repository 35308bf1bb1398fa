"""The page of a made-up experiment, and a browser to look at it."""

import shutil
from pathlib import Path

import pytest
from reported import report, write_records, write_results


@pytest.fixture(scope="session")
def experiment(tmp_path_factory):
    """Folder of an experiment with its report, and the flags it was made with."""
    folder = tmp_path_factory.mktemp("report")
    flags = write_records(folder) | write_results(folder)
    done = report(folder, flags, "report.html")
    assert done.returncode == 0, done.stderr
    return folder, flags


@pytest.fixture(scope="module")  # an event loop runs as long as it: tests of other files start their own
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine; `make browser` installs it")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(chromium):
    """Opens a page and fails the test where anything in it runs, is refused, complains or is fetched."""
    contexts, complaints = [], []

    def opened(path: Path, link: str = "", **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error(e.violatedDirective))")
        tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: fetched(request.url))
        tab.goto(path.as_uri() + link)
        tab.complaints = complaints
        return tab

    def fetched(url: str) -> None:
        if not url.startswith(("file:", "data:image/png")):
            complaints.append(f"request: {url}")

    yield opened
    for context in contexts:
        for tab in context.pages:
            if tab.evaluate("window.ran"):
                complaints.append("a text ran")
        context.close()
    assert not complaints
