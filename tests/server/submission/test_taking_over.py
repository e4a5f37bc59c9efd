"""A process that stalls, is cut off, or dies while it sends, and whoever takes the row over."""

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from contextlib import nullcontext as nothing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger.notes import Notes
from kling_mcp.providers.json_body import Body
from kling_mcp.providers.rows import PROVIDERS, ProviderRow
from kling_mcp.providers.task import Task
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.queue import FolderQueue
from kling_mcp.submission.recovery import Recovery
from kling_mcp.submission.sender import Sender
from kling_mcp.submission.waiting import WaitingRequests
from kling_tools.errors import (
    ConcurrencyFull,
    DuplicateTask,
    NotConfigured,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    TaskNotFound,
)

pytestmark = pytest.mark.anyio

WISH = NewRow(
    provider="kling",
    base_url="https://kling.example",
    product="image2video",
    digest="d",
    take=1,
    model_name="kling-v2-6",
    prompt="waves",
    request={},
    estimate_units=2.0,
)

Meanwhile = Callable[[], Awaitable[object]]


class Clock:
    """Seconds since the epoch, moved by hand or by whoever waits."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait no longer than others need to run."""
        self.now += seconds
        await anyio.lowlevel.checkpoint()


class Kling:
    """Stands where a client is. It makes a task for every new external id unless `refusal` says
    otherwise; `meanwhile` happens before a create is answered, `loses` loses its answer, and while
    it `hides` them no task can be found."""

    def __init__(self, name: str = "kling") -> None:
        self.row: ProviderRow = PROVIDERS[name]
        self.tasks: dict[str, Task] = {}
        self.asked = 0
        self.refusal: ProviderError | None = None
        self.silent = False
        self.hides = False
        self.loses = False
        self.meanwhile: Meanwhile = anyio.lowlevel.checkpoint

    async def create(self, product: str, body: Body, endpoint: str = "") -> Task:
        sent = json.loads(b"".join([piece async for piece in body]))["external_task_id"]
        refusal, loses = self.refusal, self.loses
        self.asked += 1
        await self.meanwhile()
        if refusal:
            raise refusal
        if sent in self.tasks:
            raise DuplicateTask("exists", provider="kling")
        self.tasks[sent] = Task(f"t-{len(self.tasks)}", "submitted")
        if loses:
            raise ProviderDown("lost", charged="unknown")
        return self.tasks[sent]

    async def task(self, product: str, any_id: str, wire: str = "legacy") -> Task:
        await anyio.lowlevel.checkpoint()
        if self.silent:
            raise ProviderDown("silence", charged="no")
        if self.hides or any_id not in self.tasks:
            raise TaskNotFound("no such task")
        return self.tasks[any_id]


class Server:
    """A process: a sender over its own opening of the one ledger."""

    def __init__(self, folder: Path, clock: Clock, **more: Any) -> None:
        self.ledger = Ledger(folder, clock, **more)
        self.queue = FolderQueue(folder / "spool")
        self.sender = Sender(self.ledger, self.queue, Notes(folder / "made"), clock.sleep)
        self.sender.asked_to_spend = True

    async def send(self, kling: Kling, **changes: Any) -> Record:
        client: Any = kling
        wish = replace(WISH, provider=kling.row.name, **changes)
        record, _ = await self.sender.send(
            wish,
            client,
            CreateBody({}),
            DayCaps(),
        )
        return record

    async def take_up(self, record: Record, kling: Kling) -> Record:
        client: Any = kling
        return await self.sender.take_up(record, client)

    async def row(self) -> Record:
        (record,) = await self.ledger.page(limit=9, offset=0)
        return record


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def servers(
    tmp_path: Path, clock: Clock, anyio_backend: str
) -> AsyncIterator[tuple[Server, Server]]:
    pair = Server(tmp_path, clock), Server(tmp_path, clock)
    yield pair
    for server in pair:
        await server.ledger.close()


def full() -> ConcurrencyFull:
    return ConcurrencyFull("full", provider="kling")


async def reserved_by_the_dead(server: Server, **changes: Any) -> Record:
    record, _ = await server.ledger.reserve(replace(WISH, **changes), owner="dead")
    return record


@pytest.mark.parametrize("refusal", [PaymentRequired("no units left"), full()])
async def test_the_refusal_of_a_server_that_slept_says_nothing_of_what_another_one_sends(
    servers: tuple[Server, Server], clock: Clock, refusal: ProviderError
) -> None:
    sleeper, other = servers
    kling = Kling()
    kling.refusal = refusal

    async def falls_asleep() -> None:
        clock.now += 3600
        row = await sleeper.row()
        assert await other.ledger.claim(row.id, "other")

    kling.meanwhile = falls_asleep
    with pytest.raises(PaymentRequired) if isinstance(refusal, PaymentRequired) else nothing():
        await sleeper.send(kling)

    row = await other.row()
    assert (row.status, row.lease_owner) == ("unknown", "other")
    await other.ledger.record(row.id, Task("t-1", "submitted"))
    assert (await other.row()).task_id == "t-1"


@pytest.mark.parametrize("provider", ["kling", "newapi"])
async def test_a_server_that_slept_sends_nothing_of_a_queued_row_that_another_one_took_over(
    servers: tuple[Server, Server],
    clock: Clock,
    provider: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeper, other = servers
    kling = Kling(provider)
    kling.refusal = full()
    await sleeper.send(kling)
    clock.now += 60
    plain = sleeper.ledger.reopen

    async def falls_asleep_first(*given: Any, **more: Any) -> Record:
        clock.now += 3600
        await other.take_up(await other.row(), kling)
        clock.now += 60
        return await plain(*given, **more)

    monkeypatch.setattr(sleeper.ledger, "reopen", falls_asleep_first)
    taken_up = await sleeper.take_up(await sleeper.row(), kling)

    assert kling.asked == 2
    assert taken_up.status == "queued"


async def test_a_body_that_is_gone_when_it_is_read_makes_nothing_and_is_told(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    server, _ = servers
    kling = Kling()
    kling.refusal = full()
    queued = await server.send(kling)
    body = await server.queue.body(queued.id)
    await server.queue.drop(queued.id)

    with pytest.raises(NotConfigured, match="for waiting requests cannot be used"):
        [piece async for piece in body or ()]


async def test_a_repeat_that_cannot_be_sent_leaves_the_first_create_in_doubt(
    servers: tuple[Server, Server],
) -> None:
    server, _ = servers
    kling = Kling()
    await reserved_by_the_dead(server)
    unreadable: Any = NotConfigured("The picture changed meanwhile.")
    kling.refusal = unreadable

    with pytest.raises(NotConfigured):
        await server.send(kling)

    assert (await server.row()).status == "unknown"


async def test_a_create_goes_on_when_the_ledger_is_locked_for_a_while(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path, clock, lease_s=0.003)
    kling, renewed = Kling(), anyio.Event()

    async def locked(*_: object) -> bool:
        renewed.set()
        raise NotConfigured("The ledger is locked.")

    monkeypatch.setattr(server.ledger, "claim", locked)
    kling.meanwhile = renewed.wait

    record = await server.send(kling)

    assert record.task_id == "t-0"
    await server.ledger.close()


async def test_a_claim_on_its_way_ends_before_the_lease_is_given_back(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path, clock, lease_s=0.003)
    kling, claiming = Kling(), anyio.Event()
    kling.loses = kling.silent = True
    steps: list[str] = []
    claim, release = server.ledger.claim, server.ledger.release

    async def claimed(record_id: str, owner: str) -> bool:
        claiming.set()
        done = await claim(record_id, owner)
        steps.append("claimed")
        return done

    async def released(record_id: str, owner: str) -> None:
        steps.append("released")
        await release(record_id, owner)

    monkeypatch.setattr(server.ledger, "claim", claimed)
    monkeypatch.setattr(server.ledger, "release", released)
    kling.meanwhile = claiming.wait

    with pytest.raises(ProviderDown):
        await server.send(kling)

    assert steps[0] == "claimed"
    assert steps[-1] == "released"
    assert (await server.row()).lease_owner == ""
    await server.ledger.close()


async def test_what_the_provider_said_is_told_although_the_lease_cannot_be_given_back(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = servers
    kling = Kling()
    kling.loses = kling.silent = True

    async def locked(*_: object) -> None:
        raise NotConfigured("The ledger is locked.")

    monkeypatch.setattr(server.ledger, "release", locked)

    with pytest.raises(ProviderDown) as raised:
        await server.send(kling)

    assert raised.value.charged == "unknown"


@pytest.mark.parametrize("name", ["kling", "newapi"])
async def test_a_call_that_is_cancelled_while_its_row_is_written_is_sent_all_the_same(
    name: str, servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = servers
    kling, reserve = Kling(name), server.ledger.reserve

    async def cancelled(*given: Any, **more: Any) -> Any:
        written = await reserve(*given, **more)
        group.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()
        return written

    monkeypatch.setattr(server.ledger, "reserve", cancelled)
    async with anyio.create_task_group() as group:
        await server.send(kling)

    row = await server.row()
    assert (row.status, row.task_id) == ("submitted", "t-0")


async def test_two_servers_that_find_the_same_orphan_send_it_once(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    kling = Kling()
    await reserved_by_the_dead(servers[0])
    found: list[Record] = []

    async def send(server: Server) -> None:
        found.append(await server.send(kling))

    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(send, server)

    assert {record.task_id for record in found} == {"t-0"}
    assert len(kling.tasks) == 1


async def test_a_queued_request_whose_sender_died_before_the_create_is_sent_by_the_next_one(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    dead, heir = servers
    kling = Kling()
    kling.refusal = full()
    queued = await dead.send(kling)
    await dead.ledger.claim(queued.id, "dead")
    await dead.ledger.reopen(queued.id)
    kling.refusal = None
    clock.now += 60

    taken_up = await heir.take_up(await heir.row(), kling)

    assert taken_up.task_id == "t-0"
    assert await heir.queue.body(queued.id) is None


async def test_a_house_that_is_full_again_keeps_such_a_request_in_doubt_and_to_be_sent(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    dead, heir = servers
    kling = Kling()
    kling.refusal = full()
    queued = await dead.send(kling)
    await dead.ledger.claim(queued.id, "dead")
    await dead.ledger.reopen(queued.id)
    clock.now += 60

    taken_up = await heir.take_up(await heir.row(), kling)

    assert (taken_up.status, taken_up.tries) == ("unknown", 2)
    assert taken_up.due_at > clock.now
    assert await heir.queue.body(queued.id) is not None


async def test_no_later_refusal_makes_a_queued_request_failed_whose_answer_was_lost(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    server, _ = servers
    kling = Kling()
    kling.refusal = full()
    await server.send(kling)
    kling.refusal, kling.loses, kling.hides = None, True, True
    clock.now += 60
    with pytest.raises(ProviderError):
        await server.take_up(await server.row(), kling)
    for refusal in (full(), PaymentRequired("no units left")):
        kling.refusal = refusal
        clock.now += 60
        with suppress(ProviderError):
            await server.take_up(await server.row(), kling)
    in_doubt = await server.row()
    kling.hides = False
    clock.now += 60

    found = await server.take_up(in_doubt, kling)

    assert in_doubt.status == "unknown"
    assert found.task_id == "t-0"
    assert len(kling.tasks) == 1
    assert await server.queue.body(found.id) is None


async def test_a_request_in_doubt_is_left_alone_until_it_is_due(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    dead, heir = servers
    kling = Kling()
    kling.refusal = full()
    queued = await dead.send(kling)
    await dead.ledger.claim(queued.id, "dead")
    await dead.ledger.reopen(queued.id)
    clock.now += 60
    waiting = await heir.take_up(await heir.row(), kling)
    kling.refusal = None

    too_early = await heir.take_up(waiting, kling)

    assert too_early == waiting
    assert kling.tasks == {}


async def test_what_another_server_has_just_tried_is_left_alone_until_it_is_due(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    first, second = servers
    kling = Kling()
    kling.refusal = full()
    await first.send(kling)
    clock.now += 60
    read_before = await second.row()
    await first.take_up(read_before, kling)

    left = await second.take_up(read_before, kling)

    assert kling.asked == 2
    assert left.due_at > clock.now
    assert (await first.row()).lease_owner == ""


async def test_a_queued_request_with_the_caller_s_own_id_is_found_when_its_sender_died(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    dead, heir = servers
    kling = Kling()
    kling.refusal = full()
    queued = await dead.send(kling, external_task_id="mine")
    kling.tasks["mine"] = Task("t-9", "submitted", created_at=clock.now)
    kling.refusal = None
    clock.now += 60

    taken_up = await heir.take_up(queued, kling)

    assert taken_up.task_id == "t-9"


async def test_a_duplicate_that_cannot_be_told_apart_is_never_called_failed(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    server, _ = servers
    kling = Kling()
    kling.refusal = full()
    queued = await server.send(kling, external_task_id="mine")
    kling.tasks["mine"] = Task("t-9", "submitted")
    kling.refusal, kling.silent = None, True
    clock.now += 60

    with pytest.raises(DuplicateTask) as raised:
        await server.take_up(queued, kling)

    assert raised.value.charged == "unknown"
    assert (await server.row()).status == "unknown"


async def test_a_request_may_wait_in_the_queue_for_days(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    server, _ = servers
    kling = Kling()
    kling.refusal = full()
    await server.send(kling)
    with closing(sqlite3.connect(Path(server.ledger.place))) as db, db:
        db.execute("UPDATE tasks SET tries = 9000, due_at = 0")

    waiting = await server.take_up(await server.row(), kling)

    assert (waiting.status, waiting.due_at) == ("queued", clock.now + 30)


class OneProvider:
    """What a caretaker uses of the clients."""

    names = ("kling",)

    def __init__(self, kling: Kling) -> None:
        self.kling = kling
        self.base_url = WISH.base_url

    def configured(self, name: str) -> "OneProvider":
        return self

    async def get(self, name: str) -> Kling:
        return self.kling


def caretaker_of(server: Server, kling: Kling, clock: Clock) -> Recovery:
    clients: Any = OneProvider(kling)
    waiting = WaitingRequests(server.ledger, server.sender, clock.sleep)
    return Recovery(clients, server.ledger, server.sender, waiting, clock.sleep)


async def test_a_server_that_starts_at_once_waits_for_the_lease_of_the_dead_one(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    server, _ = servers
    kling = Kling()
    row = await reserved_by_the_dead(server)
    kling.tasks[row.external_task_id] = Task("t-0", "submitted")

    await caretaker_of(server, kling, clock).run()

    assert (await server.row()).task_id == "t-0"


async def test_a_row_that_breaks_the_caretaker_does_not_keep_others_waiting(
    servers: tuple[Server, Server], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = servers
    kling = Kling()
    for digest in ("first", "second"):
        row = await reserved_by_the_dead(server, digest=digest)
    kling.tasks[row.external_task_id] = Task("t-0", "submitted")
    asked = kling.task

    async def task(product: str, any_id: str, wire: str = "legacy") -> Task:
        if any_id != row.external_task_id:
            raise ZeroDivisionError
        return await asked(product, any_id)

    kling.task = task  # type: ignore[method-assign]
    await caretaker_of(server, kling, clock).run()

    assert {record.task_id for record in await server.ledger.page(limit=9, offset=0)} == {
        None,
        "t-0",
    }
    assert "ZeroDivisionError" in caplog.text


async def two_that_wait(server: Server, kling: Kling, clock: Clock) -> tuple[Record, Record]:
    """Two queued rows in the order in which they wait, both due."""
    kling.refusal = full()
    rows = await server.send(kling, digest="first"), await server.send(kling, digest="second")
    kling.refusal = None
    clock.now += 60
    return rows


@pytest.mark.parametrize("of", [0, 1])
async def test_a_queued_request_waits_until_those_before_it_are_sent(
    of: int, servers: tuple[Server, Server], clock: Clock
) -> None:
    kling = Kling()
    first, second = await two_that_wait(servers[0], kling, clock)

    assert (await servers[of].take_up(second, kling)).status == "queued"
    assert (await servers[of].take_up(first, kling)).task_id == "t-0"
    assert (await servers[of].take_up(second, kling)).task_id == "t-1"


@pytest.mark.parametrize("changes", [{"product": "omni-video"}, {"principal": "bob"}])
async def test_lines_of_other_people_and_products_do_not_wait_for_each_other(
    changes: dict[str, Any], servers: tuple[Server, Server], clock: Clock
) -> None:
    kling = Kling()
    await two_that_wait(servers[0], kling, clock)
    kling.refusal = full()
    other = await servers[0].send(kling, digest="other", **changes)
    kling.refusal = None
    clock.now += 60

    assert (await servers[1].take_up(other, kling)).task_id == "t-0"


async def test_who_is_being_sent_is_waited_for_and_who_was_taken_for_dead_is_not(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    kling = Kling()
    first, second = await two_that_wait(servers[0], kling, clock)
    await servers[0].ledger.claim(first.id, "dead")
    await servers[0].ledger.reopen(first.id)

    assert (await servers[1].take_up(second, kling)).status == "queued"
    clock.now += 60
    assert (await servers[1].take_up(second, kling)).task_id == "t-0"


async def test_a_request_that_cannot_be_worked_on_does_not_hold_its_line_up(
    servers: tuple[Server, Server], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = servers
    kling = Kling()
    first, second = await two_that_wait(server, kling, clock)
    body = server.queue.body

    async def unreadable(record_id: str) -> Any:
        if record_id == first.id:
            raise NotConfigured("The body cannot be read.")
        return await body(record_id)

    monkeypatch.setattr(server.queue, "body", unreadable)
    with pytest.raises(NotConfigured):
        await server.take_up(first, kling)

    assert (await server.take_up(second, kling)).task_id == "t-0"


async def test_bodies_that_dead_servers_left_are_removed_and_needed_ones_kept(
    servers: tuple[Server, Server], clock: Clock
) -> None:
    server, _ = servers
    kling = Kling()
    kling.refusal = full()
    waiting = await server.send(kling)
    sent = await server.ledger.reserve(replace(WISH, take=2), owner="dead")
    folder = Path(server.ledger.place).parent / "spool"
    (folder / f"{sent[0].id}.json").write_text("{}")
    (folder / "0123.part").write_text("{")
    clock.now += 60

    await server.sender.tidy()

    assert [path.name for path in folder.iterdir()] == [f"{waiting.id}.json"]


async def test_a_body_that_cannot_be_removed_does_not_hide_that_the_task_was_made(
    servers: tuple[Server, Server], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = servers
    kling = Kling()
    kling.refusal = full()
    queued = await server.send(kling)
    kling.refusal = None
    clock.now += 60

    def stuck(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", stuck)

    assert (await server.take_up(queued, kling)).task_id == "t-0"


async def test_an_answer_that_was_overtaken_does_not_undo_the_end_of_a_task(
    servers: tuple[Server, Server],
) -> None:
    server, _ = servers
    record = await server.send(Kling())
    await server.ledger.record(record.id, Task("t-0", "failed", message="risk control"))

    late = await server.ledger.record(record.id, Task("t-0", "processing"))

    assert (late.status, late.message) == ("failed", "risk control")
