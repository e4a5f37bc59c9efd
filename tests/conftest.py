"""What every test shares. With `KLING_MCP_ALL_TESTS` set a test that would be skipped fails."""

import gc
import gettext
import os
import shutil
import signal
import ssl
import sys
from collections.abc import Generator, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

# Rewriting the asserts of all modules, and of plugins, takes longer than collecting them; it is
# kept, as usual, also where the environment is set up for programs that run once.
sys.dont_write_bytecode = False

import hypothesis  # noqa: E402

# A busy machine makes no property untrue.
for name, examples in {"quick": 8, "campaign": 100}.items():
    hypothesis.settings.register_profile(
        name,
        deadline=None,
        max_examples=examples,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what it starts in the background ignore Ctrl+C, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 10**9


def is_quick(config: pytest.Config) -> bool:
    """Whether only the quick tests run."""
    return bool(config.option.markexpr == "not campaign")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One worker more than there are cores: a quick test often waits for a thread or a process."""
    return (os.cpu_count() or 1) + 1 if is_quick(config) else None


def pytest_configure(config: pytest.Config) -> None:
    """Quick tests try a few examples, and write to memory where there is room: each row of a
    ledger waits for the disk."""
    quick = is_quick(config)
    hypothesis.settings.load_profile("quick" if quick else "campaign")
    if quick and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: looking for garbage among it takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: the garbage collector need not look at them each time,
    nor so often, as what a test leaves behind is little."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


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


@pytest.fixture(scope="session", autouse=True)
def shared_files() -> Iterator[None]:
    """Whoever opens a connection reads all certificates that are trusted anew, and each parser of a
    command line looks for the translations of each of its words; both do so once here."""
    make = ssl.create_default_context
    made = cache(partial(make, ssl.Purpose.SERVER_AUTH))

    def context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **store: Any) -> ssl.SSLContext:
        own = purpose is not ssl.Purpose.SERVER_AUTH or store.get("cafile") is None
        return make(purpose, **store) if own else made(**store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", context)
        patch.setattr(gettext, "find", cache(gettext.find))
        yield


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
