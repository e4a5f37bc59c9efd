"""One wish on its way: what is sent, what is sent again, and what is known about the money."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.server.serving import no_sleep

from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger.notes import Notes
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.json_body import Body
from kling_mcp.providers.rows import PROVIDERS, ProviderRow
from kling_mcp.providers.task import Task
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.queue import FolderQueue
from kling_mcp.submission.sender import Sender
from kling_tools.errors import (
    AuthFailed,
    Charged,
    ConcurrencyFull,
    ContentRefused,
    DuplicateTask,
    ImageRejected,
    KlingError,
    NotConfigured,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    RateLimited,
    TaskNotFound,
)

pytestmark = pytest.mark.anyio

BLIND = ("anyfast", "powertokens", "newapi")
"""Providers that cannot be asked for a task by our id."""


def lost() -> ProviderError:
    return ProviderDown("kling broke the connection.", charged="unknown")


def made(task_id: str = "t-1") -> Task:
    return Task(task_id, "submitted")


@dataclass
class Provider:
    """Stands where a client would be: answers creates in order, the last answer for ever, and
    knows the tasks that it is given; an error among them is raised."""

    creates: list[Task | KlingError]
    tasks: Mapping[str, Task | KlingError] = field(default_factory=dict)
    name: str = "kling"
    sent: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def row(self) -> ProviderRow:
        return PROVIDERS[self.name]

    async def create(self, product: str, body: Body, endpoint: str = "") -> Task:
        await anyio.lowlevel.checkpoint()
        self.sent.append(json.loads(b"".join([piece async for piece in body])))
        return _given(self.creates.pop(0) if len(self.creates) > 1 else self.creates[0])

    async def task(self, product: str, any_id: str, wire: str = "legacy") -> Task:
        await anyio.lowlevel.checkpoint()
        self.asked.append(any_id)
        return _given(self.tasks.get(any_id) or self.tasks.get("*") or TaskNotFound("no such task"))

    @property
    def ids(self) -> list[str]:
        """The external ids of the creates that came."""
        return [body["external_task_id"] for body in self.sent]


def _given(answer: Task | KlingError) -> Task:
    if isinstance(answer, KlingError):
        raise answer
    return answer


@pytest.fixture
async def ledger(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    await opened.close()


class Desk:
    """A sender, and what one says to it."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.sender = Sender(
            ledger, FolderQueue(folder / "spool"), Notes(folder / "made"), no_sleep
        )

    async def send(
        self, provider: Provider, take: int = 1, external_task_id: str = ""
    ) -> tuple[Record, bool]:
        wish = NewRow(
            provider=provider.name,
            base_url="https://provider.example",
            product="image2video",
            digest="d",
            take=take,
            model_name="kling-v2-6",
            prompt="waves",
            request={},
            estimate_units=2.0,
            external_task_id=external_task_id,
        )
        client: Any = provider
        return await self.sender.send(
            wish,
            client,
            CreateBody({}),
            DayCaps(),
        )

    async def refused(self, provider: Provider, **more: Any) -> ProviderError:
        with pytest.raises(ProviderError) as raised:
            await self.send(provider, **more)
        return raised.value

    async def row(self) -> Record:
        """The newest row."""
        return (await self.ledger.page(limit=1, offset=0))[0]

    async def rows(self) -> int:
        return len(await self.ledger.page(limit=99, offset=0))


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Desk:
    return Desk(ledger, tmp_path)


def test_the_stand_in_has_what_a_sender_uses_of_a_client() -> None:
    for name in ("create", "task"):
        assert callable(getattr(KlingClient, name))
    assert "row" in KlingClient.__init__.__annotations__


@pytest.mark.parametrize("name", ["kling", "cometapi", *BLIND])
async def test_a_create_that_is_answered_is_sent_once_with_the_row_s_id(
    name: str, desk: Desk
) -> None:
    provider = Provider([made()], name=name)

    record, new = await desk.send(provider)

    assert new
    assert (record.task_id, record.status) == ("t-1", "submitted")
    assert (await desk.row()).lease_owner == ""
    assert provider.ids == [record.external_task_id]
    assert provider.asked == []


@pytest.mark.parametrize("name", ["kling", "cometapi", *BLIND])
async def test_the_same_request_is_not_sent_again(name: str, desk: Desk) -> None:
    provider = Provider([made()], {"t-1": Task("t-1", "processing")}, name)
    first, _ = await desk.send(provider)

    again, new = await desk.send(provider)

    assert (again.id, again.status, new) == (first.id, "processing", False)
    assert len(provider.sent) == 1


@pytest.mark.parametrize("name", ["kling", "newapi"])
async def test_equal_requests_at_once_are_sent_once(name: str, desk: Desk) -> None:
    provider = Provider([made()], {"t-1": made()}, name)
    answers: list[tuple[Record, bool]] = []

    async def send() -> None:
        answers.append(await desk.send(provider))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(send)

    assert [new for _, new in answers].count(True) == 1
    assert {record.task_id for record, _ in answers} == {"t-1"}
    assert len(provider.sent) == 1


@pytest.mark.parametrize("name", ["kling", "cometapi"])
async def test_after_a_lost_answer_the_task_is_looked_up_by_our_id_and_not_made_again(
    name: str, desk: Desk
) -> None:
    provider = Provider([lost()], {"*": made()}, name)

    record, new = await desk.send(provider)

    assert new
    assert (record.task_id, record.status) == ("t-1", "submitted")
    assert provider.asked == provider.ids == [record.external_task_id]


async def test_a_task_that_takes_a_moment_to_appear_is_waited_for(desk: Desk) -> None:
    class Slow(Provider):
        async def task(self, product: str, any_id: str, wire: str = "legacy") -> Task:
            self.tasks = {"*": made()} if len(self.asked) > 1 else {}
            return await super().task(product, any_id)

    provider = Slow([lost()])

    record, _ = await desk.send(provider)

    assert record.task_id == "t-1"
    assert len(provider.asked) == 3
    assert len(provider.sent) == 1


async def test_what_never_arrived_at_kling_is_sent_again_with_the_same_id(desk: Desk) -> None:
    provider = Provider([lost(), made()])

    record, new = await desk.send(provider)

    assert new
    assert record.task_id == "t-1"
    assert provider.ids == [record.external_task_id] * 2
    assert len(set(provider.asked)) == 1


async def test_where_kling_has_it_after_all_the_second_create_makes_nothing(desk: Desk) -> None:
    class Blinking(Provider):
        async def task(self, product: str, any_id: str, wire: str = "legacy") -> Task:
            self.tasks = {"*": made()} if len(self.sent) > 1 else {}
            return await super().task(product, any_id)

    provider = Blinking([lost(), DuplicateTask("exists")])

    record, _ = await desk.send(provider)

    assert record.task_id == "t-1"
    assert provider.ids == [record.external_task_id] * 2


async def test_while_kling_cannot_be_asked_the_money_is_unknown_and_nothing_more_is_sent(
    desk: Desk,
) -> None:
    provider = Provider([lost()], {"*": ProviderDown("down")})
    first = await desk.refused(provider)
    row = await desk.row()
    sent = len(provider.sent)

    again = await desk.refused(provider)

    assert (first.charged, again.charged) == ("unknown", "unknown")
    assert row.external_task_id in first.advice
    assert (row.status, row.task_id) == ("unknown", None)
    assert len(provider.sent) == sent
    assert set(provider.ids) == {row.external_task_id}


@pytest.mark.parametrize(
    ("tasks", "creates"),
    [({"*": Task("t-1", "processing")}, 0), ({}, 1)],
    ids=["there", "not there"],
)
async def test_the_same_request_looks_first_when_its_answer_was_lost_before(
    tasks: dict[str, Task], creates: int, desk: Desk
) -> None:
    await desk.refused(Provider([lost()], {"*": ProviderDown("down")}))
    row = await desk.row()
    provider = Provider([made()], tasks)

    record, new = await desk.send(provider)

    assert (record.id, record.task_id, new) == (row.id, "t-1", bool(creates))
    assert provider.asked == [row.external_task_id]
    assert provider.ids == [row.external_task_id] * creates


@pytest.mark.parametrize("name", BLIND)
async def test_a_lost_answer_of_a_provider_that_cannot_be_asked_is_told_and_never_repeated(
    name: str, desk: Desk
) -> None:
    provider = Provider([lost()], {"*": made("somebody's")}, name)

    first = await desk.refused(provider)
    again = await desk.refused(provider)

    assert (first.charged, again.charged) == ("unknown", "unknown")
    for error in (first, again):
        assert "raise take" in error.advice
        assert "bill" in error.advice
    assert "sent to" in again.message
    assert (len(provider.sent), provider.asked) == (1, [])
    row = await desk.row()
    assert (row.status, row.task_id, await desk.rows()) == ("unknown", None, 1)


@pytest.mark.parametrize("name", BLIND)
async def test_another_take_is_made_although_the_first_one_s_answer_was_lost(
    name: str, desk: Desk
) -> None:
    await desk.refused(Provider([lost()], name=name))

    record, new = await desk.send(Provider([made("t-2")], name=name), take=2)

    assert new
    assert (record.task_id, record.take, await desk.rows()) == ("t-2", 2, 2)


async def test_where_our_id_may_not_be_unique_a_lost_create_is_asked_for_and_not_repeated(
    desk: Desk,
) -> None:
    provider = Provider([lost()], name="cometapi")
    first = await desk.refused(provider)
    looked = len(provider.asked)

    again = await desk.refused(provider)

    assert (first.charged, again.charged) == ("unknown", "unknown")
    assert looked >= 1
    assert len(provider.asked) == looked + 1
    assert len(provider.sent) == 1

    provider.tasks = {"*": made()}
    record, new = await desk.send(provider)

    assert (record.task_id, new, len(provider.sent)) == ("t-1", False, 1)


@pytest.mark.parametrize("name", ["kling", "newapi"])
@pytest.mark.parametrize(
    "error",
    [
        ContentRefused("policy", provider_says="risk control"),
        AuthFailed("key", provider_says="risk control"),
        ProviderDown("cannot be reached", provider_says="risk control"),
    ],
)
async def test_a_create_that_made_nothing_fails_and_may_be_sent_again(
    error: ProviderError, name: str, desk: Desk
) -> None:
    raised = await desk.refused(Provider([error], name=name))
    row = await desk.row()
    provider = Provider([made()], name=name)

    record, new = await desk.send(provider)

    assert raised.charged == "no"
    assert (row.status, row.units, row.message) == ("failed", 0, "risk control")
    assert new
    assert (record.attempt, record.task_id) == (2, "t-1")
    assert provider.ids != [row.external_task_id]


async def test_a_picture_that_changed_on_the_way_is_no_task(desk: Desk) -> None:
    with pytest.raises(ImageRejected):
        await desk.send(Provider([ImageRejected([])]))

    assert (await desk.row()).status == "failed"


@pytest.mark.parametrize("name", ["kling", "cometapi"])
async def test_a_task_that_somebody_else_made_with_the_caller_s_own_id_is_not_taken_for_ours(
    name: str, desk: Desk
) -> None:
    theirs = DuplicateTask("exists", provider_says="External_task_id scene-1 already exists")
    provider = Provider([theirs], {"*": made("theirs")}, name)

    raised = await desk.refused(provider, external_task_id="scene-1")

    row = await desk.row()
    assert raised is theirs
    assert raised.charged == "no"
    assert provider.asked == []
    assert (row.status, row.task_id, row.message) == ("failed", None, theirs.provider_says)


async def test_our_own_id_that_exists_is_our_own_task(desk: Desk) -> None:
    provider = Provider([DuplicateTask("exists")], {"*": made()})

    record, new = await desk.send(provider)

    assert (record.task_id, record.status, new) == ("t-1", "submitted", True)
    assert len(provider.sent) == 1


async def test_a_task_that_exists_and_cannot_be_seen_is_charged(desk: Desk) -> None:
    provider = Provider([DuplicateTask("exists")], {"*": ProviderDown("down")})

    raised = await desk.refused(provider)

    assert raised.charged == "yes"
    assert "exists" in raised.message
    assert (await desk.row()).status == "unknown"


@pytest.mark.parametrize("name", ["kling", "newapi"])
async def test_a_task_that_was_made_and_could_not_be_written_down_is_told_with_its_id(
    name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> Record:
        raise NotConfigured("The disk is full.", advice="Make room.")

    monkeypatch.setattr(desk.ledger, "record", full)

    with pytest.raises(KlingError) as raised:
        await desk.send(Provider([made("t-77")], name=name))

    charged: Charged = "yes"
    assert raised.value.charged == charged
    assert "t-77" in str(raised.value)
    assert "The disk is full." in str(raised.value)
    assert "Make room." in raised.value.advice


@pytest.mark.parametrize("name", ["kling", "newapi"])
async def test_a_full_house_keeps_the_request_with_its_body(
    name: str, desk: Desk, tmp_path: Path
) -> None:
    provider = Provider([ConcurrencyFull("full", retry_after_s=30)], name=name)

    record, new = await desk.send(provider)

    assert new
    assert (record.status, record.task_id, record.tries) == ("queued", None, 1)
    assert record.due_at > record.created_at + 25
    (kept,) = (tmp_path / "spool").iterdir()
    assert json.loads(kept.read_bytes()) == {"external_task_id": record.external_task_id}
    again, repeated = await desk.send(provider)
    assert (again.id, again.status, repeated) == (record.id, "queued", False)
    assert len(provider.sent) == 1


async def test_no_request_waits_longer_than_half_a_minute_for_its_next_try(
    desk: Desk, tmp_path: Path
) -> None:
    provider = Provider([ConcurrencyFull("full", retry_after_s=300), made("t-1")])

    record, _ = await desk.send(provider)

    assert not record.is_due(record.created_at + 20)
    assert record.is_due(record.created_at + 31)
    assert replace(record, due_at=record.due_at + 86_400).is_due(record.created_at + 1)


async def test_a_cancelled_call_does_not_lose_the_answer(desk: Desk) -> None:
    sent, go_on = anyio.Event(), anyio.Event()

    class Waiting(Provider):
        async def create(self, product: str, body: Body, endpoint: str = "") -> Task:
            sent.set()
            await go_on.wait()
            return await super().create(product, body)

    async with anyio.create_task_group() as group:
        group.start_soon(desk.send, Waiting([made()]))
        await sent.wait()
        group.cancel_scope.cancel()
        go_on.set()

    row = await desk.row()
    assert (row.task_id, row.status, row.lease_owner) == ("t-1", "submitted", "")


REFUSALS: list[type[ProviderError]] = [PaymentRequired, AuthFailed, RateLimited]


@pytest.mark.parametrize("second", REFUSALS)
async def test_a_refusal_after_a_lost_create_does_not_prove_that_nothing_was_made(
    desk: Desk, second: type[ProviderError]
) -> None:
    provider = Provider([lost(), second("no")])

    error = await desk.refused(provider)

    assert error.charged == "unknown"
    assert (await desk.row()).status == "unknown"


@pytest.mark.parametrize("second", REFUSALS)
async def test_a_repeat_that_is_refused_stays_in_doubt_and_keeps_its_id(
    desk: Desk, second: type[ProviderError]
) -> None:
    provider = Provider([lost(), second("no"), made()], {"*": ProviderDown("down")})
    await desk.refused(provider)
    provider.tasks = {}

    error = await desk.refused(provider)
    record, _ = await desk.send(provider)

    assert error.charged == "unknown"
    assert record.task_id is not None
    assert len(set(provider.ids)) == 1


async def test_our_own_id_that_exists_and_is_not_seen_yet_was_charged(desk: Desk) -> None:
    error = await desk.refused(Provider([lost(), DuplicateTask("exists")]))

    assert error.charged == "yes"
    assert (await desk.row()).status == "unknown"


@pytest.mark.parametrize("name", ["kling", "newapi"])
async def test_a_rate_limit_that_may_have_made_a_task_is_not_queued(desk: Desk, name: str) -> None:
    maybe_charged = RateLimited("1302 with HTTP 500", charged="unknown")

    error = await desk.refused(Provider([maybe_charged, maybe_charged], name=name))

    assert error.charged == "unknown"
    assert (await desk.row()).status == "unknown"


async def test_an_older_task_with_the_caller_s_id_is_not_taken_for_this_one(desk: Desk) -> None:
    old = Task("theirs", "succeed", external_task_id="scene-1", created_at=1.0)
    provider = Provider([lost(), DuplicateTask("exists")], {"*": old})

    error = await desk.refused(provider, external_task_id="scene-1")

    assert error.charged == "unknown"
    assert (await desk.row()).task_id is None
