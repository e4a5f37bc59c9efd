"""Ledger rows and provider tasks as an agent sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Protocol

from kling_mcp.ledger import Record
from kling_mcp.ledger.records import beyond_use
from kling_mcp.providers.error_codes import MADE_FROM, of_content
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.task import NO_ADDRESS, Task, Video
from kling_mcp.tasks.account import price_of
from kling_tools.errors import quote_provider
from kling_tools.products import ASSETS, MADE, PRODUCTS, STEPS, ProductEntry
from kling_tools.quoting import clipped, counted
from kling_tools.requests.times import spoken
from kling_tools.results import ENDED, AnotherTake, PictureView, TaskView, VideoView, is_here
from kling_tools.rules.capabilities import Capabilities

__all__ = [
    "DELETED",
    "FILE_LATE",
    "MAYBE_DELETED",
    "ONLY_THE_PROVIDER",
    "WITHOUT_ID",
    "Files",
    "Link",
    "Saving",
    "Viewer",
    "after_failure",
    "another_take",
    "asset_next",
    "can_be_repeated",
    "same_again",
]

PROMPT_SHOWN = 80
"""Characters of a prompt that a view shows."""

AFTER_FAILURE = (
    "Providers say that failed tasks are not charged. Change the {made_from} and submit again."
)
COST_NOTHING = "It cost nothing."
STEPS_KEPT = "The video itself cost nothing; its {steps} {are} kept, and not paid again."
CHANGE_IT = "Change the {made_from} and submit again."
FAILED_PAID = (
    "It was charged although it failed: the owner of the account can ask the provider why. Change "
    "the {made_from} before you submit again."
)
FILE_LATE = "The provider says that it is done, but its video is not there yet. Wait for it."
ONLY_THE_PROVIDER = (
    "Only the provider can help, with this task_id. Raise take to make (and pay for) it again."
)
NO_FILE = (
    "The provider says that it is done, but names no video to fetch; kling_save_video asks once "
    f"more. {ONLY_THE_PROVIDER}"
)
DELETED = "The provider has deleted it after 30 days."
MAYBE_DELETED = "The provider keeps it for 30 days, which are over, so it may be deleted"
"""After its days it is not known whether a video is there until it is asked for."""

NOT_SAVED = "Save it with kling_save_video."
NOT_SAVED_IN_SANDBOX = "Save it with kling_save_video; a sandbox URL opens on no other machine."
ON_ITS_WAY = "It is being sent; the answer is awaited."
GONE = "not there any more"
CHANGED = "not as it was saved any more"
LOST = "Sent, but the answer was lost. Each call looks for the task; do not submit it again."
LOST_FOR_GOOD = (
    "Sent, but the answer was lost, and this provider cannot be asked for the task: check its "
    "console or bill. Raise take to make (and pay for) it again."
)
WITHOUT_ID = (
    "This model takes no id of ours, and no task of its time is surely this one. Each call looks "
    "again, and kling_list_tasks shows what its provider has. The same request is not sent again; "
    "only if none of those tasks is it, raise take to make (and pay) the video once more."
)
NEVER_MADE = "It was never made and cost nothing"
SUBMIT_AGAIN = "Submit again to make it; if it is refused again, that answer says what to do."
TAKEN_BACK = "It was {how} and cost nothing. Submit again to make it."
BEFORE_SENT = "withdrawn before it was sent"
SHOWN_IN_LISTS = ("failed", "unknown")
"""States whose advice a list shows."""
STRANGE = "The provider reports a state that is unknown here; look again later."


def same_again(record: Record, takes: Sequence[int]) -> AnotherTake:
    """The call that makes the row's request once more, without its price. `takes` exist of it."""
    return AnotherTake(
        tool=MADE[record.product].tool,
        arguments={"another_take_of": record.handle}
        | ({"take": max(takes) + 1} if len(takes) > 1 else {}),
        give_again=record.arguments_as_bytes,
    )


def another_take(
    record: Record, takes: Sequence[int], clients: Clients, capabilities: Capabilities
) -> AnotherTake:
    """The same with its price."""
    price = price_of(record.provider, record.estimate_units, clients, capabilities, record.product)
    return same_again(record, takes).model_copy(
        update={
            "estimate_units": price.units,
            "estimate_usd": None if price.usd is None else round(price.usd, 4),
            "price_from": price.price_from,
            "unit": MADE[record.product].other_unit,
        }
    )


def asset_next(record: Record) -> str:
    """What can be done with the element or voice that a finished task made."""
    row = ASSETS[record.product]
    if record.is_gone:
        return f"The {row.kind} is deleted. {row.tool} with the same arguments makes it anew."
    return f'Put "{record.asset_id}" ({record.prompt}) in {row.used_in}'


def can_be_repeated(record: Record) -> bool:
    """Whether the row's request may be made once more: it has ended, it is kept, and the provider
    does not refuse its prompt or picture each time."""
    refused = record.status == "failed" and bool(of_content(record.message))
    return record.status in ENDED and bool(record.arguments) and not refused


def after_failure(
    units: float | None,
    money: float | None,
    provider_says: str = "",
    *,
    sandbox: bool,
    record: Record | None,
) -> str:
    """Advice for a failed task by its cost, None if unknown, by the provider's words, and by its
    row, where there is one. The `sandbox` charges nothing."""
    made_from = MADE[record.product].made_from if record else MADE_FROM
    if sandbox:
        units, money = 0, None
    if units or money:
        return FAILED_PAID.format(made_from=made_from)
    if units is None and money is None:
        return AFTER_FAILURE.format(made_from=made_from)
    steps = steps_of(record) if record else ""
    head = (
        STEPS_KEPT.format(steps=steps, are="are" if " and " in steps else "is")
        if steps
        else COST_NOTHING
    )
    change = of_content(provider_says, made_from) or CHANGE_IT.format(made_from=made_from)
    return f"{head} {change}"


def steps_of(record: Record) -> str:
    """The steps before the row's create, which have a price of their own; empty without any."""
    row = next((row for row in PRODUCTS.values() if row.name == record.product), None)
    spoken = record.arguments.get("text") or record.request.get("audio_id")
    steps = [STEPS[name].words for name in row.steps if name != "speech" or spoken] if row else []
    return " and ".join(steps)


@dataclass(frozen=True, slots=True)
class Link:
    """An address, and the time (UTC, as text) at which it expires."""

    url: str
    expires_at: str


class Files(Protocol):
    """The saved videos. With `private`, callers get links and never see a path."""

    @property
    def private(self) -> bool: ...

    async def examine(self, records: Sequence[Record]) -> None:
        """Find out which of the saved videos were changed, as far as that is done soon."""
        ...

    def seems_there(self, record: Record) -> bool:
        """Whether the row's video seems to be where it was saved, by what is known of it."""
        ...

    def is_changed(self, record: Record) -> bool:
        """Whether another file lies where it was saved."""
        ...

    def link(self, record: Record) -> Link | None:
        """An address at which the row's video can be read; None where callers read the file."""
        ...


@dataclass(frozen=True, slots=True)
class Saving:
    """How the saving of a video goes: how far it is (`state`), and what went wrong and what to do
    (`advice`). Both are empty where nobody has tried; `failed` where the advice says until when."""

    state: str = ""
    advice: str = ""
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Shows tasks as they are `now` (seconds since the epoch), with the paths of their `files` or
    links to them, and times in the `zone`. `saving` says how the saving of a video goes, `outlook`
    what becomes of a queued request."""

    clients: Clients
    files: Files
    now: Callable[[], float]
    saving: Callable[[Record], Saving]
    outlook: Callable[[Record], str]
    zone: tzinfo | None = None

    def record(self, record: Record) -> TaskView:
        """A task of the ledger."""
        view = TaskView(
            task_id=record.handle,
            status=(status := record.state(self.now())),
            provider=record.provider if self.clients.several else None,
            sandbox=record.sandbox or None,
            elapsed_s=self._elapsed_s(status, _since(record)),
            videos=_videos(record.videos),
            asset_id=record.asset_id or None,
            pictures=_pictures(record.videos),
            unit=MADE[record.product].other_unit,
            units=record.units if record.status in ("succeed", "failed") else None,
            apart_from=(steps_of(record) or None) if record.status in ENDED else None,
            billed_by=self._reseller(record),
            **_cash(record),
            **self._names(record),
        )
        asset = ASSETS.get(record.product)
        if record.is_film:
            view.provider = view.take = None
            view.file = (record.message or None) if status == "processing" else None
            if record.status == "succeed" and self.files.seems_there(record):
                self._show_the_file(record, view)
            return view
        if record.status == "cancelled":
            view.next = TAKEN_BACK.format(how=record.message or BEFORE_SENT)
        elif record.status == "failed" and record.task_id is None:
            if record.quoted:
                view.provider_says = quote_provider(record.message) or None
            view.next = _never_made(record)
        elif record.status == "failed":
            view.provider_says = quote_provider(record.message) or None
            view.next = after_failure(
                record.units, record.money, record.message, sandbox=record.sandbox, record=record
            )
        elif status == "sending":
            view.next = ON_ITS_WAY
        elif status == "unknown":
            view.next = STRANGE if record.task_id else LOST
            if record.task_id is None and not record.named:
                view.next = f"Sent, but the answer was lost. {WITHOUT_ID}"
            if self.lost_for_good(record):
                view.next = LOST_FOR_GOOD
        elif record.status == "queued":
            view.next = self.outlook(record)
        elif record.status == "processing" and record.ended_at is not None:
            view.next = FILE_LATE
        elif asset and record.status == "succeed":
            view.next = asset_next(record)
        elif record.status == "succeed":
            self._show_the_file(record, view)
            if not (view.videos or view.pictures or view.path or view.url):
                view.next = _about_no_file(record)
        if record.is_beyond_use:
            view.next = str(beyond_use(record))
        elif record.damaged:
            damage = f"Its row in the ledger is damaged in {', '.join(record.damaged)}."
            view.next = f"{view.next or ''} {damage}".strip()
        return view

    def _reseller(self, record: Record) -> str | None:
        """The provider, when it told units that are not its own price."""
        known = record.provider in self.clients.names
        own = known and self.clients.configured(record.provider).row.list_price
        told = record.units and record.status in ENDED
        return record.provider if told and not own and record.provider != "kling" else None

    def lost_for_good(self, record: Record) -> bool:
        """Whether it was sent, its answer lost, and its provider cannot be asked for it."""
        if record.state(self.now()) != "unknown" or record.task_id is not None:
            return False
        known = record.provider in self.clients.names
        return not known or self.clients.configured(record.provider).row.external_ids == "none"

    def _names(self, record: Record) -> dict[str, Any]:
        """What tells a task from others, as fields of its view."""
        request = record.request
        given, more = [*record.pictures], len(record.pictures) - 1
        shown = given if more < 2 else [given[0], f"{more} more"]
        seconds = str(request.get("duration", ""))
        return {
            "picture": " and ".join(shown) or None,
            "prompt": _cut(record.prompt) or None,
            "model_name": record.model_name or None,
            "mode": _text(request.get("mode")),
            "duration_s": int(seconds) if seconds.isdecimal() and len(seconds) < 4 else None,
            "resolution": _text(request.get("resolution")),
            "sound": _text(request.get("sound")),
            "take": None if record.is_asset else record.take or None,
            "created": spoken(record.created_at, self.zone) if record.status in ENDED else None,
        }

    def _show_the_file(self, record: Record, view: TaskView) -> None:
        """Where the file of a finished video is, or how to get it."""
        if self.files.seems_there(record):
            link = self.files.link(record)
            view.path = None if self.files.private else record.path
            view.url = link.url if self.files.private and link else None
            for each in record.each_file()[1:]:
                link = self.files.link(each)
                view.more += filter(None, [link.url if link else each.path])
            view.next = record.file_note or None
            return
        changed = self.files.is_changed(record)
        was = "changed" if changed else "moved or deleted"
        at = "" if self.files.private else f": {record.path} was {was}"
        saving = self.saving(record)
        lost = f"{CHANGED if changed else GONE}{at}" if record.path else None
        view.file = saving.state or lost
        until = record.expires_at
        past = until is not None and self.now() > until
        if until is not None and not saving.failed and not past:
            view.fetch_until = spoken(until, self.zone)
        if saving.state or saving.advice:
            view.next = saving.advice or None
        elif past:
            view.next = f"{MAYBE_DELETED}; kling_save_video saves it if it is still there."
        else:
            view.next = _not_saved(view)

    def foreign(self, task: Task, provider: str) -> TaskView:
        """A task that this ledger does not know, as the provider tells of it."""
        view = TaskView(
            task_id=task.task_id,
            status=task.status,
            provider=provider if self.clients.several else None,
            sandbox=self.clients.sandbox(provider) or None,
            elapsed_s=self._elapsed_s(task.status, task.created_at),
            created=spoken(task.created_at, self.zone) if task.created_at else None,
            videos=_videos(task.videos),
            pictures=_pictures(task.videos),
            unit=_other_unit(task.videos),
            units=task.units,
            **_cash(task),
            provider_says=quote_provider(task.message) or None,
        )
        if task.status == "failed":
            view.next = after_failure(
                task.units, task.money, task.message, sandbox=bool(view.sandbox), record=None
            )
        elif task.status == "succeed" and not (view.videos or view.pictures):
            view.next = NO_FILE
        elif task.status == "succeed":
            view.next = _not_saved(view)
        return view

    def listed(self, record: Record, refused: int = 1) -> TaskView:
        """A row of a list: what distinguishes it from others, without URLs and advice. It stands
        for a request that was `refused` so many times."""
        view = self.record(record)
        if record.status == "failed" and record.task_id is None and not record.damaged:
            view.next = _never_made(record, refused)
        no_file = record.status == "succeed" and not (view.path or view.url)
        unsaved = no_file and self.saving(record).advice
        shown = record.status in SHOWN_IN_LISTS or record.damaged or unsaved
        return view.model_copy(
            update={
                "source": "ledger",
                "provider": record.provider,
                "created": spoken(record.created_at, self.zone),
                "videos": [],
                "pictures": [],
                "more": [] if self.files.private else view.more,
                "url": None,
                "next": view.next if shown else None,
            }
        )

    def listed_foreign(self, task: Task, provider: str) -> TaskView:
        """A row of a list that only the provider knows."""
        view = self.foreign(task, provider)
        return view.model_copy(
            update={
                "source": provider,
                "provider": provider,
                "videos": [],
                "pictures": [],
                "next": None,
            }
        )

    def _elapsed_s(self, status: str, since: float | None) -> int | None:
        if status in ENDED or since is None:
            return None
        return max(0, round(self.now() - since))


def _since(record: Record) -> float:
    """When the row's state began: each try of a queued request is a short `sending` in between."""
    return record.created_at if record.status == "queued" else record.status_at


def _never_made(record: Record, refused: int = 0) -> str:
    """Advice for a task that was never made, with the reason where it is ours. In a list, where it
    was `refused` so many times, what holds for all of them is left out."""
    times = f", refused {counted(refused, 'time')}" if refused > 1 else ""
    head = f"Never made{times}" if refused else NEVER_MADE
    if record.quoted and (advice := of_content(record.message, MADE[record.product].made_from)):
        return f"{head}. {advice}"
    said = "" if record.quoted else quote_provider(record.message)
    why = f': "{said}"' if said else "."
    return f"{head}{why}" if refused else f"{head}{why} {SUBMIT_AGAIN}"


def _about_no_file(record: Record) -> str:
    """Advice for a task that ended without a video, with its cost."""
    if record.units is not None or record.money is not None:
        return NO_FILE
    price = (
        "an unknown price"
        if record.estimate_units is None
        else counted(record.counted_units, MADE[record.product].unit)
    )
    return f"{NO_FILE} The provider does not say whether it was charged; the estimate was {price}."


def _cash(paid: Record | Task) -> dict[str, Any]:
    """What a balance paid, with what is not plain: another list price, and the test balance."""
    other_price = paid.list_price if paid.list_price != paid.money else None
    return {
        "money": paid.money,
        "currency": (paid.currency or None) if paid.money is not None else None,
        "list_price": other_price if paid.money is not None else None,
        "cash_type": "test_balance" if paid.cash_type == "test_balance" else None,
    }


def _videos(videos: Sequence[Video]) -> list[VideoView]:
    return [
        VideoView(url=v.url, duration_s=v.duration_s, watermark_url=v.watermark_url)
        for v in videos
        if v.url != NO_ADDRESS and v.kind == "video"
    ]


def _pictures(results: Sequence[Video]) -> list[PictureView]:
    return [
        PictureView(url=each.url, watermark_url=each.watermark_url)
        for each in results
        if each.url != NO_ADDRESS and each.kind == "picture"
    ]


def _not_saved(view: TaskView) -> str:
    links = [*(each.url for each in view.videos), *(each.url for each in view.pictures)]
    has_link = not all(map(is_here, links))
    return NOT_SAVED_IN_SANDBOX if view.sandbox and has_link else NOT_SAVED


def _other_unit(results: Sequence[Video]) -> str | None:
    """The name of the units of a task that is known by its results alone."""
    return next((row.other_unit for row in PRODUCTS.values() if _makes(row, results)), None)


def _makes(row: ProductEntry, results: Sequence[Video]) -> bool:
    return any(each.kind == row.result for each in results)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _cut(text: str) -> str:
    return clipped(" ".join(text.split()), PROMPT_SHOWN)
