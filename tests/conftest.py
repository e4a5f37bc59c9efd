"""What every test shares. With `KLING_MCP_ALL_TESTS` set a test that would be skipped fails."""

import os
import signal
from collections.abc import Generator

import hypothesis
import pytest

hypothesis.settings.register_profile("whenever", deadline=None)
hypothesis.settings.load_profile("whenever")  # a busy machine makes no property untrue

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what it starts in the background ignore Ctrl+C, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true", help="write the tool schema snapshots anew"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("KLING_MCP_ALL_TESTS"):
        report.outcome = "failed"
    return report


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
