"""`--update-snapshots` writes the fault matrix anew, to be read in review; PostgreSQL runs once."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.postgres import Postgres, postgres_server

from kling_sandbox.app import bound_socket


@pytest.fixture
def update_snapshots(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-snapshots"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with closing(bound_socket("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with postgres_server(port) as server:
        yield server
