"""What the tools call, for one caller: every id is looked up among the caller's own tasks."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.background import Background
from kling_mcp.principal import LOCAL, SPEND, Principal
from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_mcp.runtime import Ports, Runtime, Sleep
from kling_tools.decorations import decoration
from kling_tools.errors import (
    KlingError,
    NotAllowed,
    NotConfigured,
    ProviderDown,
    TaskNotFound,
    UnsafePath,
    quote_provider,
)
from kling_tools.products import FILM_IDS
from kling_tools.quoting import counted
from kling_tools.requests.arguments import ListTasksArguments, LookArguments, SubmitArguments
from kling_tools.requests.assets import (
    AssetArguments,
    DeleteAssetArguments,
    ListAssetsArguments,
)
from kling_tools.requests.drafts import Draft
from kling_tools.requests.films import FilmArguments
from kling_tools.results import (
    ENDED,
    Account,
    AssetList,
    AssetReceipt,
    CancelResult,
    DeletedAsset,
    FilmReceipt,
    Receipt,
    SavedVideo,
    TaskPage,
    TaskView,
    UploadAddress,
    VideoLook,
    WaitResult,
)
from kling_tools.rules.capabilities import Capabilities
from kling_tools.service import Confirm, Report

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream

    from kling_mcp.inputs.policy import PicturePolicy
    from kling_mcp.ledger import Record
    from kling_mcp.outputs.pictures_of_videos import Frames
    from kling_mcp.polling.watched import Watch
    from kling_mcp.providers.configured import Configured
    from kling_mcp.providers.redaction import Redactor
    from kling_mcp.settings.settings import Settings
    from kling_mcp.tasks.reader import TaskReader
    from kling_tools.service import Poster

__all__ = ["Service", "Sleep", "open_service"]

NOT_ANSWERED_YET = (
    "Its provider has not answered yet; this is the last known state. Ask again in a moment."
)

ENDED_WORDS = {"succeed": "been made", "failed": "failed", "cancelled": "been stopped"}
"""How a film has ended, in words."""

ASSET_S = 30.0
"""Seconds for which a call waits for an element or a voice; most take less than ten."""

SHORT_S = 10.0
"""A wait of fewer seconds asks how things are now: each task is then asked for at once."""


class Service:
    """The machine behind the tools; see `kling_tools.service.VideoService`."""

    def __init__(self, runtime: Runtime, principal: Principal = LOCAL) -> None:
        self._runtime = runtime
        self._principal = principal

    def of(self, principal: Principal) -> Service:
        """The same service for another caller."""
        return self if principal == self._principal else Service(self._runtime, principal)

    @property
    def principal(self) -> Principal:
        """The caller, whose tasks this service sees."""
        return self._principal

    @property
    def sees_all(self) -> bool:
        """Whether the caller sees every task: nobody logs in here."""
        return self._principal.only is None

    async def submit(self, draft: Draft[SubmitArguments], confirm: Confirm) -> Receipt:
        """Send one request once, or only judge and price it (`dry_run`). Raises NotAllowed for a
        login without the scope, and what `Submission.submit` raises."""
        if not draft.arguments.dry_run:
            self._require_spending(
                "Ask whoever runs the server for it; dry_run shows the price meanwhile."
            )
        from kling_mcp.submission.new_videos import VideoCreate

        runtime, again = self._runtime, draft.arguments.another_take_of
        way, earlier = runtime.submission, await self.reader.find(again) if again else None
        video = VideoCreate(way, self._principal, self._pictures(), draft, earlier)
        receipt = await way.submit(video, confirm)
        if receipt.status == "queued":
            with decoration("a first try of what is queued"):
                runtime.background.start_soon(runtime.recovery.run)
        return receipt

    async def film(self, draft: Draft[FilmArguments], confirm: Confirm) -> FilmReceipt:
        """Have a film made, or only plan it (`dry_run`). Raises NotAllowed for a login without the
        scope, and what `FilmDesk.film` raises."""
        if not draft.arguments.dry_run:
            self._require_spending(
                "Ask whoever runs the server for it; dry_run shows the price meanwhile."
            )
        return await self._runtime.films.film(draft, self._principal, confirm)

    async def task(self, task_id: str) -> TaskView:
        """The state of a task now. The file of a finished task is written where autosave is on.

        Raises TaskNotFound and other ProviderErrors.
        """
        from kling_mcp.tasks.lookup import in_ledger

        await self._withdraw_old()
        runtime, began = self._runtime, anyio.current_time()
        limits, (own, row) = runtime.limits, await self._own_row(task_id)
        look = partial(runtime.lookup.find_or_take_up, own)
        try:
            found = in_ledger(row) if row else None
            if found is None:
                found = await runtime.background_work.run(look, limits.look_s, key=("look", own))
        except TimeoutError:
            return await self._as_last_seen(own)
        except NotConfigured as error:
            known = await self.reader.find(own)
            if known is None:
                raise
            return self.reader.view(known).model_copy(
                update={"error": error.kind, "next": str(error)}
            )
        record = found.record
        if record is not None and runtime.downloads.is_due(record):
            left_s = limits.answer_s - (anyio.current_time() - began)
            outcome = await runtime.downloads.save_row(record, min(limits.file_s, left_s))
            if not isinstance(outcome, KlingError):
                found, record = replace(found, record=outcome), outcome
        if record is not None:
            await self.reader.examine([record])
        view = _with_former_id(self.reader.show(found), task_id)
        if record is not None and record.is_film:
            return await runtime.films.views.described(view)
        if record is not None and record.status in ENDED and self._makes:
            from kling_mcp.tasks.views import another_take, can_be_repeated

            if can_be_repeated(record):
                takes = await runtime.ledger.takes(record)
                view.another_take = another_take(
                    record, takes, runtime.clients, runtime.capabilities
                )
        return view

    async def _withdraw_old(self) -> None:
        """Withdraw what has waited for too long before the caller's tasks are shown."""
        await self._runtime.waiting.sweep(self._principal)

    async def _as_last_seen(self, own: str) -> TaskView:
        """The last known state of a task whose provider has not answered yet. Raises ProviderDown
        when the ledger has no row of it."""
        record = await self.reader.find(own)
        if record is None:
            raise ProviderDown(
                f"No provider has answered yet whether it has task {quote_provider(own)[:64]}.",
                retryable=True,
                advice="Ask again in a moment.",
            )
        seen = self.reader.view(record)
        known = f"{NOT_ANSWERED_YET} {seen.next or ''}".rstrip()
        return seen.model_copy(update={"next": known})

    @cached_property
    def reader(self) -> TaskReader:
        """The caller's rows of the ledger, as they are there."""
        return self._runtime.reader.of(self._principal)

    @asynccontextmanager
    async def changed_tasks(self) -> AsyncIterator[MemoryObjectReceiveStream[str]]:
        """Handles of tasks that change from now on, also by other servers. They are not filtered by
        owner: look them up with `reader`."""
        async with self._runtime.changes.subscribe() as handles:
            await self._runtime.subscribed()
            yield handles

    async def frame(self, task_id: str, which: str) -> bytes:
        """A PNG of the `first` or `last` frame, or of that at so many seconds, of a finished task.
        Raises like `save`, and KlingError where there is no such frame."""
        return (await self._frames.frame(task_id, which)).data

    async def image(self, task_id: str, number: int) -> bytes:
        """A PNG of a picture that a task made, counted from 1. Raises like `save`, and KlingError
        where there is no such picture."""
        return await self._frames.image_png(task_id, number)

    async def contact_sheet(self, task_id: str) -> bytes:
        """A JPEG of eight frames of a finished task. Raises like `save`."""
        return (await self._frames.contact_sheet(task_id)).data

    def keep_watching(self, record: Record) -> None:
        """Have a running task asked for in the background for some seconds more: a client that asks
        again and again is then answered from the ledger."""
        self._runtime.scheduler.keep(record.id)

    def stop_watching(self, record: Record) -> None:
        """Keep the task watched no longer."""
        self._runtime.scheduler.end(record.id)

    def kept_watch(self, record: Record) -> Watch | None:
        """The watch of a task that is kept watched; None for any other."""
        return self._runtime.scheduler.kept(record.id)

    def poll_s(self, record: Record) -> float:
        """Seconds that a client should leave between two questions for this task."""
        return self._runtime.pace.poll_s(record.provider)

    async def view_now(self, record: Record) -> TaskView:
        """The state of a row's task. Its provider is asked unless it answered just now.

        Raises like `task`.
        """
        runtime = self._runtime
        recent = runtime.pace.just_answered(record, runtime.clock()) and record.status not in ENDED
        return self.reader.view(record) if recent else await self.task(record.id)

    async def withdraw(self, record: Record) -> bool:
        """Withdraw a queued row for good, and return True; False when it is not queued any more. A
        row that is being sent is waited for, up to some seconds."""
        return await self._runtime.waiting.withdraw(record)

    async def cancel(self, task_ids: Sequence[str]) -> CancelResult:
        """Withdraw those that are still queued here, and say of all others why they go on; of a
        film no more is made, and what is queued for it is withdrawn. Nobody but the ledger is
        asked. Raises NotAllowed for a login without the scope."""
        self._require_spending("Ask whoever made the request to withdraw it.")
        await self._withdraw_old()
        tasks, withdrawn = [], 0
        for task_id in dict.fromkeys(task_ids):
            record = await self.reader.find(task_id)
            if record is not None and record.is_film:
                queued = await self._runtime.films.withdraw(record)
                done = queued is not None
                withdrawn += sum([await self.withdraw(row) for row in queued or ()])
            else:
                done = record is not None and await self.withdraw(record)
                withdrawn += done
            tasks.append(await self._cancelled(task_id, record, done=done))
        return CancelResult(withdrawn=withdrawn, tasks=tasks)

    async def _cancelled(self, task_id: str, record: Record | None, *, done: bool) -> TaskView:
        """What became of the wish to cancel a task."""
        if record is None:
            from kling_mcp.tasks.lookup import not_found

            return _unknown(task_id, not_found(task_id))
        now = await self.reader.find(record.id) or record
        view = self.reader.view(now)
        if record.is_film:
            view = await self._runtime.films.views.described(view, shots=False)
            if done:
                return view
            ended = f"It had {ENDED_WORDS[view.status]} before: nothing to stop."
            then = (view.next or "").removeprefix("Stopped. ")
            return view.model_copy(update={"next": f"{ended} {then}".rstrip()})
        if done or now.status == "cancelled":
            return view
        from kling_mcp.submission.waiting import not_withdrawn
        from kling_mcp.tasks.account import price_of

        runtime, saves = self._runtime, self._runtime.settings.save
        price = replace(
            price_of(now.provider, now.estimate_units, runtime.clients, runtime.capabilities),
            sandbox=now.sandbox,
        )
        return view.model_copy(
            update={"next": not_withdrawn(view.status, price, saves=saves), "videos": []}
        )

    async def news(self) -> str:
        """What the caller is told once, with the next answer; usually empty. Raises KlingError."""
        return await self._runtime.waiting.news(self._principal)

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run work in the background until it ends, or until the server does."""
        self._runtime.background.start_soon(work, *args)

    async def tasks(self, query: ListTasksArguments) -> TaskPage:
        """A page of the ledger and of the providers' own lists, newest first (`Listing`)."""
        from kling_mcp.tasks.listing import Listing

        await self._withdraw_old()
        runtime = self._runtime
        listing = Listing(
            runtime.clients,
            runtime.ledger,
            self.reader,
            runtime.limits.look_s,
            runtime.capabilities,
        )
        return await self._with_films(await listing.page(query))

    async def recent(self) -> TaskPage:
        """The newest rows of the ledger, in their last known state."""
        return await self._with_films(await self.reader.recent())

    async def _with_films(self, page: TaskPage) -> TaskPage:
        """The page with its films as they are shown in lists."""
        for place, view in enumerate(page.tasks):
            if view.task_id.startswith(FILM_IDS):
                films = self._runtime.films.views
                page.tasks[place] = await films.described(view, shots=False, listed=True)
        return page

    async def wait(self, task_ids: Sequence[str], timeout_s: float, report: Report) -> WaitResult:
        """Wait until all tasks have ended, `timeout_s` seconds at most, and return their states.

        A task that nobody knows, or that cannot be asked for, counts as ended and says why. While a
        provider is down, the last known state stands. An error that no waiting mends, such as a
        refused key, is raised only when it concerns every task.
        """
        await self._withdraw_old()
        runtime = self._runtime
        own, strange = await self._sorted(task_ids)
        saved = await self._let_be_sent(list(own))
        await runtime.save_finished(self._principal.only)
        if not own:
            return WaitResult(done=True, tasks=[strange[task_id] for task_id in task_ids])
        left = await self._left_films(own)
        async with runtime.scheduler.watch(list(own), at_once=timeout_s < SHORT_S) as watch:
            await self.reader.examine(saved)
            result = await watch.until_over(
                timeout_s,
                report,
                self.reader.show,
                runtime.ledger.several,
                runtime.pace.usual_s,
                runtime.clock,
                lambda record: record.id in left or runtime.waiting.is_left(record),
            )
        for place, (view, task_id) in enumerate(zip(result.tasks, own.values(), strict=True)):
            _with_former_id(view, task_id)
            if view.task_id.startswith(FILM_IDS):
                result.tasks[place] = await runtime.films.views.described(view, shots=False)
        return _in_order(result, task_ids, own, strange)

    @property
    def may_spend(self) -> bool:
        """Whether the caller's login allows it; what the server allows shows in its tools."""
        return SPEND in self._principal.scopes

    @property
    def _makes(self) -> bool:
        return self.may_spend and not self._runtime.settings.read_only

    async def _let_be_sent(self, own: Sequence[str]) -> list[Record]:
        """Whoever may spend, and waits for queued requests, has them sent. Returns the rows that
        have a file."""
        runtime = self._runtime
        if not own or not runtime.ledger.exists:
            return []
        rows = [*(await runtime.ledger.several(own)).values()]
        for record in rows:
            if self._makes and (record.status == "queued" or record.is_unanswered):
                runtime.sender.want(record.id)
        return [record for record in rows if record.path]

    async def _left_films(self, own: Iterable[str]) -> set[str]:
        """The ids of those films that no server makes."""
        runtime, ids = self._runtime, [each for each in own if each.startswith(FILM_IDS)]
        rows = await runtime.ledger.several(ids) if ids and runtime.ledger.exists else {}
        return {row.id for row in rows.values() if await runtime.films.views.is_left(row)}

    @asynccontextmanager
    async def watch(self, task_ids: Sequence[str]) -> AsyncIterator[None]:
        """Keep these tasks watched for as long as the context is held: `changed_tasks` names them
        when they change, and their finished videos are saved where autosave is on."""
        own, _ = await self._sorted(task_ids)
        async with self._runtime.scheduler.watch(list(own)):
            yield

    async def account(self) -> Account:
        """The account as the caller may see it; see `AccountDesk`."""
        return await self._runtime.accounts.account(self._principal)

    async def balances(self) -> dict[str, Any]:
        """The units left at each provider; see `balances`."""
        from kling_mcp.providers.pool import balances

        runtime = self._runtime
        return await balances(runtime.clients, runtime.clock(), runtime.limits.look_s)

    async def save(self, task_id: str, path: str) -> SavedVideo:
        """Write a finished task's video below the output folder; a server for a team writes it to
        its own storage and returns a link. The clips of a batch are written into one folder, each
        with the number of its shot in its name.

        Raises TaskFailed for a failed task, KlingError for one that still runs, UnsafePath,
        UnsafeUrl, SaveFailed and ProviderError.
        """
        downloads, own = self._runtime.downloads, await self._own(task_id)
        rows = await self._runtime.films.views.clips(own) if own.startswith(FILM_IDS) else {}
        if not rows:
            return await downloads.save(own, path, self._runtime.limits.answer_s)
        if Path(path).suffix.lower() == ".mp4":
            raise UnsafePath(
                f"A batch has {counted(len(rows), 'clip')}, which do not go into one file.",
                advice="Give the path of a folder, with a slash at its end.",
            )
        from kling_mcp.outputs.storage import name_of

        folder = f"{path.rstrip('/')}/" if path.strip() else ""
        digits = len(str(max(rows)))
        ends = anyio.current_time() + self._runtime.limits.answer_s
        saved = []
        for number, row in rows.items():
            file = f"{folder}shot-{number:0{digits}}-{name_of(row)}" if folder else ""
            left_s = max(1.0, ends - anyio.current_time())
            saved.append(await downloads.save(row.id, file, left_s))
        clips = [each.path or each.url or "" for each in saved]
        sandbox = all(row.sandbox for row in rows.values())
        note = "Sandbox test clips." if sandbox else None
        return saved[0].model_copy(update={"task_id": own, "clips": clips, "note": note})

    async def look_at(self, query: LookArguments) -> VideoLook:
        """A finished video shown and held against its request; it is saved first when need be. Of a
        film, `at` may name a shot, whose clip is then shown.

        Raises ImageRejected for a picture that cannot be read, and like `frames`.
        """
        from kling_mcp.outputs.look import look

        runtime = self._runtime
        query = await self._of_a_shot(query)
        return await look(
            query,
            self._frames,
            self._pictures(),
            runtime.ledger,
            runtime.clients,
            runtime.capabilities,
        )

    async def _of_a_shot(self, query: LookArguments) -> LookArguments:
        """The query about the shot of a film that it names; any other one as it is. Raises
        KlingError for several shots, and for one that is not there."""
        film = await self.reader.find(query.task_id) if query.at else None
        if film is None or not film.is_film:
            return query
        from kling_mcp.tasks.film_views import shot_of

        named = {at: await shot_of(at, film, self._runtime.ledger) for at in query.at}
        shots = [row for row in named.values() if row is not None]
        if len(shots) > 1:
            raise KlingError("at names several shots.", advice="Name one, and call once for each.")
        if not shots:
            return query
        moments = [at for at, row in named.items() if row is None]
        return query.model_copy(update={"task_id": shots[0].id, "at": moments})

    async def file(self, record: Record) -> Path | None:
        """A file of this machine with the row's saved video; None when it is gone. Raises
        KlingError, also for a film that has none now."""
        storage = self._runtime.downloads.storage
        file = None if record.is_outdated else await storage.file(record)
        if record.is_film and file is None:
            from kling_mcp.tasks.film_views import without_file

            raise await without_file(record, self._runtime.ledger, storage)
        return file

    async def assets(self, query: ListAssetsArguments) -> AssetList:
        """Elements or voices; a few elements with their pictures. Raises what `Library.listed`
        raises."""
        runtime = self._runtime
        answer, shown = await runtime.library.listed(query, self._principal)
        with decoration("the pictures of elements"):
            from kling_mcp.outputs.pictures_of_videos import ELEMENT_PICTURES, element_pictures

            if query.kind == "element" and len(shown) <= ELEMENT_PICTURES:
                provider = runtime.library.provider(query.provider)
                client = await runtime.clients.get(provider.name)
                addresses = [asset.preview for asset in shown if asset.preview]
                answer.show(await element_pictures(client, addresses, runtime.limits.decoding))
        return answer

    async def element_names(self) -> list[str]:
        """The names of the elements at the default provider, the account's own first; none where
        it passes no elements on. Raises ProviderError."""
        from kling_mcp.tasks.library import NotHere

        library = self._runtime.library
        try:
            known = await library.assets(library.provider(""), "element", self._principal)
        except NotHere:
            return []
        return list(dict.fromkeys(a.name for a in known if a.name and not a.deleted))

    async def make_asset(
        self, draft: Draft[AssetArguments], confirm: Confirm, report: Report
    ) -> AssetReceipt:
        """Make an element or a voice once, and wait for it for some seconds. Raises NotAllowed for
        a login without the scope, TaskFailed, and what `Submission.submit` raises."""
        if not draft.arguments.dry_run:
            self._require_spending("Ask whoever runs the server for it.")
        from kling_mcp.submission.new_assets import AssetCreate, finish

        runtime, began = self._runtime, anyio.current_time()
        way, pictures = runtime.submission, self._pictures()
        asset = AssetCreate(way, self._principal, pictures, draft, self.reader)
        receipt, record = await way.submit(asset, confirm), asset.record
        if record is None:
            return receipt
        if record.status not in ENDED:
            left_s = runtime.limits.answer_s - (anyio.current_time() - began)
            await self.wait([record.id], min(ASSET_S, max(0.0, left_s)), report)
        return finish(receipt, await self.reader.row(record.id) or record)

    async def delete_asset(
        self, query: DeleteAssetArguments, agreed: Callable[[str], Awaitable[bool]]
    ) -> DeletedAsset:
        """Delete one of the account's own. Raises NotAllowed for a login without the scope, and
        what `Library.delete` raises."""
        self._require_spending("Ask whoever runs the server for it.")
        return await self._runtime.library.delete(query, self._principal, agreed)

    async def upload(self) -> UploadAddress:
        """An address that takes one picture. Raises NotAllowed, and KlingError on a server that
        reads the caller's own disk."""
        uploads = self._runtime.ports.uploads
        if uploads is None:
            raise KlingError("This server reads local pictures itself: give the path.")
        self._require_spending("Ask whoever runs the server for it.")
        return await uploads.address(self._principal.name)

    async def thumbnail(self, arguments: SubmitArguments) -> str:
        """The first picture of a request, small, as a `data:` URI; empty when there is none."""
        from kling_mcp.inputs.opening import thumbnail

        return await thumbnail(arguments.pictures(), self._pictures())

    async def posters(self, task_ids: Sequence[str]) -> Sequence[Poster]:
        """Small pictures of these tasks' saved videos, where the setting wants them."""
        if not self._runtime.settings.poster or not task_ids:
            return ()
        from kling_mcp.outputs.pictures_of_videos import make_posters

        return await make_posters(self._frames, task_ids)

    def progress(self, record: Record) -> str:
        """A running task in a sentence: its state, its age, and how long it usually takes, by the
        table until it is known what such tasks took here."""
        words, pace = self.reader.view(record).text(), self._runtime.pace
        usual_s = (pace.usual_s(record) or pace.expected_s(record)) if record.task_id else 0.0
        return f"{words} It usually takes about {usual_s:.0f} s." if usual_s >= 1 else words

    def _pictures(self) -> PicturePolicy:
        return self._runtime.pictures(self._principal)

    def _require_spending(self, advice: str) -> None:
        """Raise NotAllowed for a login without the scope to spend."""
        if SPEND not in self._principal.scopes:
            raise NotAllowed(
                f"This login may look at videos, not make them: it lacks the scope {SPEND}.",
                advice=advice,
            )

    @cached_property
    def _frames(self) -> Frames:
        return self._runtime.frames.of(self._principal)

    async def _own(self, task_id: str, record: Record | None = None) -> str:
        """The id under which this process knows the task of an id, a link or a path, of which the
        row may be known. Raises TaskNotFound, in the same words, for a task of another caller and
        for one that does not exist."""
        own, _ = await self._own_row(task_id, record)
        return own

    async def _own_row(
        self, task_id: str, record: Record | None = None
    ) -> tuple[str, Record | None]:
        """The same, and the row of the task; None for one made elsewhere."""
        from kling_mcp.tasks.lookup import is_address, not_found

        record = record or await self.reader.find(task_id)
        if self.sees_all and not is_address(task_id) and not (record and record.is_film):
            return task_id, record
        if record is None:
            raise not_found(task_id)
        return record.id, record

    async def _sorted(self, task_ids: Sequence[str]) -> tuple[dict[str, str], dict[str, TaskView]]:
        """The caller's own tasks, by the id under which this process knows them, with the id that
        the caller gave; and the views of all other ids."""
        own: dict[str, str] = {}
        strange: dict[str, TaskView] = {}
        rows = await self.reader.several(task_ids)
        for task_id in dict.fromkeys(task_ids):
            try:
                own.setdefault(await self._own(task_id, rows.get(task_id)), task_id)
            except TaskNotFound as error:
                strange[task_id] = _unknown(task_id, error)
        return own, strange


def _unknown(task_id: str, error: TaskNotFound) -> TaskView:
    """The view of an id that is none of the caller's tasks."""
    return TaskView(task_id=task_id, status="unknown", error=error.kind, next=str(error))


def _with_former_id(view: TaskView, asked_for: str) -> TaskView:
    """The view; it names our own id, by which it was asked for, beside the provider's."""
    from kling_mcp.providers.task import OUR_IDS

    if asked_for.startswith(OUR_IDS) and view.task_id != asked_for:
        view.was = asked_for
    return view


def _in_order(
    result: WaitResult,
    task_ids: Sequence[str],
    own: Mapping[str, str],
    strange: Mapping[str, TaskView],
) -> WaitResult:
    """The result with the views of strange ids at the places where the caller named them."""
    if not strange:
        return result
    seen = {**dict(zip(own.values(), result.tasks, strict=True)), **strange}
    tasks = [seen[task_id] for task_id in dict.fromkeys(task_ids) if task_id in seen]
    return result.model_copy(update={"tasks": tasks})


@asynccontextmanager
async def open_service(
    settings: Settings,
    capabilities: Capabilities,
    providers: Mapping[str, Configured],
    sleep: Sleep = anyio.sleep,
    clock: Callable[[], float] = time.time,
    ports: Ports | None = None,
    limits: TimeLimits = TIME_LIMITS,
    redactor: Redactor | None = None,
) -> AsyncIterator[Service]:
    """The service for the life of a server. Everything that it opened is closed at the end."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        runtime = Runtime(
            settings=settings,
            capabilities=capabilities,
            providers=providers,
            stack=stack,
            background=Background(group),
            clock=clock,
            sleep=sleep,
            ports=ports or Ports(),
            limits=limits,
            redactor=redactor,
        )
        with runtime.ports.running(runtime) if runtime.ports.running else nullcontext():
            yield Service(runtime)
            await runtime.finish_saving()
        group.cancel_scope.cancel()
