"""The client of a provider: endpoints, retries, deadlines, errors of its HTTP.

A read is repeated (by stamina, after the Retry-After of the answer). A create is not repeated
here: the submission looks for its task, and decides. One exception is safe: after a token was
refused for its age, the same request goes out once more with a fresh token, as Kling had not looked
at it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import httpx
import stamina

from kling_mcp.inputs.held import HeldFile
from kling_mcp.providers.auth import A_KEY, SignedToken
from kling_mcp.providers.balance import (
    Deduction,
    ResourcePack,
    Source,
    read_deductions,
    read_packs,
)
from kling_mcp.providers.configured import SANDBOX_URL
from kling_mcp.providers.dialects import (
    read_history,
    read_look,
    read_records,
    read_task,
    read_tasks,
)
from kling_mcp.providers.error_codes import CODES, no_such_task, unreadable
from kling_mcp.providers.json_body import Body, FileBody
from kling_mcp.providers.network import connection_fault
from kling_mcp.providers.redaction import Redactor
from kling_mcp.providers.responses import (
    ENCODINGS,
    Answer,
    UnreadableBody,
    VideoStream,
    extent,
    read_body,
    read_created,
    read_document,
)
from kling_mcp.providers.retries import LAST_ATTEMPT_S, retry_after_s, retry_hook
from kling_mcp.providers.rows import ProviderRow, Shape
from kling_mcp.providers.steps import read_step
from kling_mcp.providers.task import OUR_IDS, Asset, Task, read_library
from kling_mcp.providers.transport import Connection, checked_url, parsed_url
from kling_tools.errors import (
    AuthFailed,
    Charged,
    KlingError,
    ProviderDown,
    ProviderError,
    TaskNotFound,
)
from kling_tools.products import ASSETS, MADE, STEPS, AssetEntry, Made, ProductEntry
from kling_tools.rules.capabilities import Wire

__all__ = ["HISTORY_PAGE", "RECORDS_AT_ONCE", "KlingClient", "Observe"]

logger = logging.getLogger(__name__)

READ_DEADLINE_S = 30
"""Seconds for all attempts of one read together; hosts end a tool call after 60."""
CREATE_TIMEOUT = httpx.Timeout(connect=10, read=30, write=60, pool=10)
"""Seconds for the steps of a create; a create without an answer by then is looked for."""
CREATE_DEADLINE_S = 180
"""Seconds for a create: four pictures of 10 MB are 53 MB of JSON."""
ANSWER_LIMIT = 16 * 2**20
"""The most bytes of an answer that are read; 500 listed tasks take about half a megabyte."""
REDIRECTS = 3
DEDUCTIONS_PAGE = 500
"""The most deductions of one page of the bill."""
RECORDS_AT_ONCE = 20
"""The most ids in one query of the new standard [Kling's page, and its refusal of more]."""
HISTORY_PAGE = 500
"""The most tasks of one page of the new standard's history."""
RECORDS: tuple[Shape, ...] = ("record",)
ASSETS_PAGE, MOST_ASSETS = 500, 5_000
"""Elements or voices of one page of a list, and those that are read at most."""
YEAR_MS = 365 * 86_400_000

ResultT = TypeVar("ResultT")

Observe = Callable[[str, str, str, float], None]
"""Hears of each request: provider, method, outcome (HTTP status or `broken`), seconds."""

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""Failures before the connection was open: the request cannot have arrived."""
_BROKEN = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
"""All errors of httpx; InvalidURL stands for a broken redirect, followed or not."""


class KlingClient:
    """Talks to one provider over one connection for the life of the process.

    A read is tried up to `attempts` times. Every method raises `ProviderError` or a subclass. Its
    `charged` is `unknown` when a create was sent and may have arrived.
    """

    def __init__(
        self,
        row: ProviderRow,
        connection: Connection,
        observe: Observe | None = None,
        redactor: Redactor | None = None,
        *,
        attempts: int = 4,
    ) -> None:
        self.row = row
        self._connection = connection
        self._observe = observe
        self._redactor = redactor or Redactor(credentials=[connection.credentials])
        self._attempts = attempts
        self._url = lru_cache(maxsize=64)(self._joined)

    async def create(self, product: Made, body: Body, endpoint: str = "") -> Task:
        """Send one create, or a step before one, once, to the product's legacy path or to an
        `endpoint` of the new standard. Returns the new task of the provider's answer."""
        if endpoint:
            self._refuse_a_key_pair()
        headers = {"Content-Type": "application/json", "Content-Length": str(body.content_length)}
        request = self._connection.api.build_request(
            "POST",
            self._url(endpoint or self._path(product)),
            content=body,
            headers=headers,
            timeout=CREATE_TIMEOUT,
        )

        def read(answer: Answer) -> Mapping[str, Any]:
            made = MADE[product]
            answer = replace(answer, made_from=made.made_from, has_models=made.has_models)
            return read_document(answer) if product in STEPS else read_created(answer)

        document = await self._send(request, CREATE_DEADLINE_S, "unknown", read)
        if product in STEPS:
            return read_step(document, STEPS[product].name, self.row.name)
        shapes = RECORDS if endpoint else self.row.shapes
        return self._charged(read_task(document, shapes, self.row.name, MADE[product].result))

    async def hand_in(self, held: HeldFile, sha256: str) -> str:
        """Give a file to the embedded sandbox, which fetches nothing. Returns its address there."""
        body = FileBody(held)
        request = self._connection.api.build_request(
            "PUT",
            f"{SANDBOX_URL}/sandbox/inputs/{sha256}",
            content=body,
            headers={"Content-Length": str(body.content_length)},
        )
        document = await self._send(request, CREATE_DEADLINE_S, "no", read_document)
        return str(document["data"]["url"])

    async def task(self, product: Made, task_id: str, wire: Wire = "legacy") -> Task:
        """One task, by its task_id or, at providers that know it, its external_task_id. A task that
        succeeded may not have its video yet."""
        if wire == "new":
            ours = task_id.startswith(OUR_IDS)
            known = await self.records([task_id], by_our_ids=ours)
            if not known and not ours:  # a caller's own external_task_id may look like any id
                known = await self.records([task_id], by_our_ids=True)
            if not known:
                raise no_such_task(self.row.name)
            return known[0]
        entry = MADE[product]
        if isinstance(entry, ProductEntry) and not entry.found_by_our_id:
            return await self._task_by_any_id(product, task_id)
        return await self._task(product, task_id)

    async def _task_by_any_id(self, product: Made, any_id: str) -> Task:
        """One task of a product whose query takes no id of ours: it is in the list by that."""
        if not any_id.startswith(OUR_IDS):
            with suppress(TaskNotFound):
                return await self._task(product, any_id)
        listed = await self.tasks(product, 1, HISTORY_PAGE)
        if found := next((task for task in listed if task.external_task_id == any_id), None):
            return found
        raise no_such_task(self.row.name)

    async def _task(self, product: Made, task_id: str) -> Task:
        path = f"{self._path(product)}/{_segment(task_id)}"
        row = self.row
        repeats = row.external_ids != "unknown" or not task_id.startswith(OUR_IDS)

        def look(document: Mapping[str, Any]) -> Task:
            kind = MADE[product].result
            found = read_look(document, row.shapes, row.name, task_id, kind, repeats_ids=repeats)
            return self._charged(found)

        return await self._read(path, {}, look)

    async def tasks(self, product: Made, page: int, page_size: int) -> list[Task]:
        """One page of the provider's list, in its order, without unreadable entries."""
        params = {"pageNum": page, "pageSize": page_size}
        read = partial(read_tasks, kind=MADE[product].result)
        tasks = await self._read(self._path(product), params, read)
        return [self._charged(task) for task in tasks[:page_size]]

    async def records(self, ids: Sequence[str], *, by_our_ids: bool = False) -> list[Task]:
        """The tasks with these ids, RECORDS_AT_ONCE at most, whatever standard and product made
        them; those that Kling does not know are left out. One that succeeded may not have its video
        yet. The ids are external_task_ids with `by_our_ids`."""
        self._refuse_a_key_pair()
        name = "external_task_ids" if by_our_ids else "task_ids"
        read = await self._read("/tasks", {name: ",".join(ids)}, read_records)
        told = {task.external_task_id if by_our_ids else task.task_id for task in read}
        if not told <= set(ids):
            raise unreadable(self.row.name, "it tells of another task")
        return [self._charged(task) for task in read]

    async def history(
        self,
        *,
        limit: int,
        since: float | None = None,
        until: float | None = None,
        cursor: str = "",
    ) -> tuple[list[Task], str]:
        """A page of all videos of the account, whatever standard and product made them, and the
        cursor of the next page; empty behind the last one. `since` and `until` are seconds since
        the epoch (without them the last 30 days); a cursor has its own."""
        self._refuse_a_key_pair()
        asked: dict[str, Any] = {
            "limit": limit,
            "filters": [{"key": "product_type", "values": ["video"]}],
        }
        times = {"start_time": since, "end_time": until}
        asked |= {name: int(at * 1000) for name, at in times.items() if at is not None}
        if cursor:
            asked["cursor"] = cursor
        tasks, following = await self._read("/tasks", {}, read_history, asked)
        return [self._charged(task) for task in tasks], following

    async def account(self, now: float) -> list[ResourcePack]:
        """The account's resource packs at a time (seconds since the epoch), for providers whose row
        `tells_units`. The call is free, allowed once a second, and up to 12 hours behind (Kling's
        account page)."""
        until = int(now * 1000)
        params = {"start_time": until - YEAR_MS, "end_time": until}
        return await self._read("/account/costs", params, read_packs)

    async def deductions(
        self, source: Source, since: float, until: float, cursor: str = ""
    ) -> tuple[list[Deduction], str]:
        """A page of what the account's packs or its balance paid between two times (seconds since
        the epoch), whoever asked for it, and the cursor of the next page; empty behind the last
        one. The call is free [Kling's billing pages]."""
        times = {"start_time": int(since * 1000), "end_time": int(until * 1000)}
        asked = {"limit": DEDUCTIONS_PAGE, **({"cursor": cursor} if cursor else times)}
        reader = partial(read_deductions, source=source, provider=self.row.name)
        return await self._read(f"/account/billing/{source}", {}, reader, asked)

    async def assets(self, entry: AssetEntry, *, own: bool) -> list[Asset]:
        """All elements or voices of the account (`own`) or of Kling, MOST_ASSETS at most, deleted
        ones too, in the provider's order."""
        path = f"{self.row.assets}/{entry.path if own else entry.presets}"
        read = partial(read_library, own=own)
        found: list[Asset] = []
        for page in range(1, MOST_ASSETS // ASSETS_PAGE + 1):
            params = {"pageNum": page, "pageSize": ASSETS_PAGE}
            shown, entries = await self._read(path, params, read)
            found += shown
            if entries < ASSETS_PAGE:
                break
        return found

    async def delete_asset(self, entry: AssetEntry, asset_id: str) -> None:
        """Delete one of the account's own elements or voices. A second time is refused."""
        body = {f"{entry.kind}_id": asset_id}
        await self._read(f"{self.row.assets}/{entry.delete}", {}, lambda _: None, body)

    def _charged(self, task: Task) -> Task:
        """The task with its currency, by the account's region where the answer names none. 0 units
        are no price of a video: the account's balance or a gateway's own bill pays it."""
        video = task.lacks_file or (task.status == "succeed" and task.videos)
        if video and task.units == 0:
            task = replace(task, units=None)
        if task.money and not task.currency:
            base_url = str(self._connection.api.base_url).rstrip("/")
            task = replace(task, currency=self.row.currencies.get(base_url, ""))
        return task

    def _refuse_a_key_pair(self) -> None:
        """Raises AuthFailed, before anything is sent, where the key cannot use the new standard."""
        if isinstance(self._connection.credentials, SignedToken):
            raise AuthFailed(
                "Kling's new standard takes no access key pair.",
                provider=self.row.name,
                charged="no",
                advice=f"The person who runs the server has to set {A_KEY}.",
            )

    def _joined(self, path: str) -> httpx.URL:
        """The whole URL of a path; httpx would join the same few paths of creates each time."""
        return self._connection.api.build_request("POST", path).url

    def _path(self, product: Made) -> str:
        return MADE[product].below(self.row.assets if product in ASSETS else self.row.prefix)

    async def _read(
        self,
        path: str,
        params: Mapping[str, int | str],
        reader: Callable[[Mapping[str, Any]], ResultT],
        body: Mapping[str, Any] | None = None,
    ) -> ResultT:
        """What a GET answers, or a POST that only asks, as the one with a `body` does."""
        began = anyio.current_time()
        async for attempt in stamina.retry_context(
            on=retry_hook(began),
            attempts=self._attempts,
            timeout=LAST_ATTEMPT_S,
            wait_initial=0.3,
            wait_max=5,
        ):
            with attempt:
                method = "GET" if body is None else "POST"
                request = self._connection.api.build_request(method, path, params=params, json=body)
                left_s = began + READ_DEADLINE_S - anyio.current_time()
                try:
                    return reader(await self._send(request, left_s, "no", read_document))
                except ProviderError as error:
                    error.charged = "no"
                    raise
        raise AssertionError("stamina ends with a result or an exception")

    async def _send(
        self,
        request: httpx.Request,
        deadline_s: float,
        lost: Charged,
        read: Callable[[Answer], Mapping[str, Any]],
    ) -> Mapping[str, Any]:
        """The document of the answer to a request. After a token that was refused for its age, the
        same request is sent once more with a fresh one."""
        until = anyio.current_time() + deadline_s
        answer = await self._exchange(request, deadline_s, lost)
        try:
            return read(answer)
        except ProviderError as error:
            row = CODES.get(error.code or "")
            if row is None or not row.renew or not self._connection.credentials.renew():
                raise
        return read(await self._exchange(request, until - anyio.current_time(), lost))

    async def _exchange(self, request: httpx.Request, deadline_s: float, lost: Charged) -> Answer:
        token = self._connection.credentials.token()
        request.headers.update({"Authorization": f"Bearer {token}", "Accept-Encoding": ENCODINGS})
        name, host = self.row.name, request.url.host
        began, outcome = anyio.current_time(), "broken"
        try:
            with anyio.fail_after(deadline_s):
                response = await self._connection.api.send(request, stream=True)
                outcome = str(response.status_code)
                try:
                    body = await _limited(response)
                finally:
                    await response.aclose()
        except _NOT_SENT as error:
            raise _unreachable(name, host, error, "no") from error
        except UnreadableBody as error:
            strange = unreadable(name, str(error))
            strange.charged = lost
            raise strange from error
        except (*_BROKEN, TimeoutError) as error:
            raise _unreachable(name, host, error, lost) from error
        except KlingError:
            raise
        except Exception as error:
            logger.exception("A request to %s broke in an unknown way.", name)
            raise _unreachable(name, host, error, lost) from error
        finally:
            if self._observe:
                self._observe(name, request.method, outcome, anyio.current_time() - began)
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        return Answer(response.status_code, body, wait_s, name, self._redactor)

    @asynccontextmanager
    async def open_video(self, url: str, offset: int = 0) -> AsyncIterator[VideoStream]:
        """Stream a result from its signed URL, beginning at byte `offset`; without the key.

        Raises UnsafeUrl for any URL but https (or http at a provider on this machine), and
        ProviderDown when the stream cannot be opened or breaks.
        """
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        async with self._followed(url, headers) as response:
            if response.status_code not in (200, 206):
                raise ProviderDown(
                    f"The video's URL answers HTTP {response.status_code}.",
                    http_status=response.status_code,
                    retry_after_s=retry_after_s(response.headers.get("Retry-After")),
                    provider=self.row.name,
                    advice="The video is not paid again: in a few minutes call kling_save_video, "
                    "which asks the provider for another URL.",
                    of_file=True,
                )
            start, total = extent(response.status_code, response.headers, offset)
            yield VideoStream(start, total, _chunks(response, self.row.name))

    @asynccontextmanager
    async def _followed(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        files = self._connection.files
        for _ in range(REDIRECTS + 1):
            checked, extensions = self._checked(url)
            request = files.build_request("GET", checked, headers=headers, extensions=extensions)
            try:
                response = await files.send(request, stream=True)
            except KlingError:
                raise
            except Exception as error:  # a client breaks at a strange URL in many ways
                raise _unreachable(self.row.name, request.url.host, error, "no") from error
            if not response.is_redirect:
                break
            url = str(response.next_request.url) if response.next_request else ""
            await response.aclose()
        else:
            raise ProviderDown("The video's URL redirects in a circle.", provider=self.row.name)
        try:
            yield response
        finally:
            await response.aclose()

    def _checked(self, url: str) -> tuple[httpx.URL, dict[str, Any]]:
        """The URL if it may be fetched, and the extensions of its request; raises UnsafeUrl."""
        parsed = parsed_url(url) or httpx.URL()
        host = parsed.raw_host.decode("ascii")
        base, local = self._connection.api.base_url, self._connection.loopback
        own = (parsed.scheme, host, parsed.port) == (base.scheme, base.host, base.port)
        return parsed, checked_url(parsed.scheme, host, local=local, own=own)


def _segment(any_id: str) -> str:
    """An id as one segment of a path. Dots are escaped too, as `..` would climb."""
    return quote(any_id, safe="", errors="replace").replace(".", "%2E")


async def _limited(response: httpx.Response) -> bytes:
    """The body, read without httpx's own decompression, which has no limit."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    encoding = response.headers.get("Content-Encoding", "")
    return await read_body(response.stream, encoding, ANSWER_LIMIT)


async def _chunks(response: httpx.Response, provider: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except _BROKEN as error:
        host = response.request.url.host
        raise _unreachable(provider, host, error, "no") from error


def _unreachable(provider: str, host: str, error: Exception, charged: Charged) -> KlingError:
    timed_out = isinstance(error, TimeoutError | httpx.TimeoutException)
    why = "did not answer in time" if timed_out else "broke the connection"
    advice = "Try again later."
    if isinstance(error, _NOT_SENT):
        why = "cannot be reached"
        advice = "Check the network, and the base URL (setting {base_url})."
    if isinstance(error, httpx.ProxyError):
        why = "cannot be reached: the proxy refuses"
        advice = "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
    elif fault := connection_fault(error):
        why, advice = fault
    advice = advice.replace("{base_url}", f"{provider.upper()}_BASE_URL")
    return ProviderDown(
        f"{provider} ({host}) {why}.",
        retryable=True,
        provider=provider,
        charged=charged,
        advice=advice,
    )
