"""All waiting of films is over at once, in its order; only the work itself takes time."""

from typing import Any

import pytest
from benchmarks.virtual_time import VirtualTimeLoop


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}
