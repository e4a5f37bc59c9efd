"""Subscriptions to tasks, in both eras of the protocol."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast
from weakref import WeakKeyDictionary

import anyio
from anyio.abc import TaskStatus
from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY, ServerEvent, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated, event_matches, event_to_notification
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    Notification,
    ServerNotification,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from kling_mcp.protocol.middleware import current_service
from kling_mcp.protocol.tasks_extension import TaskDesk, TaskState, require_tasks
from kling_tools.addresses import TASKS_URI, task_of
from kling_tools.errors import KlingError
from kling_tools.results import ENDED

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.service import Service

__all__ = ["Subscriptions", "add_subscriptions", "follow"]


logger = logging.getLogger(__name__)


async def follow(
    service: Service,
    uris: Sequence[str],
    tell: Callable[[str], None],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Keep the tasks behind these URIs watched, and call `tell` with each URI that changes, until
    cancelled. `task_status` starts once no change can be missed.

    When the ledger cannot be read, nothing is told; calls report the reason.
    """
    try:
        await _watch_and_tell(service, uris, tell, task_status)
    except Exception as error:
        expected = isinstance(error, KlingError)
        logger.warning("A subscription goes without news: %s", error, exc_info=not expected)
        with suppress(RuntimeError):  # it may have started before
            task_status.started()


async def _watch_and_tell(
    service: Service,
    uris: Sequence[str],
    tell: Callable[[str], None],
    task_status: TaskStatus[None],
) -> None:
    named = {uri: task_id for uri in uris if (task_id := task_of(uri))}
    if not named and TASKS_URI not in uris:
        task_status.started()
        return
    async with service.changed_tasks() as changes, AsyncExitStack() as stack:
        await stack.enter_async_context(service.watch(list(named.values())))
        watched: set[str] = set()

        async def watch(records: Sequence[Record]) -> None:
            new = [r.id for r in records if r.status not in ENDED and r.id not in watched]
            if new:
                watched.update(new)
                await stack.enter_async_context(service.watch(new))

        if TASKS_URI in uris:
            await watch(await service.reader.running())
        task_status.started()
        async for handle in changes:
            record = await service.reader.find(handle)
            own = record is not None and record.handle == handle  # else it may be another's task_id
            if not own and not service.sees_all:
                continue
            if TASKS_URI in uris:
                await watch([record] if record else [])
                tell(TASKS_URI)
            names = {handle}
            if record:
                names |= {record.id, record.external_task_id, record.task_id or handle}
            for uri, task_id in named.items():
                if names & {task_id, service.principal.external_id(task_id)}:
                    tell(uri)


BUFFERED = 1024
"""Notifications that are kept for a client that does not read; then its stream ends."""

FOLLOWED = 500
"""Tasks, and addresses of resources, that one stream or connection may name: each is looked up."""

Context = ServerRequestContext[Any, Any]


class TaskNotification(Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """A task's state on a stream; the core protocol does not know this one."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: dict[str, Any]


def add_subscriptions(server: MCPServer[Any], bus: SubscriptionBus, desk: TaskDesk) -> None:
    """Serve subscriptions in both eras; `bus` carries what others publish, `desk` the tasks.

    MCPServer has no public way to serve `resources/subscribe` or to replace its listener, which
    knows no tasks: the handlers are registered with the low-level server behind it.
    """
    subscriptions = Subscriptions(bus, desk)
    low_level = cast(Any, server)._lowlevel_server
    for method, params, handler in (
        ("resources/subscribe", SubscribeRequestParams, subscriptions.subscribe),
        ("resources/unsubscribe", UnsubscribeRequestParams, subscriptions.unsubscribe),
        ("subscriptions/listen", SubscriptionsListenRequestParams, subscriptions.listen),
    ):
        low_level.add_request_handler(method, params, handler)


class Subscriptions:
    """The handlers, and what each connection of the older era has subscribed to."""

    def __init__(self, bus: SubscriptionBus, desk: TaskDesk) -> None:
        self._bus = bus
        self._desk = desk
        self._held: WeakKeyDictionary[Any, dict[str, anyio.CancelScope]] = WeakKeyDictionary()

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Notify this connection of changes of one resource, until it unsubscribes or ends."""
        held = self._scopes(ctx)
        uri = str(params.uri)
        if uri not in held and (uri == TASKS_URI or task_of(uri)):
            if len(held) >= FOLLOWED:
                message = f"At most {FOLLOWED} subscriptions a connection: unsubscribe from some."
                raise MCPError(code=INVALID_PARAMS, message=message)
            held[uri] = scope = anyio.CancelScope()
            follows = anyio.Event()
            current_service().start_soon(self._tell, ctx, uri, scope, follows)
            await follows.wait()
        return EmptyResult()

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Stop the notifications, and watching for them, at once."""
        if scope := self._scopes(ctx).pop(str(params.uri), None):
            scope.cancel()
        return EmptyResult()

    async def listen(
        self, ctx: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream: an acknowledgement first, then the notifications asked for, until the
        client ends it or the login that opened it expires."""
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        wanted = params.notifications
        if len(wanted.resource_subscriptions or ()) > FOLLOWED:
            message = f"At most {FOLLOWED} resourceSubscriptions a stream."
            raise MCPError(code=INVALID_PARAMS, message=message)
        task_ids = await self._task_ids(ctx, wanted)
        honored = _honored(wanted, task_ids)
        uris = frozenset(honored.resource_subscriptions or ())
        send, receive = anyio.create_memory_object_stream[ServerNotification](BUFFERED)

        def deliver(notification: ServerNotification) -> None:
            try:
                send.send_nowait(notification)
            except anyio.WouldBlock:
                send.close()
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                return

        def hear(event: ServerEvent) -> None:
            if event_matches(honored, uris, event):
                deliver(event_to_notification(event, meta))

        def tell(state: TaskState) -> None:
            told = TaskNotification(params={**state.detailed(), "_meta": meta})
            deliver(cast(ServerNotification, told))

        stop = self._bus.subscribe(hear)
        try:
            async with anyio.create_task_group() as group:
                left_s = current_service().principal.expires_at - time.time()
                group.cancel_scope.deadline = anyio.current_time() + left_s
                changed = partial(follow, current_service(), sorted(uris))
                await group.start(changed, lambda uri: hear(ResourceUpdated(uri=uri)))
                for task_id in task_ids:
                    group.start_soon(self._desk.follow, task_id, ctx, tell)
                acknowledged = SubscriptionsAcknowledgedNotification(
                    params=SubscriptionsAcknowledgedNotificationParams(
                        notifications=honored, _meta=meta
                    )
                )
                await ctx.session.send_notification(acknowledged, ctx.request_id)
                async for notification in receive:
                    await ctx.session.send_notification(notification, ctx.request_id)
                group.cancel_scope.cancel()
        finally:
            stop()
            send.close()
            receive.close()
        return SubscriptionsListenResult(_meta=meta)

    async def _task_ids(self, ctx: Context, wanted: SubscriptionFilter) -> list[str]:
        """The existing ones of the tasks asked for. Raises MCPError for a client without the
        extension."""
        asked = (wanted.model_extra or {}).get("taskIds")
        if asked is None:
            return []
        require_tasks(ctx)
        if not isinstance(asked, list) or not all(isinstance(item, str) for item in asked):
            raise MCPError(code=INVALID_PARAMS, message="taskIds has to be a list of texts.")
        if len(asked) > FOLLOWED:
            raise MCPError(code=INVALID_PARAMS, message=f"At most {FOLLOWED} taskIds a stream.")
        return [item for item in dict.fromkeys(asked) if await self._desk.knows(item, ctx)]

    def _scopes(self, ctx: Context) -> dict[str, anyio.CancelScope]:
        """The scopes of a connection's subscriptions; all are cancelled when it ends."""
        connection = cast(Any, ctx.session)._connection
        if connection not in self._held:
            held: dict[str, anyio.CancelScope] = {}
            self._held[connection] = held
            connection.exit_stack.callback(_cancel_all, held)
        return self._held[connection]

    async def _tell(
        self, ctx: Context, uri: str, scope: anyio.CancelScope, follows: anyio.Event
    ) -> None:
        send, receive = anyio.create_memory_object_stream[str](1)

        def changed(uri: str) -> None:
            if not send.statistics().current_buffer_used:
                send.send_nowait(uri)

        try:
            with scope, send, receive:
                async with anyio.create_task_group() as group:
                    await group.start(follow, current_service(), [uri], changed)
                    follows.set()
                    async for uri in receive:
                        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                            await ctx.session.send_resource_updated(uri)
        finally:
            follows.set()


def _cancel_all(held: dict[str, anyio.CancelScope]) -> None:
    for scope in held.values():
        scope.cancel()
    held.clear()


def _honored(wanted: SubscriptionFilter, task_ids: Sequence[str]) -> SubscriptionFilter:
    """What is acknowledged: everything asked for, but of the tasks only the existing ones."""
    flags = ("tools_list_changed", "prompts_list_changed", "resources_list_changed")
    honored: dict[str, Any] = {name: True for name in flags if getattr(wanted, name)}
    if wanted.resource_subscriptions:
        honored["resource_subscriptions"] = list(wanted.resource_subscriptions)
    if task_ids:
        honored["taskIds"] = list(task_ids)
    return SubscriptionFilter(**honored)
