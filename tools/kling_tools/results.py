"""What an agent gets: structured answers, each with a line of text that says the same.

Some hosts show a model only the structured content, others only the text, so each is complete on
its own. Empty fields are left out.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Literal
from urllib.parse import urlsplit

from mcp_types import ImageContent
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from kling_tools.faults import Variant, listed
from kling_tools.products import STEPS, AssetKind, Result
from kling_tools.quoting import clipped, counted, size_text, spans
from kling_tools.rules.capabilities import PriceFrom, SumFrom, price_text, units_text, usd_text

__all__ = [
    "WITHOUT_VIDEO",
    "Account",
    "AnotherTake",
    "Answer",
    "AssetList",
    "AssetReceipt",
    "AssetView",
    "CancelResult",
    "Cap",
    "DeletedAsset",
    "FilmReceipt",
    "Finding",
    "PictureLook",
    "PictureView",
    "ProviderAccount",
    "ProviderPrice",
    "Receipt",
    "SavedPicture",
    "SavedVideo",
    "ShotView",
    "Spent",
    "TaskPage",
    "TaskStatus",
    "TaskView",
    "Total",
    "UploadAddress",
    "VideoLook",
    "VideoView",
    "WaitResult",
    "is_here",
]

TaskStatus = Literal[
    "queued", "sending", "unknown", "submitted", "processing", "succeed", "failed", "cancelled"
]
"""Kling's own words and four of ours: `queued` (kept here until a slot is free), `sending` (on its
way now), `unknown` (sent, but the answer was lost; the task is looked for) and `cancelled`
(withdrawn here before it was sent)."""

WITHOUT_VIDEO: frozenset[TaskStatus] = frozenset({"failed", "cancelled"})

ENDED: frozenset[TaskStatus] = WITHOUT_VIDEO | {"succeed"}

SANDBOX_NOTE = "Sandbox: nothing is charged, the video is a test clip."
SANDBOX_NOTES: Mapping[Result, str] = {
    "video": SANDBOX_NOTE,
    "picture": "Sandbox: nothing is charged, the pictures are test pictures.",
}


class _Part(BaseModel):
    """What an answer is made of. It is built when the first one is."""

    model_config = ConfigDict(protected_namespaces=(), defer_build=True)


class Answer(_Part):
    """A structured answer that can also say itself in one line."""

    def structured(self) -> dict[str, Any]:
        """The answer as JSON fields; optional ones that are None or empty are left out."""
        dumped = self.model_dump(mode="json")
        required = _required(type(self))
        kept = {name: dumped[name] for name in dumped if name in required}
        fields: dict[str, Any] = kept | _without_nothing(dumped)
        return fields

    def text(self) -> str:
        """The answer in one line."""
        raise NotImplementedError(type(self))

    def for_apps(self) -> dict[str, Any] | None:
        """Fields for an app of the host alone; the model does not see them."""
        return None

    def finished(self) -> list[str]:
        """Ids of the tasks whose videos the answer presents as finished."""
        return []

    def images(self) -> list[ImageContent]:
        """What the model is to see besides the text."""
        return []


@cache
def _required(kind: type[Answer]) -> frozenset[str]:
    return frozenset(name for name, info in kind.model_fields.items() if info.is_required())


def _without_nothing(value: Any) -> Any:
    """The value without what is empty, but with the blanks of a variant's change: they take an
    argument away."""
    if isinstance(value, dict):
        return {
            n: v if n == "change" else _without_nothing(v)
            for n, v in value.items()
            if v is not None and v != [] and v != ""
        }
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    return value


class VideoView(_Part):
    """One finished video: its signed URL (valid up to 30 days) and its length in seconds."""

    url: str
    duration_s: float | None = None
    watermark_url: str = ""


class PictureView(_Part):
    """One finished picture: its signed URL (valid up to 30 days)."""

    url: str
    watermark_url: str = ""


class AnotherTake(_Part):
    """The same request once more: the tool, its arguments, those to add because their pictures came
    as bytes (`give_again`), and the price."""

    tool: str
    arguments: dict[str, Any]
    give_again: list[str] = []
    estimate_units: float | None = None
    estimate_usd: float | None = None
    unit: str | None = None
    price_from: PriceFrom | None = None

    def text(self, *, sandbox: bool) -> str:
        """How to make it, and what it costs."""
        price = price_text(
            self.estimate_units,
            self.estimate_usd,
            unit=self.unit or "unit",
            sandbox=sandbox,
            price_from=self.price_from,
        )
        return f"Another take ({self.call}) costs {price}."

    @property
    def call(self) -> str:
        """Its arguments in words."""
        again = f", take {self.arguments['take']}" if "take" in self.arguments else ""
        again += "".join(f", {name} again" for name in self.give_again)
        return f'another_take_of "{self.arguments["another_take_of"]}"{again}'


class ShotView(_Part):
    """A shot of a film: the task that makes it, its state, and its units, estimated until they are
    known. `what` it is: in a plan how it is made, where that differs from the shot before; later a
    few words of its prompt, unless the name of its `file` has them. Of many, {task_id} in the
    name stands for the id."""

    shot: int
    status: TaskStatus | None = None
    task_id: str | None = None
    what: str | None = None
    file: str | None = None
    units: float | None = None
    next: str | None = None

    def text(self) -> str:
        """The shot in a few words; empty where there is nothing to say of it."""
        units = "" if self.units is None else units_text(self.units)
        facts = (self.status, self.task_id, self.what, self.file, units)
        said = ". ".join(filter(None, [", ".join(filter(None, facts)), self.next]))
        return f"{self.shot}: {said}" if said else ""


IN_THE_RECEIPT = frozenset({"model_name", "mode", "duration_s", "resolution", "sound", "take"})
"""Fields that are left out of the view of one task that runs."""

PENDING_PROMPT = 16
"""Characters of the prompt of such a task."""


class TaskView(Answer):
    """One task. `elapsed_s` counts seconds since the submit while it runs; `units` is what it cost
    when the provider says so, `money` what the account's balance paid instead, in its `currency`,
    with its `list_price` before a discount (`cash_type` test_balance: the test balance); `path`
    where the video is saved, or `url` a link to it that soon expires, from a server that keeps it;
    without either, `file` is how the saving goes, and `fetch_until` when the provider deletes it.
    `was` is the id under which it was asked for, until the provider gave it its own; `billed_by` a
    reseller, whose own price the `units` are not.
    `picture` is the first picture's name, `duration_s` the seconds that were asked for, `at` the
    time of day where `created` is the span of a whole list. `asset_id` is the element or voice that
    the task made. A task that makes pictures has them in `pictures`, each also at
    kling://tasks/ID/images/1 and so on, and `more` paths or links of the further ones; its units
    are those that `unit` names; what steps before it cost is not among them (`apart_from`). A film
    (`kind`; a batch is one that is not joined) has its `shots`, whose files lie in `shots_in`
    unless their paths say otherwise."""

    task_id: str
    status: TaskStatus
    kind: Literal["film", "batch"] | None = None
    elapsed_s: int | None = None
    provider: str | None = None
    sandbox: bool | None = None
    source: str | None = None
    picture: str | None = None
    prompt: str | None = None
    model_name: str | None = None
    mode: str | None = None
    duration_s: int | None = None
    resolution: str | None = None
    sound: str | None = None
    take: int | None = None
    created: str | None = None
    at: str | None = None
    videos: list[VideoView] = []
    asset_id: str | None = None
    pictures: list[PictureView] = []
    units: float | None = None
    unit: str | None = None
    apart_from: str | None = None
    money: float | None = None
    currency: str | None = None
    list_price: float | None = None
    cash_type: str | None = None
    path: str | None = None
    url: str | None = None
    more: list[str] = []
    file: str | None = None
    fetch_until: str | None = None
    provider_says: str | None = None
    was: str | None = None
    billed_by: str | None = None
    error: str | None = None
    next: str | None = None
    another_take: AnotherTake | None = None
    shots_in: str | None = None
    shots: list[ShotView] = []

    @property
    def is_pending(self) -> bool:
        """Whether its provider makes it now."""
        return self.status in ("submitted", "processing")

    def structured(self) -> dict[str, Any]:
        """The fields. A task that runs is asked for again and again: of it only those that say
        which it is and for how long, as the receipt has the others."""
        fields = super().structured()
        if self.is_pending:
            untold = self._untold()
            fields = {name: value for name, value in fields.items() if name not in untold}
            if self.prompt:
                fields["prompt"] = clipped(self.prompt, PENDING_PROMPT)
        return fields

    def text(self) -> str:
        """The task in one line."""
        if self.is_pending:
            return self.model_copy(update={**self._untold(), "prompt": None}).in_a_line()
        return self.in_a_line()

    def _untold(self) -> dict[str, None]:
        """The fields that the view of one running task leaves out."""
        return dict.fromkeys(IN_THE_RECEIPT - ({"take"} if (self.take or 1) > 1 else set()))

    def in_a_line(self) -> str:
        """The task in one line, with all that is known of it."""
        was = f" (before: {self.was})" if self.was else ""
        head = f"{self.task_id}{was}: {self.status}"
        if self.elapsed_s is not None:
            head += f" for {self.elapsed_s} s"
        where = [self.provider or "", "sandbox" if self.sandbox else ""]
        if any(where):
            head += f" ({', '.join(dict.fromkeys(part for part in where if part))})"
        again = self.another_take.text(sandbox=bool(self.sandbox)) if self.another_take else ""
        shots = "; ".join(filter(None, (shot.text() for shot in self.shots)))
        shots = f"Shots{f' in {self.shots_in}' * bool(self.shots_in)}: {shots}." if shots else ""
        sentences = [f"{', '.join([head, *self.facts()])}.", shots, self.next or "", again]
        return " ".join(sentence for sentence in sentences if sentence)

    def facts(self) -> list[str]:
        """Which task it is, what it cost and where its file is, in a few words each."""
        seconds = f"{self.duration_s} s" if self.duration_s else ""
        sound = "with sound" if self.sound == "on" else ""
        what = (self.model_name, self.mode, self.resolution, seconds, sound)
        facts = [
            self.kind or "",
            self.picture or "",
            f'"{self.prompt}"' if self.prompt else "",
            " ".join(word for word in what if word),
            f"take {self.take}" if self.take else "",
            f"made {self.created}" if self.created else "",
            f"at {self.at}" if self.at else "",
        ]
        for video in self.videos:
            link = "" if self.path or self.url or is_here(video.url) else f" {video.url}"
            copy = f", watermarked copy {video.watermark_url}" if video.watermark_url else ""
            facts.append(f"{video.duration_s or '?'} s video{link}{copy}")
        if self.asset_id:
            facts.append(f"id {self.asset_id}")
        if self.pictures:
            urls = [] if self.path or self.url else [each.url for each in self.pictures]
            links = "".join(f" {url}" for url in urls if not is_here(url))
            copies = "".join(
                f", watermarked copy {i.watermark_url}" for i in self.pictures if i.watermark_url
            )
            facts.append(f"{counted(len(self.pictures), 'picture')}{links}{copies}")
        if self.units is not None:
            verb = "would have cost" if self.sandbox and self.units else "cost"
            listed = " at Kling's list price" if self.units and self.billed_by else ""
            cost = units_text(self.units, self.unit or "unit") if self.units else "nothing"
            apart = f" apart from its {self.apart_from}" if self.apart_from else ""
            facts.append(f"{verb} {cost}{apart}{listed}")
        facts += [
            self._paid_by_balance(),
            f"saved at {' and '.join([self.path, *self.more])}" if self.path else "",
            f"saved: {' and '.join([self.url, *self.more])}" if self.url else "",
            f"also {' and '.join(self.more)}" if self.more and not (self.path or self.url) else "",
            f"file {self.file}" if self.file else "",
            f"can be fetched until {self.fetch_until}" if self.fetch_until else "",
            f'the provider says: "{self.provider_says}"' if self.provider_says else "",
        ]
        return [fact for fact in facts if fact]

    def _paid_by_balance(self) -> str:
        if self.money is None:
            return ""
        currency = f" {self.currency}" if self.currency else ""
        higher = self.list_price is not None and self.list_price != self.money
        listed = f" (list price {self.list_price:g}{currency})" if higher else ""
        balance = "test balance" if self.cash_type == "test_balance" else "balance"
        return f"cost {self.money:g}{currency} of the account's {balance}{listed}"

    def finished(self) -> list[str]:
        """This task, once it has its video."""
        there = self.videos or self.pictures or self.path or self.url
        return [self.task_id] if self.status == "succeed" and there else []


def is_here(url: str) -> bool:
    """Whether the address is one of the sandbox in this program, which nobody else can open."""
    return (urlsplit(url).hostname or "").endswith(".invalid")


class ProviderPrice(_Part):
    """What a request costs at one of the providers between which the server chose: its `units`, and
    the `cost` in the account's `currency`, from its `list price`, from `its row`, or as its balance
    `paid last`. Without a cost the price is not known. `why_not` says why it cannot make the
    request, `taken` that it does."""

    provider: str
    units: float | None = None
    cost: float | None = None
    currency: str | None = None
    price_from: PriceFrom | None = None
    taken: bool | None = None
    why_not: str | None = None
    usd_per_unit: float | None = Field(default=None, exclude=True)
    rate: float = Field(default=1, exclude=True)

    def priced(
        self,
        usd_per_unit: float,
        currency: str,
        rate: float,
        price_from: PriceFrom,
    ) -> ProviderPrice:
        """The same with the price of a unit, in US dollars, and so much of its currency for one."""
        known = {"usd_per_unit": usd_per_unit, "currency": currency, "rate": rate}
        return self.model_copy(update={**known, "price_from": price_from})

    def of_units(self, units: float | None) -> ProviderPrice:
        """The same for so many units."""
        if self.why_not or units is None:
            return self.model_copy(update={"currency": None, "price_from": None})
        of_one = self.usd_per_unit
        cost = None if of_one is None else round(units * of_one * self.rate, 4)
        return self.model_copy(update={"units": units, "cost": cost})

    def text(self) -> str:
        """The offer in a few words."""
        if self.why_not:
            return f"not {self.provider}: {self.why_not}"
        taken = ", chosen" if self.taken else ""
        if self.cost is None:
            return f"{self.provider} at a price that is not known{taken}"
        return f"{self.provider} {self.cost:.2f} {self.currency} ({self.price_from}{taken})"


class FaceView(BaseModel):
    """One face of a video: its number, and from when to when (seconds) it is seen."""

    face: int
    from_s: float
    to_s: float

    def text(self) -> str:
        """The face in a few words."""
        return f"{self.face} ({self.from_s:g}-{self.to_s:g} s)"


class Receipt(Answer):
    """What a create call did: what was sent, what it will cost, and how to go on. `video` is the
    size that the video will have, as far as it is known: "720x1280", or "720p, 3:2". `uses` are the
    elements and voices with their names. `prices` compares the providers between which the server
    chose; `price_from` says where the dollars of the estimate come from, unless from Kling's list
    price.

    `repeated` says that this very request was made before and nothing was sent now; `dry_run`
    that nothing was sent at all; "full" then has the exact call in `request`. For `n` pictures the
    units are those that `unit` names. A video with several `faces`, of which the caller chose none,
    is shown them, and nothing is made.
    """

    task_id: str | None = None
    status: TaskStatus | None = None
    dry_run: bool | None = None
    provider: str
    model_name: str
    mode: str | None = None
    duration_s: int | None = None
    n: int | None = None
    sound: Literal["on"] | None = None
    take: int
    estimate_units: float | None = None
    estimate_usd: float | None = None
    unit: str | None = None
    prices: list[ProviderPrice] = []
    pictures: list[str] = []
    uses: list[str] = []
    video: str | None = None
    sent: list[str] = []
    will_send: list[str] = []
    not_sent: list[str] = []
    repeated: bool | None = None
    faces: list[FaceView] = []
    faults: list[dict[str, str]] = []
    would_pass: Variant | None = None
    warnings: list[str] = []
    request: dict[str, Any] | None = None
    note: str | None = None
    next: str | None = None
    price_from: PriceFrom | None = None
    _thumbnail: str = PrivateAttr("")
    _images: list[ImageContent] = PrivateAttr(default_factory=list)

    def show(self, jpegs: Sequence[bytes]) -> None:
        """Give the model these pictures."""
        self._images += [_jpeg(jpeg) for jpeg in jpegs]

    def images(self) -> list[ImageContent]:
        """The faces, in their order."""
        return self._images

    def show_in_player(self, thumbnail: str) -> None:
        """Give the player a thumbnail of the picture, a `data:` URI."""
        self._thumbnail = thumbnail

    def for_apps(self) -> dict[str, Any] | None:
        """The thumbnail, under a name of ours."""
        return {"kling-mcp/thumbnail": self._thumbnail} if self._thumbnail else None

    def text(self) -> str:
        """The receipt in one line."""
        sound = "with sound" if self.sound else ""
        seconds = f"{self.duration_s} s" if self.duration_s is not None else ""
        count = counted(self.n, "picture") if self.n else ""
        parts = (self.model_name, self.mode, seconds, sound, count)
        what = " ".join(part for part in parts if part)
        price = price_text(
            self.estimate_units,
            self.estimate_usd,
            self.provider,
            self.unit or "unit",
            price_from=self.price_from,
        )
        if self.dry_run:
            take = f", take {self.take}" if self.take > 1 else ""
            costs = "" if self.faults and self.estimate_units is None else f", {price}"
            head = f"Dry run for {self.provider}, nothing sent: {what}{take}{costs}."
        elif self.repeated:
            head = f"Already made: task {self.task_id}, {self.status}."
        elif self.faces:
            shown = ", ".join(face.text() for face in self.faces)
            head = f"Not made yet: the video has several faces, {shown}. With one it costs {price}."
        else:
            where = f"at {self.provider}, {what}"
            head = f"Task {self.task_id} {self.status} {where}, take {self.take}, {price}."
        faults = [_fault_text(fault) for fault in self.faults]
        others = any(given.startswith(("video:", "sound_file:")) for given in self.pictures)
        made_of = "From" if others else "Pictures"
        prices = "; ".join(price.text() for price in self.prices)
        lines = [
            head,
            f"Prices: {prices}." if prices else "",
            f"{made_of}: {'; '.join(self.pictures)}." if self.pictures else "",
            f"Uses {', '.join(self.uses)}." if self.uses else "",
            f"Video: {self.video}." if self.video else "",
            f"Sent: {', '.join(self.sent)}." if self.sent else "",
            f"Will send: {', '.join(self.will_send)}." if self.will_send else "",
            f"Not sent: {', '.join(self.not_sent)}." if self.not_sent else "",
            f"It would be refused: {' '.join(faults)}" if faults else "",
            str(self.would_pass or ""),
            f"Warning: {' '.join(self.warnings)}" if self.warnings else "",
            _request_text(self.request) if self.request else "",
            self.note or "",
            self.next or "",
        ]
        return " ".join(line for line in lines if line)


def _jpeg(data: bytes) -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type="image/jpeg")


class FilmReceipt(Answer):
    """What a film will cost, or that it is made now. The estimates are those of what has still to
    be made, `usual_s` the seconds that this usually takes; `seconds` is the length of the film,
    `size` its pixels, or its lines and shape. `fits` is the best plan within the cap, as arguments
    of the call. Where shots have faults, the price is that of the others; `batch` is True where
    nothing is joined. `requests` are those that a full dry run shows."""

    task_id: str | None = None
    status: TaskStatus | None = None
    dry_run: bool | None = None
    name: str
    batch: bool | None = None
    estimate_units: float | None = None
    estimate_usd: float | None = None
    usual_s: int | None = None
    seconds: float | None = None
    size: str | None = None
    shots: list[ShotView] = []
    faults: list[dict[str, str]] = []
    fits: dict[str, Any] | None = None
    requests: list[dict[str, Any]] = []
    warnings: list[str] = []
    note: str | None = None
    next: str | None = None
    _price_from: SumFrom | None = PrivateAttr(None)

    def say_price_from(self, source: SumFrom | None) -> None:
        """Have the text say where the dollars of the estimate come from."""
        self._price_from = source

    def text(self) -> str:
        """The film in one line, and one for each shot."""
        film = f'{"Batch" if self.batch else "Film"} "{self.name}"'
        facts = [f"{self.seconds:g} s"] if self.seconds else []
        facts += [self.size] if self.size else []
        refused = any(fault["field"].startswith("shot") for fault in self.faults)
        if not refused or self.estimate_units is not None:
            price = price_text(
                self.estimate_units,
                self.estimate_usd,
                "its provider",
                price_from=self._price_from,
            )
            facts.append(f"{price} for the shots that can be made" if refused else price)
        facts += [f"usually made in {self.usual_s} s"] if self.usual_s else []
        head = "Dry run, nothing sent: " if self.dry_run else ""
        state = "" if self.dry_run else f" {self.task_id} {self.status}"
        faults = " ".join(_fault_text(fault) for fault in self.faults)
        lines = [
            f"{head}{', '.join([film + state, *facts])}.",
            *_lines_of(self.shots),
            *(f"{sent['shot']}: {_request_text(sent)}" for sent in self.requests),
            f"It would be refused: {faults}" if faults else "",
            f"Warning: {' '.join(self.warnings)}" if self.warnings else "",
            self.note or "",
            self.next or "",
        ]
        return "\n".join(line for line in lines if line)


def _lines_of(shots: Sequence[ShotView]) -> Iterator[str]:
    """A line for each shot, and one for many in a row of which the same is said."""
    alike = groupby(shots, lambda shot: shot.text().removeprefix(f"{shot.shot}: "))
    for said, views in alike:
        numbers = [view.shot for view in views]
        if said and len(numbers) >= FEW:
            yield f"{spans(numbers)}: {said} each"
        elif said:
            yield from (f"{number}: {said}" for number in numbers)


def _fault_text(fault: dict[str, str]) -> str:
    use = f" Use {fault['use']}." if fault.get("use") else ""
    choices = listed(fault["rule"], fault.get("choices", ""))
    return f"{fault['field']}: {fault['message']}{use}{choices}"


def _request_text(request: dict[str, Any]) -> str:
    body = json.dumps(request["body"], ensure_ascii=False)
    return f"{request['method']} {request['path']} {body}"


FEW = 3
"""Tasks that an answer shows one by one; of more it says once what most have in common."""

CLOCKED = 20
"""Tasks of an answer about many that have a line each, with their ids, and in a list with their
times of day. Of more, those that differ in their ids alone share a line."""

PER_TASK = "{task_id}"
"""Stands for each task's id in a path that is said once."""


class _Tasks(Answer):
    """Several tasks. Of many, `unless_stated` holds the fields that most of them share, and each
    task only those in which it differs; a null says that it lacks a shared one."""

    tasks: list[TaskView]

    def structured(self) -> dict[str, Any]:
        """The fields; of many tasks what they share is said once."""
        fields = super().structured()
        if len(self.tasks) == 1:
            fields["tasks"] = [self.tasks[0].structured()]
        if len(self.tasks) > FEW:
            shared, rows = _said_once(self.many())
            first = {name: fields[name] for name in fields if name != "tasks"}
            fields = first | {"unless_stated": shared, "tasks": rows}
        return fields

    def many(self) -> Sequence[TaskView]:
        """The tasks as they are shown among many."""
        return self.tasks

    def lines(self) -> list[str]:
        """A line for each task; of many, first what they share; of very many, a line for all that
        differ in their ids alone."""
        if len(self.tasks) <= FEW:
            alone = len(self.tasks) == 1
            return [task.text() if alone else task.in_a_line() for task in self.tasks]
        shared, rows = _said_once(self.many())
        few = len(rows) <= CLOCKED
        together = [[row] for row in rows] if few else _alike(rows)
        return [
            f"Unless a line says otherwise: {_words(shared)}",
            *(_line(alike, shared, few=few) for alike in together),
        ]


def _said_once(views: Sequence[TaskView]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields that most views share, and each view's fields in which it differs from them. Where
    nothing is shared, the name of a saved file stands for its picture and prompt."""
    rows = [_row(view) for view in views]
    names = dict.fromkeys(name for row in rows for name in row if name != "task_id")
    shared = {name: value for name in names if (value := _usual(rows, name)) is not None}
    if "path" not in shared and (folder := _usual(rows, "folder")):
        for row in rows:
            if row.get("folder") == folder:
                row["path"] = row["path"].removeprefix(folder)
    else:
        shared.pop("folder", None)
    different = []
    for row in rows:
        own = {n: row.get(n) for n in names if n != "folder" and row.get(n) != shared.get(n)}
        if PER_TASK in (own.get("path") or ""):
            for name in {"picture", "prompt"} - shared.keys():
                own.pop(name, None)
        different.append({"task_id": row["task_id"], **own})
    return shared, different


def _row(view: TaskView) -> dict[str, Any]:
    row = Answer.structured(view)
    if view.path:
        row["path"] = view.path.replace(view.task_id, PER_TASK)
        row["folder"] = view.path[: 1 + max(view.path.rfind("/"), view.path.rfind("\\"))]
    if view.path or view.url:
        row.pop("videos", None)
        row.pop("pictures", None)
    return row


def _usual(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The value that more than half of the rows have; None without one."""
    said, count = Counter(json.dumps(row.get(name)) for row in rows).most_common(1)[0]
    return json.loads(said) if 2 * count > len(rows) else None


AT_ITS_END = frozenset({"units", "created", "path", "videos"})
"""Fields that a task gets when it ends: one that runs lacks them anyway."""

_PRICED_BY = ("unit", "apart_from", "sandbox", "billed_by")
"""Fields in whose light the units of a task are read: where one differs, they are said again."""

_SAYS_NOTHING = frozenset({"kind", "unit", "apart_from", "elapsed_s", "take", "more"})
"""Fields whose absence says nothing that another field does not say."""

_ANOTHER_KIND = frozenset({"model_name", "unit", "asset_id"})
"""Fields in which a task of another kind differs."""

_OF_A_KIND = frozenset({"mode", "duration_s", "resolution", "sound"})
"""Fields that some kinds of tasks have not."""

_LACKED = {"duration_s": "length", "model_name": "model"}
"""What a field that a task lacks is called."""

_APART = {"source": "source {}", "was": "before: {}", "billed_by": "billed by {}"}
"""Fields that no fact of a view names, in words."""


def _words(fields: Mapping[str, Any], shared: Mapping[str, Any] | None = None) -> str:
    """Fields of a view in words: shared ones, or those of one view that differ from `shared`."""
    provider = fields.get("provider") or ""
    head = " ".join(
        [
            fields.get("status") or "",
            f"for {fields['elapsed_s']} s" if fields.get("elapsed_s") is not None else "",
            f"({provider})" if provider else "",
            "(sandbox)" if fields.get("sandbox") and provider != "sandbox" else "",
        ]
    )
    meant = {**(shared or {}), **fields}
    price = {name: meant.get(name) for name in _PRICED_BY}
    if fields.keys() & price.keys() and meant.get("units") is not None:
        price["units"] = meant["units"]
    view = TaskView.model_validate({"task_id": "", "status": "unknown", **fields, **price})
    folder = f"saved in {fields['folder']}" if fields.get("folder") else ""
    runs = meant.get("status") not in ENDED
    other = bool(fields.keys() & _ANOTHER_KIND)
    lacks = [
        f"no {_LACKED.get(name, name)}"
        for name, value in fields.items()
        if value is None
        and not fields.get("kind")
        and name not in _SAYS_NOTHING
        and not (runs and name in AT_ITS_END)
        and not (other and name in _OF_A_KIND)
    ]
    apart = []
    if shared is not None:
        apart = [words.format(fields[n]) for n, words in _APART.items() if fields.get(n)]
        sound = fields.get("sound")
        apart += [f"sound {sound}"] if sound and sound != "on" else []
    facts = [" ".join(head.split()), *view.facts(), folder, *apart, *lacks]
    line = ", ".join(fact for fact in facts if fact)
    return f"{line}. {view.next}" if view.next else f"{line}."


def _line(alike: Sequence[Mapping[str, Any]], shared: Mapping[str, Any], *, few: bool) -> str:
    """Tasks that differ in their ids alone: these ids, or the file where that has the id in its
    name, with the id before it among a few; and all in which they differ from what is shared."""
    row, ids = alike[0], ", ".join(row["task_id"] for row in alike)
    path = row.get("path") or ""
    named = PER_TASK in path
    head = ids
    if named and len(alike) > 1:
        head = f"{path} of {ids}"
    elif named:
        file = path.replace(PER_TASK, ids)
        head = f"{ids}: {file}" if few else file
    others = {n: v for n, v in row.items() if n != "task_id" and not (named and n == "path")}
    if (folder := shared.get("folder")) and others.get("more"):
        others["more"] = [file.removeprefix(folder) for file in others["more"]]
    return f"{head}: {_words(others, shared)}" if others else head


def _alike(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The rows that differ in their ids alone, together where the first of them stands."""
    groups = defaultdict[str, list[Mapping[str, Any]]](list)
    for row in rows:
        groups[json.dumps({**row, "task_id": ""})].append(row)
    return list(groups.values())


class WaitResult(_Tasks):
    """The tasks waited for, as they are now; `done` when none of them runs any more."""

    done: bool

    def structured(self) -> dict[str, Any]:
        """The fields; `done` first."""
        return {"done": self.done} | super().structured()

    def many(self) -> Sequence[TaskView]:
        """The tasks without the times at which they were made: the caller has just made them."""
        return [task.model_copy(update={"created": None}) for task in self.tasks]

    def text(self) -> str:
        """Every task in one line, and whether to wait again."""
        lines = self.lines()
        if not self.done:
            running = sum(task.status not in ENDED for task in self.tasks)
            lines.append(f"{running} still running: call kling_wait_for_tasks again.")
        return "\n".join(lines)

    def finished(self) -> list[str]:
        """The tasks that have their videos."""
        return [task_id for task in self.tasks for task_id in task.finished()]


class CancelResult(_Tasks):
    """How many requests were withdrawn before they were sent, and each task as it is now."""

    withdrawn: int

    def text(self) -> str:
        """A line for each task."""
        return "\n".join(self.lines())


SANDBOX_WOULD = "those of the sandbox would have cost"
OF_STEPS = f"{{}} of it for steps before a video ({', '.join(row.words for row in STEPS.values())})"
QUEUED_IN_SANDBOX = "{} still queued in the sandbox"


def _amount(units: float | None, usd: float | None, words: str, noun: str = "unit") -> str:
    """A sum of units in these words, with its dollars where they are known; empty for none."""
    dollars = "" if usd is None else f" ({usd:.2f} USD)"
    return words.format(f"{counted(units, noun)}{dollars}") if units else ""


def _balance_paid(name: str, paid: float) -> str:
    provider, _, currency = name.partition(" ")
    return f"{paid:g} {currency}".rstrip() + f" of the balance at {provider}"


class Total(_Part):
    """All tasks of a list that were made here, on whatever page: how many, the units that they
    cost, about how many more are estimated, what balances paid instead, by provider and currency
    ("kling USD"), and about how many units are spent once what is queued is sent. `play_units` is
    what those of the sandbox would have cost, `play_queued_units` what its queued ones would cost.
    The dollars beside units are those at the price of each provider: by its row, or Kling's.
    Units for pictures are apart, known or estimated: `image_units`, `play_image_units`.
    `step_units` and `play_step_units` are what of all these was for steps before a create.
    `play_money` is what a balance of the sandbox would have paid.
    """

    tasks: int
    units: float | None = None
    estimated_units: float | None = None
    money: dict[str, float] | None = None
    queued_units: float | None = None
    play_units: float | None = None
    play_queued_units: float | None = None
    usd: float | None = None
    estimated_usd: float | None = None
    queued_usd: float | None = None
    play_usd: float | None = None
    play_queued_usd: float | None = None
    image_units: float | None = None
    play_image_units: float | None = None
    step_units: float | None = None
    play_step_units: float | None = None
    image_usd: float | None = None
    play_image_usd: float | None = None
    play_money: dict[str, float] | None = None

    def text(self) -> str:
        """The sum in one line."""
        more = "more " if self.units else ""
        played = [
            _amount(self.play_units, self.play_usd, "{}"),
            _amount(self.play_image_units, self.play_image_usd, "{}", "image unit"),
            *(_balance_paid(name, paid) for name, paid in (self.play_money or {}).items()),
        ]
        played = [part for part in played if part]
        parts = [
            f"{counted(self.tasks, 'task')} made here",
            _amount(self.units, self.usd, "{}"),
            _amount(self.estimated_units, self.estimated_usd, "about {} estimated", f"{more}unit"),
            _amount(self.step_units, None, OF_STEPS),
            *(_balance_paid(name, paid) for name, paid in (self.money or {}).items()),
            _amount(self.queued_units, self.queued_usd, "{} still queued"),
            f"{SANDBOX_WOULD} {' and '.join(played)}" if played else "",
            _amount(self.play_step_units, None, OF_STEPS),
            _amount(self.play_queued_units, self.play_queued_usd, QUEUED_IN_SANDBOX),
            _amount(self.image_units, self.image_usd, "about {}", "image unit"),
        ]
        return f"In all: {', '.join(part for part in parts if part)}."


SAID_ONCE_MIN = 60
"""Minutes within which tasks of a list count as made at one time."""


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes)


class TaskPage(_Tasks):
    """One page of tasks, newest first; each says whether this ledger or only its provider knows
    it (`source`)."""

    page: int
    more: bool
    note: str | None = None
    total: Total | None = None

    def many(self) -> Sequence[TaskView]:
        """The tasks; of those that were made within an hour, from when to when is said once, and of
        those of different wishes also at what time."""
        times = [task.created.split(" ") for task in self.tasks if task.created]
        days = {(*time[:2], *time[3:]) for time in times}
        if len(times) < len(self.tasks) or len(days) > 1:
            return self.tasks
        clocks = sorted(time[2] for time in times)
        day, date, offset = days.pop()
        if clocks[0] == clocks[-1] or _minutes(clocks[-1]) - _minutes(clocks[0]) > SAID_ONCE_MIN:
            return self.tasks
        span = f"{day} {date} {clocks[0]}-{clocks[-1]} {offset}"
        wishes = {(task.picture, task.prompt, task.model_name, task.mode) for task in self.tasks}
        each = len(wishes) > 1 and len(self.tasks) <= CLOCKED
        return [
            task.model_copy(
                update={
                    "created": span,
                    "at": task.created.split(" ")[2] if task.created and each else None,
                }
            )
            for task in self.tasks
        ]

    def text(self) -> str:
        """A line for each task."""
        tail = f"More on page {self.page + 1}." if self.more else ""
        count = counted(len(self.tasks), "task")
        head = f"{count}, page {self.page}. {tail}".rstrip()
        note = [self.note] if self.note else []
        total = [self.total.text()] if self.total else []
        return "\n".join([head, *note, *self.lines(), *total])


class SavedPicture(_Part):
    """A picture on disk, or kept by a server: see `SavedVideo`. `format` is its real type."""

    path: str | None = None
    url: str | None = None
    expires_at: str | None = None
    bytes: int
    width: int
    height: int
    format: str
    sha256: str

    def text(self) -> str:
        """Where it is and what it holds."""
        link = f", link until {self.expires_at}, for whoever has it: {self.url}" if self.url else ""
        return (
            f"{self.path or 'on the server'}: {self.width}x{self.height}, {self.format}, "
            f"{size_text(self.bytes)}{link}"
        )


class SavedVideo(Answer):
    """A video on disk: path, size in bytes and pixels, length in seconds, frames per second,
    FFmpeg's name of the codec, whether there is a sound track, SHA-256 in hex. Of a picture the
    `codec` is its type; `more` are the further pictures of its task. Of a batch `clips` are the
    paths or links of all, in the order of its shots, and the facts those of the first.

    One that a server keeps has instead of a path a `url`, which whoever has it may open until
    `expires_at` (UTC).
    """

    task_id: str
    path: str | None = None
    url: str | None = None
    expires_at: str | None = None
    bytes: int
    duration_s: float | None = None
    width: int
    height: int
    fps: float | None = None
    codec: str
    audio: bool | None = None
    sha256: str
    more: list[SavedPicture] = []
    clips: list[str] = []
    note: str | None = None

    def structured(self) -> dict[str, Any]:
        """The fields, those that say where the video is first."""
        facts = super().structured()
        first = ("task_id", "path", "url", "expires_at")
        return {name: facts[name] for name in first if name in facts} | facts

    def text(self) -> str:
        """Where the file is and what it holds."""
        note = f" {self.note}" if self.note else ""
        if self.duration_s is None:
            first = SavedPicture(**self.model_dump(exclude={"codec"}), format=self.codec)
            return f"Saved {'; '.join(each.text() for each in (first, *self.more))}.{note}"
        if self.clips:
            return f"Saved {counted(len(self.clips), 'clip')}: {', '.join(self.clips)}.{note}"
        if self.url:
            note += f" Link until {self.expires_at}, for whoever has it: {self.url}"
        where = self.path or "on the server"
        return (
            f"Saved {where}: {self.width}x{self.height}, {self.duration_s:g} s, "
            f"{self.fps:g} fps, {self.codec}, {'with' if self.audio else 'no'} sound, "
            f"{size_text(self.bytes)}.{note}"
        )

    def finished(self) -> list[str]:
        """The task whose video it is."""
        return [self.task_id]


class Finding(_Part):
    """What is not as it was wished in a video: where (seconds), in a sentence, and the cheapest
    next step with its price."""

    kind: Literal[
        "black", "frozen", "cut", "silent", "length", "shape", "image", "image_tail", "count"
    ]
    from_s: float | None = None
    to_s: float | None = None
    says: str
    next: str


class PictureLook(_Part):
    """One finished picture, measured: its real type, and how much it is `like` the first picture
    of the request, from 0 to 1."""

    width: int
    height: int
    format: str
    black: bool | None = None
    like: float | None = None

    def text(self) -> str:
        """The facts in a few words."""
        black = ", black" if self.black else ""
        like = "" if self.like is None else f", {self.like:g} like image_list[0]"
        return f"{self.width}x{self.height} {self.format}{black}{like}"


class VideoLook(Answer):
    """A finished video, shown and measured; or the pictures that a task made, as `seen`. Stretches
    are pairs of seconds, `cuts` seconds; they are `findings` only where the wish does not ask for
    them. `not_compared` says which part of the wish could not be held against it, `not_judged` what
    only who sees it can judge: by the `prompt` and the other fields of the request."""

    task_id: str
    shows: str
    findings: list[Finding]
    width: int
    height: int
    duration_s: float | None = None
    fps: float | None = None
    codec: str
    audio: bool | None = None
    seen: list[PictureLook] = []
    black: list[tuple[float, float]] = []
    frozen: list[tuple[float, float]] = []
    silent: list[tuple[float, float]] = []
    cuts: list[float] = []
    not_compared: str | None = None
    not_judged: str | None = None
    prompt: str | None = None
    pictures: list[str] = []
    model_name: str | None = None
    mode: str | None = None
    asked_s: int | None = None
    take: int | None = None
    another_take: AnotherTake | None = None
    sandbox: bool | None = None
    _jpeg: bytes = PrivateAttr(b"")

    def show(self, jpeg: bytes) -> None:
        """Give the answer its picture."""
        self._jpeg = jpeg

    def images(self) -> list[ImageContent]:
        """The frames, in one JPEG."""
        data = base64.b64encode(self._jpeg).decode()
        return [ImageContent(type="image", data=data, mime_type="image/jpeg")]

    def text(self) -> str:
        """The facts, what is shown, and the findings."""
        facts = "; ".join(picture.text() for picture in self.seen)
        if not self.seen:
            facts = f"{self.width}x{self.height}, {self.duration_s:g} s, {self.fps:g} fps, "
            facts += f"{self.codec}, {'with' if self.audio else 'no'} sound"
        lines = [
            f"{self.task_id}: {facts}. Shown: {self.shows}.",
            self._asked(),
            *(f"{finding.says} {finding.next}".rstrip() for finding in self.findings),
            "" if self.findings else "Nothing amiss was found.",
            self.not_compared or "",
            self.not_judged or "",
            f"A sandbox test {'picture' if self.seen else 'clip'}." if self.sandbox else "",
        ]
        return " ".join(line for line in lines if line)

    def _asked(self) -> str:
        seconds = f"{self.asked_s} s" if self.asked_s else ""
        what = " ".join(filter(None, (self.model_name, self.mode, seconds)))
        facts = [
            f'"{self.prompt}"' if self.prompt else "",
            f"from {', '.join(self.pictures)}" if self.pictures else "",
            what,
            f"take {self.take}" if self.take else "",
        ]
        return f"Asked for: {', '.join(fact for fact in facts if fact)}." if any(facts) else ""


class AssetView(_Part):
    """One element or voice: `owner` is `kling` or `own`, `preview` a link to its picture or its
    sample, `voice` the name of an element's voice. `of_video` says that an element was made of a
    video: Kling's O1 does not take those."""

    id: str
    name: str
    owner: Literal["kling", "own"]
    description: str = ""
    tags: list[str] = []
    voice: str = ""
    of_video: bool | None = None
    preview: str = ""

    def text(self) -> str:
        """It in a few words."""
        facts = [self.description, ", ".join(self.tags)]
        facts += [f"voice {self.voice}" if self.voice else "", "of a video" * bool(self.of_video)]
        own = ", own" if self.owner == "own" else ""
        told = "; ".join(fact for fact in facts if fact)
        return f"{self.name} ({self.id}{own}){f': {told}' if told else ''}"


NO_TOOL_FOR_ASSETS = "This server offers no tool that takes them."


class AssetList(Answer):
    """Elements or voices, the account's own first; `more` counts those that are not shown, and
    `used_in` says where they can be used; it is empty where no tool here takes them. `note` says
    what could not be read."""

    kind: AssetKind
    assets: list[AssetView]
    more: int | None = None
    used_in: str
    note: str | None = None
    _images: list[ImageContent] = PrivateAttr(default_factory=list)

    def show(self, jpegs: Sequence[bytes]) -> None:
        """Give the model these pictures."""
        self._images += [_jpeg(jpeg) for jpeg in jpegs]

    def images(self) -> list[ImageContent]:
        """The pictures of the elements that have one, in their order."""
        return self._images

    def text(self) -> str:
        """All of them in a line each."""
        count = counted(len(self.assets) + (self.more or 0), self.kind)
        lines = [f"{count}.", *(f"- {asset.text()}" for asset in self.assets)]
        if self.more:
            lines.append(f"{self.more} more: narrow them with text.")
        lines.append(f"Use: {self.used_in}" if self.used_in else NO_TOOL_FOR_ASSETS)
        return "\n".join([*lines, *filter(None, [self.note])])


class AssetReceipt(Answer):
    """What was made, or what a dry run would make. `id` is what requests use, once it is ready."""

    kind: AssetKind
    name: str
    id: str | None = None
    task_id: str | None = None
    status: TaskStatus | None = None
    provider: str
    repeated: bool | None = None
    dry_run: bool | None = None
    sandbox: bool | None = None
    units: float | None = None
    preview: str | None = None
    faults: list[dict[str, str]] = []
    warnings: list[str] = []
    next: str | None = None

    def text(self) -> str:
        """The receipt in one line."""
        what = f'{self.kind} "{self.name}"'
        price = units_text(self.units) if self.units else "free"
        price += " (sandbox: nothing is charged)" if self.sandbox and self.units else ""
        if self.dry_run:
            head = f"Dry run for {self.provider}, nothing sent: {what}, {price}."
        elif self.repeated:
            head = f"Already made: {what}, {self.id or self.task_id}. Nothing was charged now."
        else:
            head = f"Made {what}: {self.id}, {price}."
            if self.status != "succeed":
                head = f"Task {self.task_id} {self.status}: {what}, {price}."
        faults = [_fault_text(fault) for fault in self.faults]
        lines = [
            head,
            f"It would be refused: {' '.join(faults)}" if faults else "",
            f"Warning: {' '.join(self.warnings)}" if self.warnings else "",
            self.next or "",
        ]
        return " ".join(line for line in lines if line)


class DeletedAsset(Answer):
    """An element or a voice that is deleted; `already` when it was before."""

    kind: AssetKind
    id: str
    name: str = ""
    deleted: bool = True
    already: bool | None = None

    def text(self) -> str:
        """It in one line."""
        named = f'"{self.name}" ' if self.name else ""
        when = "was already deleted" if self.already else "is deleted"
        return f"The {self.kind} {named}({self.id}) {when}; no new video can use it."


class ProviderAccount(_Part):
    """A provider that is on: the settings by which, its host, the kind of its key, and what is left
    there, where it tells it: units of packs, and the balance after its last charge."""

    provider: str
    by: str | None = None
    host: str | None = None
    region: str | None = None
    key: str | None = None
    units_left: float | None = None
    balance_left: str | None = None
    note: str | None = None

    def text(self) -> str:
        """The provider in one sentence."""
        region = f" ({self.region})" if self.region else ""
        facts = [f"{self.provider} at {self.host}{region}" if self.host else self.provider]
        if self.key:
            facts.append(f"{self.key} by {self.by}" if self.by else self.key)
        if self.units_left is not None:
            facts.append(f"{counted(self.units_left, 'unit')} left")
        if self.balance_left:
            facts.append(f"balance {self.balance_left}")
        return f"{', '.join(facts)}. {self.note or ''}".rstrip()


class Cap(_Part):
    """A limit in Kling's units, in image units or in US dollars, and what is used of it. So much of
    it (`frees`) is free again next, in the time `frees_in`."""

    of: Literal["one video", "one task of pictures", "24 hours"]
    units: float | None = None
    image_units: float | None = None
    usd: float | None = None
    used: float | None = None
    frees: float | None = None
    frees_in: str | None = None
    setting: str

    def text(self) -> str:
        """The cap in a few words."""
        used = "" if self.used is None else f", {self.used:g} used"
        if self.frees is not None:
            used += f", the next {self.frees:g} free again in {self.frees_in}"
        if self.image_units is not None:
            most = counted(self.image_units, "image unit")
        else:
            most = f"{self.usd:g} USD" if self.units is None else counted(self.units, "unit")
        return f"{most} for {self.of}{used} ({self.setting})"


class Spent(_Part):
    """What was spent at one provider in one span of time: `units` and `money` (of the account's
    balance, in its `currency`) as the provider told them, `usd` those units at the price in its row
    or at Kling's list price, `image_units` those of `pictures` (known or estimated) with their
    `image_usd`, `assets` the elements and voices, and apart from them the `estimated_units` of
    videos whose cost it has not told. `unpriced` videos have neither. Units of the `sandbox` are no
    money."""

    span: Literal["today", "7 days", "30 days"]
    provider: str
    videos: int
    units: float = 0
    usd: float | None = None
    money: float = 0
    currency: str | None = None
    estimated_units: float = 0
    unpriced: int = 0
    sandbox: bool | None = None
    pictures: int | None = None
    assets: int | None = None
    image_units: float | None = None
    image_usd: float | None = None
    price_from: PriceFrom | None = None

    def text(self, *, alone: bool = False) -> str:
        """The sum in a few words; that of a sandbox which is there `alone` does not name it."""
        facts = []
        if self.units and self.sandbox:
            usd = f" ({self.usd:.2f} USD)" if self.usd is not None else ""
            facts.append(f"{counted(self.units, 'unit')}{usd}")
        elif self.units:
            at_price = f" ({usd_text(self.usd, self.price_from)})" if self.usd is not None else ""
            told = "charged" if self.usd is not None else "told"
            facts.append(f"{counted(self.units, 'unit')} {told}{at_price}")
        if self.money:
            currency = f" {self.currency}" if self.currency else ""
            facts.append(f"{self.money:g}{currency} of the account's balance")
        if self.estimated_units:
            facts.append(f"about {counted(self.estimated_units, 'unit')} estimated")
        if self.unpriced:
            facts.append(f"{self.unpriced} of an unknown price")
        if self.image_units:
            usd = ""
            if self.image_usd is not None:
                listed = usd_text(self.image_usd, self.price_from)
                usd = f" ({f'{self.image_usd:.2f} USD' if self.sandbox else listed})"
            facts.append(f"about {counted(self.image_units, 'image unit')}{usd}")
        other = self.pictures or self.assets
        made = [counted(self.videos, "video")] if self.videos or not other else []
        if self.pictures:
            made.append(counted(self.pictures, "request for pictures", "requests for pictures"))
        if self.assets:
            made.append(counted(self.assets, "element or voice", "elements and voices"))
        count = " and ".join(made)
        own = (
            ""
            if self.usd is not None
            else f" (at Kling's list price; {self.provider} sets its own)"
        )
        if self.sandbox:
            where = "" if alone else f"{self.provider} "
            return f"{where}{count}, {', '.join(facts) or '0 units'}{own}"
        return f"{self.provider} {count}, {', '.join(facts) or 'free'}{own}"


class BilledTask(_Part):
    """A task in which the provider's bill and the ledger differ: what the bill says it cost (in
    units, or in money of a currency) and by which API key, and what is known here."""

    task_id: str
    key: str | None = None
    units: float | None = None
    money: float | None = None
    currency: str | None = None
    here: str | None = None

    def text(self) -> str:
        """The task in a few words."""
        paid = [counted(self.units, "unit")] if self.units is not None else []
        if self.money is not None:
            paid.append(f"{self.money:g} {self.currency or 'of the balance'}")
        facts = [" and ".join(paid), f"key {self.key}" if self.key else "", self.here or ""]
        return f"{self.task_id} ({', '.join(fact for fact in facts if fact)})"


SHOWN_OF_A_BILL = 5
"""Tasks of each kind that an answer names; it counts the others."""


class Bill(_Part):
    """The provider's bill since a time (UTC) held against the ledger: how many tasks it charged
    (`not_ended` of them were not seen to end here yet), those that have no row here, those that
    succeeded here and were not charged, and those whose amounts differ. `left` is the balance after
    its last charge. `note` says why a part is missing; nothing is `charged` when all is.
    """

    provider: str
    since: str
    charged: int | None = 0
    not_ended: int | None = None
    without_row: list[BilledTask] = []
    without_charge: list[BilledTask] = []
    different: list[BilledTask] = []
    left: str | None = None
    note: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the whole bill was read and nothing differs."""
        return not (self.note or self.without_row or self.without_charge or self.different)

    def shortened(self) -> Bill:
        """The bill with the first tasks of each kind, and a note that counts the others."""
        kinds = ("without_row", "without_charge", "different")
        left_out = sum(max(0, len(getattr(self, kind)) - SHOWN_OF_A_BILL) for kind in kinds)
        note = f"{left_out} more: kling-mcp tasks --reconcile names all." if left_out else ""
        return self.model_copy(
            update={
                **{kind: getattr(self, kind)[:SHOWN_OF_A_BILL] for kind in kinds},
                "note": f"{self.note or ''} {note}".strip() or None,
            }
        )

    def text(self) -> str:
        """What differs, one line for each kind; or that nothing does."""
        left = f" Balance after its last charge: {self.left}." if self.left else ""
        head = f"Bill of {self.provider} since {self.since}"
        if self.charged is None:
            return f"{head}. {self.note or ''}".rstrip()
        head += f": {counted(self.charged, 'task')} charged"
        head += f", {self.not_ended} of them not seen to end here yet" if self.not_ended else ""
        if self.agrees:
            return f"{head}; the ledger says the same.{left}"
        kinds = (
            ("charged without a row here", self.without_row),
            ("succeeded here, not charged there", self.without_charge),
            ("told differently", self.different),
        )
        lines = [f"{head}. {self.note or ''}".rstrip() + left]
        lines += [
            f"- {kind}: {'; '.join(task.text() for task in listed)}."
            for kind, listed in kinds
            if listed
        ]
        return "\n".join(lines)


NO_DAY_CAP = (
    "KLING_MCP_MAX_UNITS_PER_DAY or KLING_MCP_MAX_USD_PER_DAY caps what a day may cost, "
    "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY its pictures."
)

PLAYED = "In the sandbox, which charges nothing:"


class Account(Answer):
    """Who is paid, what is left there, what may be and was spent (`played` in the sandbox), where
    files go and come from, and what is wrong with the set-up."""

    providers: list[ProviderAccount]
    caps: list[Cap] = []
    spent: list[Spent] = []
    played: list[Spent] = []
    bills: list[Bill] = []
    saves: bool
    saves_to: str | None = None
    pictures_from: list[str] = []
    wrong: list[str] = []

    def text(self) -> str:
        """One line for each kind of fact."""
        caps = "; ".join(cap.text() for cap in self.caps)
        by_day = any(cap.of == "24 hours" for cap in self.caps)
        by = "" if self.saves else " on request"
        sources = ", ".join(self.pictures_from)
        lines = [
            *(provider.text() for provider in self.providers),
            f"Caps: {caps}." if caps else "No cap is set.",
            "" if by_day else NO_DAY_CAP,
            *self._spent_lines(),
            *(bill.text() for bill in self.bills),
            f"Videos are saved{by} in {self.saves_to}." if self.saves_to else "",
            f"Pictures may come from {sources}." if sources else "",
            *(f"Wrong: {said}" for said in self.wrong),
        ]
        return "\n".join(line for line in lines if line)

    def _spent_lines(self) -> list[str]:
        def sums(rows: Sequence[Spent], today: str) -> list[str]:
            words = {"today": today, "7 days": "In 7 days", "30 days": "In 30 days"}
            alone = len({row.provider for row in rows}) == 1
            told = {
                span: [row.text(alone=alone) for row in rows if row.span == span] for span in words
            }
            return [
                f"{said}: {'; '.join(told[span]) or 'nothing'}." for span, said in words.items()
            ]

        lines = ["Nothing was spent in the last 30 days."]
        if self.spent:
            lines = sums(self.spent, "Spent today")
        if self.played:
            lines.append(f"{PLAYED} {' '.join(sums(self.played, 'Today'))}")
        return lines


class UploadAddress(Answer):
    """Where a picture, a video or a sound may be sent once until `expires_at` (UTC), and what then
    stands for it."""

    upload_url: str
    image: str
    expires_at: str

    def text(self) -> str:
        """How to send it and how to use it."""
        return (
            f"Send the picture's bytes with PUT to {self.upload_url} (curl -T photo.png 'URL'), or "
            f"have the person open it in a browser, before {self.expires_at}. "
            f"Then give {self.image} as image."
        )
