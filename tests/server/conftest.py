"""`--update-snapshots` writes the fault matrix anew, to be read in review."""

import pytest


@pytest.fixture
def update_snapshots(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-snapshots"))
