"""A task read from whatever shape a provider gives it.

`envelope`  Kling:      {code: 0, data: {task_id, task_status, task_result: {videos: […]}}}
`wrapper`   new-api:    {code: "success", data: {task_id, status: "SUCCESS", progress: "100%",
                        fail_reason, result_url, submit_time, data: <what the upstream said>}}
`openai`    new-api's   {id, task_id, object: "video", model, status, progress: 0, created_at}
            creates
`record`    Kling's new {code: 0, data: {id, status, message, external_id, create_time,
            standard    outputs: [{type: "video", url, duration}], billing: […]}}

The status field tells the shape, so a gateway may change its shape between versions. Everything
that a provider says is checked here, where it enters: our answers repeat ids and URLs, so anything
that cannot be one is dropped; reasons and lists of videos are cut short; a price counts once the
task has ended. `values` reads the single values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kling_mcp.providers.error_codes import SUCCESS_CODES, unreadable
from kling_mcp.providers.rows import Shape
from kling_mcp.providers.task import (
    NO_ADDRESS,
    Task,
    Video,
    only,
    read_asset,
    task_status,
    with_its_file,
)
from kling_mcp.providers.values import (
    currency,
    identifier,
    is_address,
    mapping,
    number,
    reason,
    seconds,
    text,
    web_address,
)
from kling_tools.products import AssetKind, Result
from kling_tools.results import ENDED

__all__ = ["Kind", "read_history", "read_look", "read_records", "read_task", "read_tasks"]

DEPTH = 4
"""The most wrappers around the upstream's own answer that are opened."""

MOST_VIDEOS = 16
"""The most videos of one task that are read; Kling makes one."""

MOST_UNITS = 100_000.0
"""The most units that one task can cost; Kling's largest pack holds fewer."""

MOST_MONEY = 1e9
"""The most money that one deduction can take, in any currency."""

MOST_CHARGES = 100
"""The most deductions of one task that are read."""

LONGEST_S = 86_400.0
"""The most seconds that a video can last."""

_OTHER_SCHEME = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]{0,30}:", re.IGNORECASE)

JUST_FAILED = ("failed", "failure", "fail")
"""Words for a failed task that give no reason."""

WORD_LIMIT = 40
"""The most characters of a provider's word for a task's state that an answer shows."""

NO_WORD = ("", "unknown")
"""The status of a wrapper whose upstream answer alone has the true status."""


Kind = Result | AssetKind
"""What a task makes; its files of another kind are left out."""


def read_task(
    document: Mapping[str, Any], shapes: Sequence[Shape], provider: str, kind: Kind = "video"
) -> Task:
    """The task that an answer to a create names.

    Raises ProviderDown when the answer fits no shape, has no id, or says success without a file of
    this kind.
    """
    task = only(_read(document, shapes, provider), kind)
    if task.lacks_file:
        raise unreadable(provider, f"it says success and gives no {kind}")
    return task


def read_look(
    document: Mapping[str, Any],
    shapes: Sequence[Shape],
    provider: str,
    asked: str,
    kind: Kind = "video",
    *,
    repeats_ids: bool = True,
) -> Task:
    """The task that an answer about `asked` (a task_id or external_task_id) names; it may have no
    file of this kind yet. A provider that `repeats_ids` always puts `asked` into its answer.

    Raises ProviderDown when the answer fits no shape, has no id, or is about another task.
    """
    task = _read(document, shapes, provider)
    levels = _levels(document)
    places = [*levels, *(mapping(level.get("task_info")) for level in levels)]
    told, ours = _named(places, "task_id", "id"), _named(places, "external_task_id")
    if text(asked) not in (*told, *ours) and (ours or repeats_ids):
        raise unreadable(provider, "it tells of another task")
    return only(task, kind)


def _read(document: Mapping[str, Any], shapes: Sequence[Shape], provider: str) -> Task:
    for shape in shapes:
        reader, fits = READERS[shape]
        if fits(document):
            task = reader(document)
            if not task.task_id:
                break
            return with_its_file(replace(task, told=document))
    raise unreadable(provider, "it names no task")


def _named(places: Sequence[Mapping[str, Any]], *names: str) -> list[str]:
    """All ids in the fields with these names."""
    return [found for place in places for name in names if (found := text(place.get(name)))]


def read_tasks(document: Mapping[str, Any], kind: Kind = "video") -> list[Task]:
    """The tasks of Kling's list, each one once. Unreadable entries, and those that succeeded
    without a file of this kind, are left out."""
    data = document.get("data")
    items = [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []
    around = {name: document[name] for name in ("request_id",) if name in document}
    read = (replace(_kling_task(item), told={**around, "data": item}) for item in items)
    tasks = {task.task_id: with_its_file(only(task, kind)) for task in read}
    return [task for task in tasks.values() if task.task_id and not task.lacks_file]


def read_records(document: Mapping[str, Any]) -> list[Task]:
    """The tasks of an answer of the new standard, each one once: of a query, or a page of its
    history. Unreadable entries are left out. One that succeeded may not have its video yet."""
    data = document.get("data")
    items = mapping(data).get("result") if isinstance(data, Mapping) else data
    around = {name: document[name] for name in ("request_id",) if name in document}
    listed = (
        [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    )
    read = (replace(_record_task(item), told={**around, "data": item}) for item in listed)
    tasks = {task.task_id: with_its_file(task) for task in read}
    return [task for task in tasks.values() if task.task_id]


def read_history(document: Mapping[str, Any]) -> tuple[list[Task], str]:
    """The videos of a page of the new standard's history, and the cursor of the next page; empty
    when it is the last one."""
    data = mapping(document.get("data"))
    goes_on = data.get("has_more") is True
    read = (only(task, "video") for task in read_records(document))
    tasks = [task for task in read if not task.lacks_file]
    return tasks, text(data.get("next_cursor")) if goes_on else ""


def _is_envelope(document: Mapping[str, Any]) -> bool:
    data = mapping(document.get("data"))
    return "task_status" in data or ("task_id" in data and "status" not in data)


def _is_wrapper(document: Mapping[str, Any]) -> bool:
    return "status" in mapping(document.get("data"))


def _is_openai(document: Mapping[str, Any]) -> bool:
    return not mapping(document.get("data")) and bool({"id", "task_id"} & set(document))


def _is_record(document: Mapping[str, Any]) -> bool:
    data = mapping(document.get("data"))
    return {"id", "status"} <= set(data) and "task_id" not in data


def _envelope(document: Mapping[str, Any]) -> Task:
    return _kling_task(mapping(document.get("data")))


def _kling_task(data: Mapping[str, Any]) -> Task:
    info = mapping(data.get("task_info"))
    task = Task(
        task_id=_id(data, "task_id"),
        status=task_status(data.get("task_status")),
        message=reason(data.get("task_status_msg")),
        external_task_id=text(info.get("external_task_id")),
        videos=_results(mapping(data.get("task_result"))),
        asset=read_asset(data),
        created_at=seconds(data.get("created_at")),
        updated_at=seconds(data.get("updated_at")),
    )
    return _charged(_ended_so(task, data.get("task_status")), data)


def _record(document: Mapping[str, Any]) -> Task:
    return _record_task(mapping(document.get("data")))


def _record_task(data: Mapping[str, Any]) -> Task:
    outputs = data.get("outputs")
    listed = outputs if isinstance(outputs, list) else []
    task = Task(
        task_id=_id(data, "id"),
        status=task_status(data.get("status")),
        message=reason(data.get("message")),
        external_task_id=text(data.get("external_id")),
        videos=_outputs(listed),
        asset=read_asset(data),
        created_at=seconds(data.get("create_time")),
        updated_at=seconds(data.get("update_time")),
    )
    return _charged(_ended_so(task, data.get("status")), data)


def _charged(task: Task, data: Mapping[str, Any]) -> Task:
    """The task with its cost, from `billing` of the new standard, or from both `final_*_deduction`
    of the legacy one. No units beside money are no price: the money is."""
    if task.status not in ENDED:
        return task
    if isinstance(data.get("billing"), list):
        return _billed(task, data["billing"])
    told = data.get("final_balance_deduction")
    deducted = told if isinstance(told, Mapping) else {"quota": told}
    units = number(data.get("final_unit_deduction"), MOST_UNITS)
    sums = [deducted.get("quota"), deducted.get("list_price")]
    if all(value in (None, "") or number(value) == 0 for value in sums):
        return replace(task, units=units)
    return replace(
        task,
        units=units or None,
        money=next((found for value in sums if (found := number(value))), None),
        list_price=number(deducted.get("list_price")) or None,
    )


def _billed(task: Task, billing: Sequence[Any]) -> Task:
    """The task with the sums of its deductions; of money, those in the currency of the first. A
    failed task without any cost nothing; that of a video may be told later."""
    charges = [mapping(charge) for charge in billing[:MOST_CHARGES]]
    if not charges and task.status == "failed":
        return replace(task, units=0.0)
    packs = [charge for charge in charges if charge.get("charge_type") == "unit"]
    cash = [charge for charge in charges if charge.get("charge_type") == "cash"]
    cash = [charge for charge in cash if charge.get("currency") == cash[0].get("currency")]
    units, money = _summed(packs, "amount"), _summed(cash, "amount")
    return replace(
        task,
        units=units if units is None or units <= MOST_UNITS else None,
        money=money if money or units is None else None,
        currency=currency(cash[0].get("currency")) if cash else "",
        cash_type=text(cash[0].get("cash_type"))[:WORD_LIMIT] if cash else "",
        list_price=_summed(cash, "list_price"),
    )


def _summed(charges: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The sum of these amounts; None without any, or when one cannot be read."""
    amounts = [number(charge.get(name), MOST_MONEY) for charge in charges]
    known = [amount for amount in amounts if amount is not None]
    return round(math.fsum(known), 6) if known and len(known) == len(amounts) else None


def _ended_so(task: Task, word: object) -> Task:
    """The task; a failure without a reason gets the provider's word for it, if that word tells
    more than the failure."""
    plain = text(word).strip().lower() in JUST_FAILED
    return (
        task
        if task.status != "failed" or task.message or plain
        else replace(task, message=text(word)[:WORD_LIMIT])
    )


def _wrapper(document: Mapping[str, Any]) -> Task:
    data = mapping(document.get("data"))
    levels = _levels(data)
    inner = next((_kling_task(level) for level in levels if "task_status" in level), None)
    word = text(data.get("status")).strip().lower()
    status = inner.status if inner and word in NO_WORD else task_status(word)
    videos = _wrapped_videos(data, inner) if status == "succeed" else ()
    if status == "succeed" and not videos and inner and inner.status == "failed":
        status = "failed"
    task = Task(
        task_id=_id(data, "task_id", "id"),
        status=status,
        message=_why_failed(data, inner, levels) if status == "failed" else "",
        videos=videos,
        units=inner.units if inner and status in ENDED else None,
        money=inner.money if inner and status in ENDED else None,
        currency=inner.currency if inner and status in ENDED else "",
        cash_type=inner.cash_type if inner and status in ENDED else "",
        list_price=inner.list_price if inner and status in ENDED else None,
        created_at=seconds(data.get("submit_time")) or seconds(data.get("created_at")),
        updated_at=seconds(data.get("finish_time")) or seconds(data.get("updated_at")),
    )
    return _ended_so(task, word)


def _levels(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The wrapper's data, the envelopes within it, and the upstream's task at the end."""
    levels = [data]
    while len(levels) <= DEPTH and (below := mapping(levels[-1].get("data"))):
        levels.append(below)
    return levels


def _why_failed(
    data: Mapping[str, Any], inner: Task | None, levels: Sequence[Mapping[str, Any]]
) -> str:
    """The reason for a failure, wherever the gateway has put it. An address is no reason."""
    told = [reason(data.get("fail_reason")), inner.message if inner else ""]
    for level in levels:
        told.append(reason(level.get("error")))
        if text(level.get("code")).lower() not in SUCCESS_CODES:
            told.append(reason(level))
    told.append(reason(data.get("result_url")))
    return next((words for words in told if words and not is_address(words)), "")


def _wrapped_videos(data: Mapping[str, Any], inner: Task | None) -> tuple[Video, ...]:
    """The files of a wrapper. Newer gateways use `result_url`, older ones the field of the
    reason; pictures within do not tell which kind the address is of, so both are given."""
    within = inner.videos if inner else ()
    if any(each.kind == "video" for each in within):
        return within
    told = (_url(data, name) for name in ("result_url", "url", "fail_reason"))
    known = {"", *(each.url for each in within)}
    return next(((*within, Video(url)) for url in told if url not in known), within)


def _openai(document: Mapping[str, Any]) -> Task:
    status = task_status(document.get("status")) if document.get("status") else "submitted"
    url = _url(document, "url") or _url(mapping(document.get("metadata")), "url")
    task = Task(
        task_id=_id(document, "task_id", "id"),
        status=status,
        message=reason(document.get("error")) or reason(document) if status == "failed" else "",
        videos=(Video(url),) if status == "succeed" and url else (),
        created_at=seconds(document.get("created_at")),
        updated_at=seconds(document.get("completed_at")),
    )
    return _ended_so(task, document.get("status"))


def _id(data: Mapping[str, Any], *names: str) -> str:
    return next((found for n in names if (found := identifier(data.get(n)))), "")


def _url(data: Mapping[str, Any], name: str) -> str:
    return web_address(data.get(name))


Reader = Callable[[Mapping[str, Any]], Task]
Fits = Callable[[Mapping[str, Any]], bool]

READERS: Mapping[Shape, tuple[Reader, Fits]] = {
    "envelope": (_envelope, _is_envelope),
    "wrapper": (_wrapper, _is_wrapper),
    "openai": (_openai, _is_openai),
    "record": (_record, _is_record),
}


def _results(result: Mapping[str, Any]) -> tuple[Video, ...]:
    """The videos, or the pictures: single ones, else those of a series."""
    if videos := _videos(result.get("videos")):
        return videos
    pictures = _videos(result.get("images")) or _videos(result.get("series_images"))
    return tuple(replace(picture, kind="picture") for picture in pictures)


def _outputs(listed: Sequence[Any]) -> tuple[Video, ...]:
    """The same of a record of the new standard."""

    def of(kind: str) -> list[Any]:
        return [item for item in listed if mapping(item).get("type") == kind]

    return _results({"videos": of("video"), "images": of("image")})


def _videos(value: Any) -> tuple[Video, ...]:
    items = value[:MOST_VIDEOS] if isinstance(value, list) else []
    return tuple(video for item in items if (video := _video(mapping(item))).url)


def _video(item: Mapping[str, Any]) -> Video:
    named = text(item.get("url")).strip()
    return Video(
        url=NO_ADDRESS if _OTHER_SCHEME.match(named) else _url(item, "url"),
        duration_s=number(item.get("duration"), LONGEST_S),
        watermark_url=_url(item, "watermark_url"),
        id=_id(item, "id"),
    )
