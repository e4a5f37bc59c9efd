"""A finished video becomes a file: streamed, resumed, checked, and only then named."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import anyio
from anyio import to_thread

from kling_mcp.inputs.decoding import DECODING
from kling_mcp.inputs.mp4 import Mp4Facts, NotWholeMp4, check
from kling_mcp.outputs.part import STILL_THERE, Part, disk_errors
from kling_mcp.outputs.pictures import NotWholePicture, PictureFacts, check_picture
from kling_mcp.providers.responses import Download, VideoStream
from kling_mcp.providers.retries import DOWNLOAD_LIMITS, DownloadLimits
from kling_tools.errors import ProviderDown, SaveFailed
from kling_tools.products import Result
from kling_tools.quoting import counted

__all__ = ["CHECKS", "SIZE_LIMIT_BYTES", "Facts", "VideoFile", "save_video"]

SIZE_LIMIT_BYTES = 2 * 1024**3
"""A file of 2 GiB is no clip of 15 s; the disk is not filled with it."""

_RANGE_NOT_SATISFIABLE = 416
_FINAL_STATUSES = frozenset(range(400, 500)) - {408, _RANGE_NOT_SATISFIABLE, 429}
_WRITE_BYTES = 1024 * 1024
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0

Pause = Callable[[float], Awaitable[None]]
Progress = Callable[[int, int | None], Awaitable[None]]
Broke = Callable[[str], None]

ResultT = TypeVar("ResultT")

Facts = Mp4Facts | PictureFacts
"""What a saved file holds."""

CHECKS: Mapping[Result, Callable[[Path], Facts]] = {"video": check, "picture": check_picture}
"""Finds out whether a file of this kind is whole."""

Turn = AbstractAsyncContextManager[object]
"""Entered when an attempt begins, which may mean waiting, and left when it ends."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A whole video, or picture, on disk: its path, length in bytes, SHA-256 in hexadecimal, and
    facts.

    `already_there` is True when a file with exactly these bytes had the name before. `note` says
    where a file was before it got this name. `more` are the further files of its task.
    """

    path: Path
    bytes: int
    sha256: str
    facts: Facts
    already_there: bool = False
    note: str = ""
    more: tuple[VideoFile, ...] = ()


async def save_video(
    download: Download,
    target: Path,
    *,
    attempts: int = 5,
    size_limit_bytes: int = SIZE_LIMIT_BYTES,
    pause: Pause | None = None,
    progress: Progress | None = None,
    broke: Broke | None = None,
    limits: DownloadLimits = DOWNLOAD_LIMITS,
    turn: Turn | None = None,
    kind: Result = "video",
) -> VideoFile:
    """Save a video under `target`, or under `-2`, `-3` … beside it when that name is taken. A
    picture's name ends as its real type does.

    `download(offset)` opens the video from a byte on. After a break it is opened again where
    the last one ended, at most `attempts` times in all, with `await pause(seconds)` in between
    when a pause is given. `progress` hears the bytes on disk, and the length if it is known.
    `broke` hears why an attempt failed, when another one follows. The `turn` is held during each
    attempt and free during each pause, so it must be one that can be entered again.
    The file has its name only when it is whole, and no trace is left otherwise, also after a
    cancellation.

    Raises `SaveFailed` when the disk or the download does not allow it or when what came is no
    whole MP4. Errors of `download` pass through when another attempt would not help: every
    other than `ProviderDown`, and that one with an HTTP status such as 403 (an expired URL).
    """
    turn = turn or nullcontext()
    async with turn:
        with disk_errors(target):
            part = Part(target)
            part.close()
    try:
        saving = _Saving(download, part, size_limit_bytes, progress, limits, kind)
        return await saving.run(attempts, pause, broke, turn)
    finally:
        part.discard()


class _Broken(Exception):
    """One attempt brought less than the whole file; the next one may succeed."""

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


class _Saving:
    """The attempts at one download."""

    def __init__(
        self,
        download: Download,
        part: Part,
        size_limit_bytes: int,
        progress: Progress | None,
        limits: DownloadLimits,
        kind: Result = "video",
    ) -> None:
        self._kind = kind
        self._download = download
        self._part = part
        self._size_limit_bytes = size_limit_bytes
        self._progress = progress
        self._limits = limits
        self._left_s = limits.within_s
        self._total_bytes: int | None = None
        self._refused_sha256: str | None = None

    async def run(
        self, attempts: int, pause: Pause | None, broke: Broke | None, turn: Turn
    ) -> VideoFile:
        for number in range(1, attempts + 1):
            try:
                async with turn:
                    return await self._attempt()
            except _Broken as broken:
                backoff_s = min(_FIRST_PAUSE_S * 2 ** (number - 1), _LONGEST_PAUSE_S)
                pause_s = backoff_s if broken.wait_s is None else broken.wait_s
                if number == attempts:
                    raise self._given_up(broken.reason, number) from broken
                if pause is not None:
                    self._left_s -= pause_s
                if self._left_s <= 0:
                    raise self._too_long(broken.reason, number) from broken
                if broke is not None:
                    broke(broken.reason)
                if pause is not None:
                    await pause(pause_s)
        raise ValueError("attempts must be at least 1")

    async def _attempt(self) -> VideoFile:
        with disk_errors(self._part.target):
            self._part.reopen()
        try:
            await self._fetch_in_time()
            return await self._finish()
        finally:
            self._part.close()

    async def _fetch_in_time(self) -> None:
        """Fetch the file within the time that is left for all attempts."""
        began = anyio.current_time()
        try:
            with anyio.fail_after(self._left_s):
                await self._fetch()
        except TimeoutError as error:
            raise self._too_long(self._so_far(), 1) from error
        finally:
            self._left_s -= anyio.current_time() - began

    async def _fetch(self) -> None:
        """Fetch the file from the last byte on disk to its end."""
        try:
            async with AsyncExitStack() as opened:
                stream = await self._opened(opened)
                await self._agree(stream)
                await self._store(stream)
        except ProviderDown as error:
            if error.http_status in _FINAL_STATUSES:
                raise
            if error.http_status == _RANGE_NOT_SATISFIABLE:
                await self._restart()
            if self._part.bytes != self._total_bytes:
                raise _Broken(error.message, wait_s=error.retry_after_s) from error
        if self._total_bytes is None or self._part.bytes == self._total_bytes:
            return
        came = self._part.bytes
        if came > self._total_bytes:
            await self._restart()
        raise _Broken(f"{came} of {self._total_bytes} bytes came")

    async def _opened(self, opened: AsyncExitStack) -> VideoStream:
        seconds = self._limits.opening_s
        try:
            with anyio.fail_after(seconds):
                return await opened.enter_async_context(self._download(self._part.bytes))
        except TimeoutError as error:
            raise _Broken(f"no answer began within {seconds:g} s") from error

    async def _agree(self, stream: VideoStream) -> None:
        """Check that the stream continues the bytes on disk; begin anew if it does not."""
        known_bytes = self._total_bytes
        if stream.total_bytes is not None:
            self._total_bytes = stream.total_bytes
        same_file = known_bytes in (None, self._total_bytes)
        if self._total_bytes is not None and self._total_bytes > self._size_limit_bytes:
            raise self._too_large(self._total_bytes)
        if stream.offset != self._part.bytes or not same_file:
            await self._restart()
        if stream.offset != self._part.bytes:
            raise _Broken(f"the provider began at byte {stream.offset}, which was not asked for")

    async def _store(self, stream: VideoStream) -> None:
        """Write what comes, each block while the next one comes."""
        blocks, coming = anyio.create_memory_object_stream[bytes](1)
        failed: Exception | None = None

        async def write() -> None:
            nonlocal failed
            try:
                async for block in coming:
                    await self._write(block)
            except Exception as error:
                failed = error
                group.cancel_scope.cancel()

        with blocks, coming:
            async with anyio.create_task_group() as group:
                group.start_soon(write)
                try:
                    async for block in self._blocks(stream):
                        await blocks.send(block)
                except Exception as error:
                    failed = error
                blocks.close()
        if failed is not None:
            raise failed

    async def _blocks(self, stream: VideoStream) -> AsyncIterator[bytes]:
        """What comes, in large blocks; before an error of the provider, also the last of it. Raises
        ProviderDown when it comes too slowly: only the time of waiting for it counts."""
        limits = self._limits
        left_s, in_time, came = limits.least_in_s, 0, self._part.bytes
        broke: ProviderDown | None = None
        ended = False
        while not ended:
            pending, size = list[bytes](), 0
            try:
                with anyio.fail_after(left_s) as patience:
                    while size < _WRITE_BYTES:
                        chunk = await anext(stream.chunks, None)
                        if chunk is None:
                            break
                        pending.append(chunk)
                        size += len(chunk)
                        in_time += len(chunk)
                        if in_time >= limits.least_bytes:
                            in_time, patience.deadline = 0, anyio.current_time() + limits.least_in_s
            except TimeoutError:
                slow = f"Only {in_time} bytes came in {limits.least_in_s:g} s."
                broke = ProviderDown(slow, retryable=True)
            except ProviderDown as error:
                broke = error
            left_s = patience.deadline - anyio.current_time()
            ended = size < _WRITE_BYTES
            came += size
            if came > self._size_limit_bytes:
                raise self._too_large(came)
            yield b"".join(pending)
        if broke is not None:
            raise broke

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        await self._on_disk(self._part.append, data)
        if self._progress is not None:
            await self._progress(self._part.bytes, self._total_bytes)

    async def _restart(self) -> None:
        await self._on_disk(self._part.restart)

    async def _on_disk(self, work: Callable[..., ResultT], *args: object) -> ResultT:
        """What the work returns, in a thread; raises SaveFailed for an error of the disk."""
        with disk_errors(self._part.target):
            return await to_thread.run_sync(work, *args)

    async def _finish(self) -> VideoFile:
        try:
            await self._on_disk(self._part.sync)
            with disk_errors(self._part.target):
                whole = partial(CHECKS[self._kind], self._part.path)
                facts = await DECODING.run(whole, wait_s=math.inf)
        except (NotWholeMp4, NotWholePicture) as error:
            await self._begin_again_once(error)
        if isinstance(facts, PictureFacts):
            self._part.end_with(facts.suffixes)
        path, already_there = await self._on_disk(self._part.claim)
        return VideoFile(path, self._part.bytes, self._part.sha256, facts, already_there)

    async def _begin_again_once(self, error: NotWholeMp4 | NotWholePicture) -> NoReturn:
        """Fetch once more from the first byte. The same bytes again are the provider's own file."""
        sha256 = self._part.sha256
        if sha256 == self._refused_sha256:
            raise SaveFailed(
                f"What the provider sent twice is not a whole {self._kind}. {error.reason}",
                advice=f"Nothing was saved. {STILL_THERE} call kling_save_video later.",
                of_file=True,
            ) from error
        self._refused_sha256 = sha256
        await self._restart()
        raise _Broken(error.reason) from error

    def _given_up(self, reason: str, attempts: int) -> SaveFailed:
        return SaveFailed(
            f"The download failed {counted(attempts, 'time')}. "
            f"The last time: {reason.rstrip('.')}.",
            advice=f"Nothing was saved. {STILL_THERE} call kling_save_video to try again.",
        )

    def _too_long(self, reason: str, attempts: int) -> SaveFailed:
        tried = f" in {counted(attempts, 'attempt')}" if attempts > 1 else ""
        return SaveFailed(
            f"The download was given up{tried} after {self._limits.within_s:g} s. "
            f"The last time: {reason.rstrip('.')}.",
            advice=f"Nothing was saved. {STILL_THERE} call kling_save_video later.",
        )

    def _so_far(self) -> str:
        total = f" of {self._total_bytes}" if self._total_bytes is not None else ""
        return f"{self._part.bytes}{total} bytes came"

    def _too_large(self, size: int) -> SaveFailed:
        return SaveFailed(
            f"The provider offers at least {size} bytes, more than the {self._size_limit_bytes} "
            "that are saved.",
            advice="Nothing was saved. The provider still has the video: open its URL.",
        )
