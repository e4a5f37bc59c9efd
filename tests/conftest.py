"""What every test shares."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true", help="write the tool schema snapshots anew"
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
