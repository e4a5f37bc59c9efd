"""Downloads of finished videos: each is fetched once, however many callers ask.

Where autosave is on, the video of a task that has ended is saved without a call for it.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from kling_mcp.background import BackgroundWork
from kling_mcp.inputs.decoding import DECODING
from kling_mcp.inputs.mp4 import Mp4Facts, NotWholeMp4
from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.records import SavedFile
from kling_mcp.outputs import VideoFile, save_video
from kling_mcp.outputs.part import copied, disk_errors, sweep_parts
from kling_mcp.outputs.pictures import NotWholePicture, PictureFacts
from kling_mcp.outputs.saving import CHECKS, Facts
from kling_mcp.outputs.storage import SUFFIXES, VideoStorage, is_automatic
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_mcp.tasks.film_views import without_file
from kling_mcp.tasks.lookup import Found, Lookup
from kling_mcp.tasks.views import (
    DELETED,
    FILE_LATE,
    MAYBE_DELETED,
    ONLY_THE_PROVIDER,
    Saving,
    after_failure,
    asset_next,
    can_be_repeated,
    same_again,
)
from kling_tools.errors import (
    Charged,
    KlingError,
    ProviderDown,
    ProviderError,
    SaveFailed,
    TaskFailed,
    TaskNotFound,
    UnsafePath,
    UnsafeUrl,
)
from kling_tools.products import ASSETS, MADE
from kling_tools.requests.times import spoken
from kling_tools.results import WITHOUT_VIDEO, SavedPicture, SavedVideo

if TYPE_CHECKING:
    from kling_mcp.providers.task import Task, Video

__all__ = ["Downloads", "file_note", "leads_nowhere"]


def _is_same(file: Path, other: Path) -> bool:
    """Whether both are one file; one that is gone is none."""
    with suppress(FileNotFoundError):
        return file.samefile(other)
    return False


APART_S, APART_SHARE = 0.5, 0.1
"""A length is reported when it differs by more than both: Kling's clips are a few frames longer or
shorter than their round seconds (5.04 s, 10.04 s) [seen in its answers]."""


def file_note(facts: Facts, request: Mapping[str, Any]) -> str:
    """Sentences about a length far from the `duration` of the request, and about missing sound that
    was switched on; empty when all is well or nothing is known, and for a picture."""
    if not isinstance(facts, Mp4Facts):
        return ""
    asked_s = _seconds(request.get("duration"))
    found = []
    if asked_s and facts.duration_s:
        apart_s = abs(facts.duration_s - asked_s)
        if apart_s > max(APART_S, APART_SHARE * asked_s):
            found.append(f"The file is {facts.duration_s:g} s long; {asked_s:g} s were requested.")
    if request.get("sound") == "on" and not facts.has_audio:
        found.append("The file has no sound, though sound was on.")
    return " ".join(found)


def _seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Videos of one provider that are fetched side by side; slow hosts delay no other provider's."""

FIRST_REST_S, LONGEST_REST_S = 60.0, 900.0
"""Seconds after a failure before autosave tries a video again; twice as many after each further
failure, up to the longest."""

WAIT_FOR_IT = "kling_wait_for_tasks with this task_id waits for the file"
NOT_SAVED_YET = (
    "It is not saved yet: kling_save_video or kling_wait_for_tasks with this task_id saves it."
)

NOT_THERE = (404, 410)
"""What the URL of a video that is deleted answers. One that has ended answers 401 or 403, as a
firewall does."""

_STILL_THERE = re.compile(
    r"The (finished )?video (still exists at the provider( and is not paid again)?"
    r"|is not paid again(?P<then>:))"
)
"""What is not said of a video of which nothing came after its days."""

REMEMBERED = 2_000
"""Failures whose reasons are remembered."""


def leads_nowhere(error: KlingError) -> bool:
    """Whether the URL of a video says that there is none."""
    return isinstance(error, ProviderError) and error.of_file and error.http_status in NOT_THERE


@dataclass(slots=True)
class _Download:
    """A download under way: the bytes on disk, the total if it is known, and why the last attempt
    failed. It is `needed` once no saved file is found. Its provider is asked for a fresh link
    first; then it is `open`."""

    needed: bool = False
    open: bool = False
    came: int = 0
    total: int | None = None
    trouble: str = ""

    async def progress(self, came: int, total: int | None) -> None:
        self.came, self.total = came, total

    @property
    def failed(self) -> str:
        """That the last attempt failed, as the end of a sentence; empty when it did not."""
        return f"; the last attempt failed: {self.trouble}" if self.trouble else ""

    def broke(self, reason: str) -> None:
        self.trouble = reason.rstrip(".")

    def __str__(self) -> str:
        if not self.open:
            return "its provider has not answered yet"
        total = f" of {self.total / 1e6:.1f}" if self.total is not None else ""
        return f"{self.came / 1e6:.1f}{total} MB came" if self.came else "nothing came yet"


@dataclass(frozen=True, slots=True)
class _Failure:
    """`past` says that it was after the days for which the provider keeps the video."""

    error: KlingError
    past: bool
    times: int
    rests_until: float


class Downloads:
    """Writes videos to the storage, each once however many callers ask for it. With `autosaves`,
    videos of finished tasks are due without a call for them. Times are shown in the `zone`."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        lookup: Lookup,
        storage: VideoStorage,
        background_work: BackgroundWork,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        limits: TimeLimits = TIME_LIMITS,
        *,
        autosaves: bool = False,
        zone: tzinfo | None = None,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self.storage = storage
        self._background_work = background_work
        self._lookup = lookup
        self._sleep = sleep
        self.limits = limits
        self._autosaves = autosaves
        self._zone = zone
        self._turns: dict[str, anyio.CapacityLimiter] = {}
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._downloads: dict[str, _Download] = {}
        self._failures: dict[str, _Failure] = {}
        self._ended = anyio.Event()
        self._swept = False

    async def save(self, task_id: str, path: str, within_s: float) -> SavedVideo:
        """Write a finished task's video within so many seconds, and say where it is and what it
        holds. Raises like `fetch`."""
        file, found = await self.fetch(task_id, path, within_s)
        record = found.record
        files = (file, *file.more)
        there = all(each.already_there for each in files)
        notes = ["It was there already."] if there else [each.note for each in files]
        notes.append(_other_ending(path, file))
        if record and record.file_note:
            notes.append(record.file_note)
        if record.sandbox if record else self._clients.sandbox(found.provider):
            of_video = isinstance(file.facts, Mp4Facts)
            notes.append("A sandbox test clip." if of_video else "A sandbox test picture.")
        link = self.storage.link(record) if record else None
        if not isinstance(file.facts, Mp4Facts):
            return self._pictures(files, found, task_id, notes)
        return SavedVideo(
            task_id=record.handle if record else task_id,
            path=None if self.storage.private else str(file.path),
            url=link.url if link else None,
            expires_at=link.expires_at if link else None,
            bytes=file.bytes,
            duration_s=round(file.facts.duration_s, 3),
            width=file.facts.width,
            height=file.facts.height,
            fps=file.facts.fps,
            codec=file.facts.video_codec,
            audio=file.facts.has_audio,
            sha256=file.sha256,
            note=" ".join(filter(None, notes)) or None,
        )

    def _pictures(
        self, files: Sequence[VideoFile], found: Found, task_id: str, notes: Sequence[str]
    ) -> SavedVideo:
        """Where the pictures of a task are, and what each holds."""
        record, saved = found.record, []
        for number, file in enumerate(files, start=1):
            assert isinstance(file.facts, PictureFacts)
            link = self.storage.link(record.file(number)) if record else None
            saved.append(
                SavedPicture(
                    path=None if self.storage.private else str(file.path),
                    url=link.url if link else None,
                    expires_at=link.expires_at if link else None,
                    bytes=file.bytes,
                    width=file.facts.width,
                    height=file.facts.height,
                    format=file.facts.file_type.name,
                    sha256=file.sha256,
                )
            )
        first = saved[0]
        return SavedVideo(
            task_id=record.handle if record else task_id,
            path=first.path,
            url=first.url,
            expires_at=first.expires_at,
            bytes=first.bytes,
            width=first.width,
            height=first.height,
            codec=first.format,
            sha256=first.sha256,
            more=saved[1:],
            note=" ".join(filter(None, notes)) or None,
        )

    async def fetch(
        self, task_id: str, path: str, within_s: float | None = None
    ) -> tuple[VideoFile, Found]:
        """Write a finished task's video, and return its file and its task. Its URL is asked for
        anew when the known one may have expired, or does not lead to the video.

        Raises TaskFailed for a failed task, KlingError for one that still runs and for a download
        that takes longer than `within_s` (`file_s` of the limits): it goes on, and the next call
        joins it. Raises UnsafePath, UnsafeUrl, SaveFailed and ProviderError.
        """
        record = await self._ledger.find(task_id)
        known_by = record.id if record else task_id
        work = partial(self._save, task_id, path, record)
        seconds = self.limits.file_s if within_s is None else within_s
        try:
            return await self._background_work.run(work, seconds, key=(known_by, path))
        except TimeoutError:
            download = self._downloads.get(known_by, _Download())
            raise KlingError(
                f"The video of {record.handle if record else task_id} is not saved yet: "
                f"{download}{download.failed}. The download goes on.",
                charged="no",
                advice="Call kling_save_video again in a moment: it joins what is under way.",
            ) from None

    def is_due(self, record: Record) -> bool:
        """Whether the row's video is to be saved without being asked for: it is ready, has no file
        yet, is still at its provider, and no attempt failed just now."""
        ready = record.status == "succeed" and bool(record.videos) and record.path is None
        ready = ready and self._ledger.now() <= (record.expires_at or math.inf)
        failure = self._failures.get(record.id)
        rests = failure is not None and anyio.current_time() < failure.rests_until
        return self._autosaves and ready and not rests

    async def save_row(self, record: Record, within_s: float) -> Record | KlingError:
        """The row of a finished task with its file, or why it has none.

        A cancelled call does not stop the download. One that takes longer than `within_s` goes on
        in the background; the row is then returned as it is.
        """
        if record.path is not None:
            return record
        work = partial(self._save, record.id, "", record)
        try:
            _, found = await self._background_work.run(
                work, within_s, key=(record.id, ""), stays=True
            )
        except TimeoutError:
            return record
        except KlingError as error:
            return error
        return found.record or record

    def saving(self, record: Record) -> Saving:
        """How the saving of a finished video that has no file goes."""
        if download := self._downloads.get(record.id):
            trouble = f"The last attempt failed: {download.trouble}.{self._until(record)}"
            advice = f"{trouble} kling_save_video waits for it." if download.trouble else ""
            return Saving(f"being saved: {download}; {WAIT_FOR_IT}", advice)
        failure = self._failures.get(record.id)
        if failure and (failure.past or not self._is_past(record)):
            return Saving(advice=f"It could not be saved: {failure.error}", failed=True)
        return Saving(advice=NOT_SAVED_YET if self.is_due(record) else "")

    async def until_saved(self, within_s: float) -> None:
        """Wait until nothing is being saved any more, so many seconds at most."""
        with anyio.move_on_after(within_s):
            while self._downloads:
                await self._ended.wait()

    def noticed(self, record: Record) -> None:
        """Start saving the row's video in the background if it is due. Returns at once."""
        if self.is_due(record) and record.id not in self._downloads:
            self._downloads[record.id] = _Download()
            self._background_work.start_soon(self.save_row, record, math.inf)

    async def _save(
        self, task_id: str, path: str, record: Record | None
    ) -> tuple[VideoFile, Found]:
        """Like `fetch`, without a limit of time. Calls for one task come one after the other; one
        that names no place comes again behind those that do, as they may move the file."""
        lock = self._locks.setdefault(record.id if record else task_id, anyio.Lock())
        async with lock:
            saved = await self._save_alone(task_id, path, record)
            others = lock.statistics().tasks_waiting
        if path or not others:
            return saved
        async with lock:
            return await self._save_alone(task_id, path, record)

    async def _save_alone(
        self, task_id: str, path: str, record: Record | None
    ) -> tuple[VideoFile, Found]:
        """The same for one call; remembers why there is no file."""
        known_by = record.id if record else task_id
        record = await self._ledger.find(known_by) if record else None
        download = self._downloads[known_by] = _Download()
        try:
            while record:
                if kept := await self._kept(record, path):
                    return kept
                download.needed = True
                now = await self._ledger.find(known_by)
                if now is None or now.path in (None, record.path):
                    break
                record, download.needed = now, False  # another process has moved the file meanwhile
            download.needed = True
            saved, found = await self._fetched(task_id, path, record, download)
            record = found.record
            return saved, await self._write_down(saved, found)
        except KlingError as error:
            await self._advise(error, record, download)
            self._remember(error, record, path)
            raise
        except Exception as error:
            logger.exception("The video of %s could not be saved.", task_id)
            mistake = _mistake(error, is_saved=record is not None and not download.needed)
            await self._advise(mistake, record, download)
            self._remember(mistake, record, path)
            raise mistake from error
        finally:
            if self._downloads.get(known_by) is download:
                del self._downloads[known_by]
            self._ended.set()
            self._ended = anyio.Event()

    async def _kept(self, record: Record, path: str) -> tuple[VideoFile, Found] | None:
        """The row's saved file, under the name that is asked for: moved there if nobody named it
        before, else copied. None without a file, and for one that was changed. Its provider is not
        asked. Raises UnsafePath, which says where the file is, and SaveFailed."""
        place = record.path
        if place is None or record.is_outdated:
            return None
        if self.storage.private:
            return await self._stored(record, path)
        kept = [await self._kept_file(each, path) for each in record.each_file()]
        if any(file is None for file, _ in kept):
            return None
        first, *rest = (file for file, _ in kept if file)
        saved = replace(first, more=tuple(rest))
        found = await self._write_down(saved, Found(record.provider, record))
        if record.is_film and saved.path != Path(place):
            moves = any(source for _, source in kept)
            note = await self._with_sidecar(record, saved.path, moves=moves)
            saved = replace(saved, note=f"{saved.note}{note}")
        for moved in (source for _, source in kept if source):
            with suppress(OSError):
                await to_thread.run_sync(moved.unlink)
        return saved, found

    async def _with_sidecar(self, record: Record, film: Path, *, moves: bool) -> str:
        """Have the sidecar of a film go along to where the film is saved now, and say so. One that
        cannot be written stays where it is."""
        from kling_mcp.outputs.film_check import carried

        films = self._ledger.films
        before = Path((await films.of_row(record.id)).facts.get("sidecar") or "")
        try:
            after = await to_thread.run_sync(carried, before, film)
        except KlingError as error:
            return f" What it was made of stays in {before}: {error.message}"
        if after is None:
            return ""
        if after != before:
            await films.described_at(record.id, after)
            if moves:
                with suppress(OSError):
                    await to_thread.run_sync(before.unlink)
        return f" {after.name} beside it says what it was made of."

    async def _kept_file(self, record: Record, path: str) -> tuple[VideoFile | None, Path | None]:
        """The same for one file, and the path that it has moved from."""
        place = record.path
        source = await self.storage.file(record)
        if source is None:
            return None, None
        try:
            facts = await DECODING.run(partial(CHECKS[record.result], source), wait_s=math.inf)
        except (FileNotFoundError, NotWholeMp4, NotWholePicture):
            return None, None
        try:
            target = self.storage.target(path, record.handle, record)
            if isinstance(facts, PictureFacts) and target.suffix.lower() not in facts.suffixes:
                target = target.with_suffix(facts.suffixes[0])
        except UnsafePath as error:
            noun = MADE[record.product].result
            error.advice = f"{error.advice} The {noun} is saved at {place}."
            raise
        new, there, note = source, True, ""
        made = _folder_to_make(target) if path else ""
        if path and target != source:
            try:
                still = f"The {MADE[record.product].result} is saved at {place};"
                with disk_errors(target, still=still):
                    new, there = await to_thread.run_sync(copied, source, target)
            except SaveFailed:
                if source.exists():
                    raise
                return None, None
        automatic = is_automatic(source, self.storage.target("", record.handle, record))
        moves = automatic and not _is_same(new, source)
        if new != source:
            note = f"{'Moved' if moves else 'Copied'} from {source}.{made}"
        size = record.bytes or new.stat().st_size
        saved = VideoFile(new, size, record.sha256 or "", facts, there, note)
        return saved, source if moves else None

    async def _stored(self, record: Record, path: str) -> tuple[VideoFile, Found] | None:
        """The same on a server that hands out links: where the file lies is nobody's choice."""
        self.storage.target(path, record.handle, record)
        files = []
        for each in record.each_file():
            file = await self.storage.file(each)
            if file is None or each.bytes is None:
                return None
            facts = await DECODING.run(partial(CHECKS[record.result], file), wait_s=math.inf)
            files.append(VideoFile(file, each.bytes, each.sha256 or "", facts, already_there=True))
        return replace(files[0], more=tuple(files[1:])), Found(record.provider, record)

    async def _fetched(
        self, task_id: str, path: str, record: Record | None, download: _Download
    ) -> tuple[VideoFile, Found]:
        """The file, and its task. A link that was told just now is used as it is; if it fails, the
        provider is asked for another one."""
        asks = record is None or not _has_fresh_link(record, self._ledger.now())
        found = await self._with_video(task_id, fresh=asks)
        handle = found.record.handle if found.record else task_id
        try:
            return await self._fetch(found, handle, path, download), found
        except (ProviderDown, SaveFailed, UnsafeUrl):
            if asks:
                raise
            again = await self._with_video(task_id, fresh=True)
            if again.state.videos[0].url == found.state.videos[0].url:
                raise
        return await self._fetch(again, handle, path, download), again

    async def with_link(self, task_id: str, record: Record | None) -> Found:
        """A finished task with a link to its video that is good for now. Raises TaskFailed,
        KlingError for a task without a video, and ProviderError."""
        asks = record is None or not _has_fresh_link(record, self._ledger.now())
        return await self._with_video(task_id, fresh=asks)

    async def _with_video(self, task_id: str, *, fresh: bool) -> Found:
        """The task with its video. Raises TaskFailed and KlingError for one without."""
        found = await self._lookup.find(task_id, fresh=fresh)
        state = found.state
        row = found.record
        if row is not None and row.is_film:
            raise await without_file(row, self._ledger, self.storage)
        handle = row.handle if row else task_id
        noun = MADE[row.product].result if row else "video"
        sandbox = row.sandbox if row else self._clients.sandbox(found.provider)
        charged = "no" if sandbox else _charged(state)
        if state.status in WITHOUT_VIDEO:
            never = row is not None and row.task_id is None
            ours = never and row is not None and not row.quoted
            raise TaskFailed(
                f"Task {handle} {'was never made' if never else 'failed'}, there is no {noun}.",
                task_id=handle,
                provider_says="" if ours else state.message,
                charged="no" if never else charged,
                advice="kling_get_task says more."
                if never
                else after_failure(
                    state.units, state.money, state.message, sandbox=sandbox, record=row
                ),
            )
        if row is not None and row.is_asset:
            raise KlingError(
                f"Task {handle} makes no video, but the {ASSETS[row.product].kind} {row.prompt}.",
                charged=charged,
                advice=asset_next(row) if row.asset_id else "",
            )
        if not state.videos and state.status == "succeed":
            raise KlingError(
                f"The provider says that task {handle} is done, but names no {noun}.",
                charged=charged,
                advice=ONLY_THE_PROVIDER,
            )
        if not state.videos:
            wait = "Wait with kling_wait_for_tasks, then save."
            if found.record and found.record.ended_at is not None:
                wait = f"{FILE_LATE} {wait}"
            lost = found.record is not None and found.record.is_unanswered
            raise KlingError(
                f"Task {handle} is {state.status}, there is no {noun} yet.",
                charged="unknown" if lost else "no",
                advice="kling_get_task says more." if lost else wait,
            )
        return found

    async def _fetch(self, found: Found, handle: str, path: str, download: _Download) -> VideoFile:
        results, record = found.state.videos, found.record
        rows = record.each_file() if record else [None] * len(results)
        pictures = results[0].kind == "picture"
        files = [
            await self._fetch_one(found.provider, result, row, handle, path, download)
            for result, row in zip(results if pictures else results[:1], rows, strict=False)
        ]
        return replace(files[0], more=tuple(files[1:]))

    async def _fetch_one(
        self,
        provider: str,
        result: Video,
        record: Record | None,
        handle: str,
        path: str,
        download: _Download,
    ) -> VideoFile:
        """One result of a task; `record` is the row as that of this result."""
        target = self.storage.target(path, handle, record)
        client = await self._clients.get(provider)
        download.open = True
        try:
            await self._sweep()
            made = _folder_to_make(target) if path and not self.storage.private else ""
            saved = await save_video(
                lambda offset: client.open_video(result.url, offset),
                target,
                pause=self._sleep,
                progress=download.progress,
                broke=download.broke,
                limits=self.limits.download,
                turn=self._turn(provider),
                kind=result.kind,
            )
            return replace(saved, note=f"{saved.note}{made}".strip())
        except SaveFailed as error:
            if self.storage.private:
                error.message = error.message.replace(str(target), "the server's disk")
            if record:
                error.advice += self._until(record)
            raise

    async def _write_down(self, saved: VideoFile, found: Found) -> Found:
        if found.record is None:
            return found
        note = file_note(saved.facts, found.record.request)
        row, files = found.record, []
        place = await self.storage.store(saved, row)
        for number, file in enumerate(saved.more, start=2):
            there = await self.storage.store(file, row.file(number))
            files.append(SavedFile(there, file.bytes, file.sha256))
        record = await self._ledger.saved(row.id, place, saved.bytes, saved.sha256, note, files)
        self._failures.pop(record.id, None)
        return replace(found, record=record)

    async def _advise(self, error: KlingError, record: Record | None, download: _Download) -> None:
        """Have the error say what is known of a video after the days for which its provider keeps
        it: it is deleted if the provider does not know its task or its URL leads to nothing; else
        it may be there or not. A full disk is no reason to make it anew. Nothing is said of one
        that is saved."""
        if record is None or not self._is_past(record) or not download.needed:
            return
        if isinstance(error, TaskNotFound) or leads_nowhere(error):
            error.advice = DELETED
            error.anew = await self._made_anew(record)
        elif not download.came and _STILL_THERE.search(error.advice):
            error.advice = _STILL_THERE.sub(
                lambda found: MAYBE_DELETED + (";" if found["then"] else ""), error.advice
            )
            if not (isinstance(error, SaveFailed) and error.of_disk):
                error.anew = await self._made_anew(record, "If it cannot be had, ")

    async def _made_anew(self, record: Record, if_so: str = "") -> str:
        """A sentence that says how the video of a row is made once more; empty where it cannot
        be."""
        if not can_be_repeated(record):
            return ""
        takes = [record.take]
        with suppress(KlingError):
            takes = await self._ledger.takes(record)
        again = same_again(record, takes)
        charged = "" if record.sandbox else ", and is charged"
        return f"{if_so}{again.tool} with {again.call} makes it anew{charged}."

    def _is_past(self, record: Record) -> bool:
        return record.expires_at is not None and self._ledger.now() > record.expires_at

    def _until(self, record: Record) -> str:
        if record.expires_at is None or self._is_past(record):
            return ""
        return f" Its URL (kling_get_task) is valid until {spoken(record.expires_at, self._zone)}."

    async def _sweep(self) -> None:
        """Remove what downloads of killed processes left; once in the life of this process."""
        if not self._swept:
            self._swept = True
            await to_thread.run_sync(sweep_parts, self.storage.root)

    def _turn(self, provider: str) -> anyio.CapacityLimiter:
        if provider not in self._turns:
            self._turns[provider] = anyio.CapacityLimiter(AT_ONCE)
        return self._turns[provider]

    def _remember(self, error: KlingError, record: Record | None, path: str) -> None:
        """Remember why a finished video has no file. A failure at a path that a caller chose says
        nothing of the usual place."""
        if record is None or not record.videos or path:
            return
        before = self._failures.pop(record.id, None)
        times = before.times + 1 if before else 1
        rest_s = min(FIRST_REST_S * 2.0 ** min(times - 1, 10), LONGEST_REST_S)
        until = anyio.current_time() + rest_s
        self._failures[record.id] = _Failure(error, self._is_past(record), times, until)
        while len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]


_EXPIRES = re.compile(r"[?&]Expires=(\d{1,12})(?:&|$)", re.IGNORECASE)

FRESH_S = 3600.0
"""Seconds for which a link that does not say when it ends is used without asking for it anew."""

LEFT_S = 300.0
"""Seconds that a link must be good for yet: a large file takes its time."""


def _has_fresh_link(record: Record, now: float) -> bool:
    """Whether the row's link leads to the video: it says so itself (`Expires`, which Kling's links
    carry), or it was told within the last hour."""
    if record.status != "succeed" or not record.videos:
        return False
    if ends := _EXPIRES.search(record.videos[0].url):
        return float(ends[1]) > now + LEFT_S
    return now < record.updated_at + FRESH_S


def _mistake(error: Exception, *, is_saved: bool) -> KlingError:
    """The error in place of one that nobody expected; `is_saved` says that its file is there."""
    where = "The video still exists at the provider."
    if is_saved:
        where = "The saved file is still there."
    return KlingError(
        f"This server made a mistake of its own ({type(error).__name__}).",
        charged="no",
        advice=f"Its log says more. {where}",
    )


def _folder_to_make(target: Path) -> str:
    """A sentence about the folder that is made for this file; empty when it is there."""
    return "" if target.parent.is_dir() else f" The folder {target.parent} was made for it."


def _other_ending(path: str, file: VideoFile) -> str:
    """A sentence about a file whose name ends otherwise than it was asked for; empty for others."""
    asked, ending = Path(path).suffix.lower(), file.path.suffix
    if isinstance(file.facts, Mp4Facts) or asked not in SUFFIXES["picture"] or asked == ending:
        return ""
    kind = file.facts.file_type.name
    return f"It is a {kind} file, so its name ends in {ending} and not in {asked}."


def _charged(state: Record | Task) -> Charged:
    """Whether a task that has ended cost anything."""
    costs = [cost for cost in (state.units, state.money) if cost is not None]
    if not costs:
        return "unknown"
    return "yes" if any(costs) else "no"
