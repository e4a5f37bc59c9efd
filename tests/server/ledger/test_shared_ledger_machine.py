"""Any order of what several servers do to one PostgreSQL database, held against a model of it."""

from typing import ClassVar

import pytest
from hypothesis import settings
from tests.postgres import Postgres
from tests.server.ledger.test_ledger_machine import LEASE_S, LedgerMachine

from kling_mcp.ledger import Ledger
from kling_mcp.ledger.postgres import PostgresEngine


class SharedLedgerMachine(LedgerMachine):
    """What processes do to one file, with a database in its place."""

    postgres: ClassVar[Postgres]

    def __init__(self) -> None:
        self.url = self.postgres.new_schema()
        super().__init__()

    def opened(self) -> Ledger:
        return Ledger(PostgresEngine(self.url), lambda: self.now, lease_s=LEASE_S)


@pytest.fixture(scope="module", autouse=True)
def shared(postgres: Postgres) -> None:
    SharedLedgerMachine.postgres = postgres


SharedLedgerMachine.TestCase.settings = settings(
    max_examples=settings.default.max_examples // 8,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
)
test_any_order_of_what_servers_do_keeps_the_book = SharedLedgerMachine.TestCase
