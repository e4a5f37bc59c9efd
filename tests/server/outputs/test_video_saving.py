"""A video has its name only when it is whole; no trace is left otherwise."""

import errno
import hashlib
import os
import stat
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from tests.made_clips import make_clip

from kling_mcp.outputs.part import Part
from kling_mcp.outputs.saving import VideoFile, save_video
from kling_mcp.providers.responses import VideoStream
from kling_mcp.providers.retries import DownloadLimits
from kling_tools.errors import AuthFailed, ProviderDown, SaveFailed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return make_clip(path, frames=48, size=(320, 240)).read_bytes()


@dataclass
class Provider:
    """A provider that serves `content` and breaks off at each of `breaks`, one per request."""

    content: bytes
    breaks: list[int] = field(default_factory=list)
    honours_range: bool = True
    tells_length: bool = True
    chunk: int = 500
    asked: list[int] = field(default_factory=list)
    open_streams: int = 0

    @asynccontextmanager
    async def download(self, offset: int) -> AsyncIterator[VideoStream]:
        self.asked.append(offset)
        start = offset if self.honours_range else 0
        stop = self.breaks.pop(0) if self.breaks else None
        self.open_streams += 1
        try:
            total = len(self.content) if self.tells_length else None
            yield VideoStream(start, total, self.chunks(start, stop))
        finally:
            self.open_streams -= 1

    async def chunks(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        end = len(self.content) if stop is None else stop
        for at in range(start, end, self.chunk):
            await anyio.lowlevel.checkpoint()
            yield self.content[at : min(at + self.chunk, end)]
        if stop is not None:
            raise ProviderDown("The connection broke.", retry_after_s=3.0)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


async def test_a_whole_video_is_saved_under_its_name(content: bytes, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "clip.mp4"

    saved = await save_video(Provider(content).download, target)

    assert isinstance(saved, VideoFile)
    assert saved.path == target == only_file(target.parent)
    assert target.read_bytes() == content
    assert saved.bytes == saved.facts.bytes == len(content)
    assert saved.sha256 == hashlib.sha256(content).hexdigest()
    assert (saved.facts.width, saved.facts.height) == (320, 240)
    assert saved.already_there is False


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_the_file_has_the_usual_permissions(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()

    saved = await save_video(Provider(content).download, tmp_path / "clip.mp4")

    assert stat.S_IMODE(saved.path.stat().st_mode) == stat.S_IMODE(
        (tmp_path / "usual").stat().st_mode
    )


async def test_progress_ends_at_the_length(content: bytes, tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []

    async def progress(done: int, total: int | None) -> None:
        heard.append((done, total))

    await save_video(Provider(content).download, tmp_path / "clip.mp4", progress=progress)

    assert heard[-1] == (len(content), len(content))


async def test_a_broken_download_goes_on_where_it_ended(content: bytes, tmp_path: Path) -> None:
    provider = Provider(content, breaks=[700, 1900])
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    saved = await save_video(provider.download, tmp_path / "clip.mp4", pause=pause)

    assert provider.asked == [0, 700, 1900]
    assert pauses == [3.0, 3.0]
    assert saved.path.read_bytes() == content
    assert saved.sha256 == hashlib.sha256(content).hexdigest()


async def test_a_provider_that_ignores_the_wish_is_read_from_the_start(
    content: bytes, tmp_path: Path
) -> None:
    provider = Provider(content, breaks=[700], honours_range=False)

    saved = await save_video(provider.download, tmp_path / "clip.mp4")

    assert provider.asked == [0, 700]
    assert saved.path.read_bytes() == content
    assert saved.sha256 == hashlib.sha256(content).hexdigest()


async def test_a_provider_that_begins_somewhere_else_is_asked_again(
    content: bytes, tmp_path: Path
) -> None:
    provider = Provider(content, breaks=[700])

    @asynccontextmanager
    async def shifted(offset: int) -> AsyncIterator[VideoStream]:
        async with provider.download(max(offset - 100, 0)) as stream:
            yield stream

    saved = await save_video(shifted, tmp_path / "clip.mp4")

    assert provider.asked == [0, 600, 0]
    assert saved.path.read_bytes() == content


async def test_another_file_behind_the_same_url_is_read_from_the_start(
    content: bytes, tmp_path: Path
) -> None:
    first, second = Provider(b"x" * 5000, breaks=[700]), Provider(content)

    @asynccontextmanager
    async def swapped(offset: int) -> AsyncIterator[VideoStream]:
        async with (second if first.asked else first).download(offset) as stream:
            yield stream

    saved = await save_video(swapped, tmp_path / "clip.mp4")

    assert second.asked == [700, 0]
    assert saved.path.read_bytes() == content


async def test_a_break_behind_the_last_byte_loses_nothing(content: bytes, tmp_path: Path) -> None:
    provider = Provider(content, breaks=[len(content)])

    await save_video(provider.download, tmp_path / "clip.mp4")

    assert provider.asked == [0]


async def test_a_download_that_stays_broken_is_given_up(content: bytes, tmp_path: Path) -> None:
    provider = Provider(content, breaks=[100, 200, 300, 400])

    with pytest.raises(SaveFailed, match=r"3 times.*connection broke.*still exists"):
        await save_video(provider.download, tmp_path / "clip.mp4", attempts=3)

    assert provider.asked == [0, 100, 200]
    assert list(tmp_path.iterdir()) == []


async def test_a_stream_that_ends_early_in_silence_is_resumed(
    content: bytes, tmp_path: Path
) -> None:
    short = Provider(content[:900])
    rest = Provider(content)

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        async with (rest if short.asked else short).download(offset) as stream:
            yield VideoStream(stream.offset, len(content), stream.chunks)

    await save_video(download, tmp_path / "clip.mp4")

    assert rest.asked == [900]


async def test_more_bytes_than_announced_are_not_believed(content: bytes, tmp_path: Path) -> None:
    provider = Provider(content + b"more")

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        async with provider.download(offset) as stream:
            yield VideoStream(stream.offset, len(content), stream.chunks)

    with pytest.raises(SaveFailed, match=f"{len(content) + 4} of {len(content)} bytes"):
        await save_video(download, tmp_path / "clip.mp4", attempts=2)

    assert provider.asked == [0, 0]


async def test_a_video_cut_short_at_the_provider_is_refused_after_a_second_look(
    content: bytes, tmp_path: Path
) -> None:
    provider = Provider(content[:-50])

    with pytest.raises(SaveFailed, match=r"sent twice is not a whole video.*cut short"):
        await save_video(provider.download, tmp_path / "clip.mp4")

    assert provider.asked == [0, 0]
    assert list(tmp_path.iterdir()) == []


async def test_without_a_length_a_cut_video_is_fetched_again(
    content: bytes, tmp_path: Path
) -> None:
    cut = Provider(content[:-50], tells_length=False)
    whole = Provider(content, tells_length=False)

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        async with (whole if cut.asked else cut).download(offset) as stream:
            yield stream

    saved = await save_video(download, tmp_path / "clip.mp4")

    assert saved.path.read_bytes() == content


async def test_long_videos_are_written_in_pieces(content: bytes, tmp_path: Path) -> None:
    padding = 3 * 1024 * 1024
    long = content + struct.pack(">I4s", padding, b"free") + bytes(padding - 8)
    heard: list[int] = []

    async def progress(done: int, total: int | None) -> None:
        heard.append(done)

    provider = Provider(long, chunk=100_000, breaks=[2_500_000])
    saved = await save_video(provider.download, tmp_path / "clip.mp4", progress=progress)

    assert saved.sha256 == hashlib.sha256(long).hexdigest()
    assert len(heard) == 4
    assert heard == sorted(heard)


async def test_other_errors_of_the_provider_pass_through(content: bytes, tmp_path: Path) -> None:
    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        raise AuthFailed("The URL has expired.")
        yield

    with pytest.raises(AuthFailed):
        await save_video(download, tmp_path / "clip.mp4")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "requests"), [(403, 1), (404, 1), (503, 3), (None, 3)])
async def test_an_expired_url_is_not_asked_again_and_a_tired_server_is(
    tmp_path: Path, status: int | None, requests: int
) -> None:
    asked: list[int] = []

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        asked.append(offset)
        raise ProviderDown("No video came.", http_status=status)
        yield

    with pytest.raises((ProviderDown, SaveFailed), match="No video came"):
        await save_video(download, tmp_path / "clip.mp4", attempts=3)

    assert len(asked) == requests
    assert list(tmp_path.iterdir()) == []


QUICK = DownloadLimits(opening_s=0.02, least_bytes=1_000, least_in_s=0.02, within_s=5)


@pytest.mark.parametrize("tells_length", [True, False])
async def test_a_stream_that_stands_still_is_left_and_resumed(
    content: bytes, tmp_path: Path, tells_length: bool
) -> None:
    provider = Provider(content, tells_length=tells_length)
    asked: list[int] = []

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        asked.append(offset)
        async with provider.download(offset) as stream:

            async def chunks() -> AsyncIterator[bytes]:
                yield content[:700]
                await anyio.sleep_forever()

            yield stream if offset else VideoStream(0, stream.total_bytes, chunks())

    saved = await save_video(download, tmp_path / "clip.mp4", limits=QUICK)

    assert asked == [0, 700]
    assert saved.path.read_bytes() == content


async def test_an_answer_that_does_not_begin_is_given_up(content: bytes, tmp_path: Path) -> None:
    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        await anyio.sleep_forever()
        yield

    with pytest.raises(SaveFailed, match=r"failed 2 times.*no answer began within 0\.02 s"):
        await save_video(download, tmp_path / "clip.mp4", attempts=2, limits=QUICK)

    assert list(tmp_path.iterdir()) == []


async def test_pauses_that_a_host_asks_for_count_into_the_time_for_all_attempts(
    content: bytes, tmp_path: Path
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        raise ProviderDown("The host is busy.", http_status=503, retry_after_s=300)
        yield

    with pytest.raises(SaveFailed, match=r"given up in 3 attempts after 900 s.*busy"):
        await save_video(download, tmp_path / "clip.mp4", pause=pause)

    assert pauses == [300, 300]
    assert list(tmp_path.iterdir()) == []


async def test_a_refused_range_begins_again(content: bytes, tmp_path: Path) -> None:
    provider = Provider(content, breaks=[700], tells_length=False)

    @asynccontextmanager
    async def download(offset: int) -> AsyncIterator[VideoStream]:
        if offset:
            raise ProviderDown("Range not satisfiable.", http_status=416)
        async with provider.download(offset) as stream:
            yield stream

    saved = await save_video(download, tmp_path / "clip.mp4")

    assert provider.asked == [0, 0]
    assert saved.path.read_bytes() == content


async def test_another_file_of_that_name_is_never_overwritten(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"holiday")
    (tmp_path / "clip-2.mp4").write_bytes(b"x" * len(content))

    saved = await save_video(Provider(content).download, tmp_path / "clip.mp4")

    assert saved.path.name == "clip-3.mp4"
    assert (tmp_path / "clip.mp4").read_bytes() == b"holiday"


async def test_the_same_video_is_not_saved_twice(content: bytes, tmp_path: Path) -> None:
    first = await save_video(Provider(content).download, tmp_path / "clip.mp4")

    second = await save_video(Provider(content).download, tmp_path / "clip.mp4")

    assert second.path == first.path == only_file(tmp_path)
    assert second.already_there is True


async def test_downloads_at_the_same_time_get_names_of_their_own(tmp_path: Path) -> None:
    saved: list[Path] = []
    clips = [make_clip(tmp_path / f"{n}.mp4", frames=n + 2).read_bytes() for n in range(6)]
    folder = tmp_path / "saved"

    async def save(content: bytes) -> None:
        saved.append((await save_video(Provider(content).download, folder / "clip.mp4")).path)

    async with anyio.create_task_group() as group:
        for content in clips:
            group.start_soon(save, content)

    assert sorted(saved) == sorted(folder.iterdir())
    assert sorted(path.read_bytes() for path in saved) == sorted(clips)


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP])
async def test_a_disk_without_hard_links_serves_as_well(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(error, "no links")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "clip.mp4").write_bytes(b"holiday")

    saved = await save_video(Provider(content).download, tmp_path / "clip.mp4")

    assert saved.path.name == "clip-2.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip-2.mp4", "clip.mp4"]


async def test_a_disk_that_fails_at_the_last_step_leaves_no_trace(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)

    with pytest.raises(SaveFailed, match=r"Input/output error"):
        await save_video(Provider(content).download, tmp_path / "clip.mp4")

    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_download_leaves_no_trace(content: bytes, tmp_path: Path) -> None:
    provider = Provider(content)

    @asynccontextmanager
    async def endless(offset: int) -> AsyncIterator[VideoStream]:
        async with provider.download(offset) as stream:

            async def chunks() -> AsyncIterator[bytes]:
                yield content[:1000]
                assert only_file(tmp_path).name.startswith(".clip.mp4.")
                scope.cancel()
                await anyio.sleep_forever()

            yield VideoStream(0, stream.total_bytes, chunks())

    with anyio.CancelScope() as scope:
        await save_video(endless, tmp_path / "clip.mp4")

    assert scope.cancelled_caught
    assert provider.open_streams == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_told_with_what_to_do(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Part, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "append", full)

    with pytest.raises(SaveFailed, match=r"disk is full.*still exists.*free some space"):
        await save_video(Provider(content).download, tmp_path / "clip.mp4")

    assert list(tmp_path.iterdir()) == []


async def test_a_file_in_the_place_of_the_folder_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for target in (tmp_path / "file" / "clip.mp4", tmp_path / "file" / "deep" / "clip.mp4"):
        with pytest.raises(SaveFailed, match="stands where a folder should be"):
            await save_video(Provider(content).download, target)


async def test_a_folder_that_may_not_be_written_is_told(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)

    with pytest.raises(SaveFailed, match=r"may not be written.*KLING_MCP_OUTPUT_DIR"):
        await save_video(Provider(content).download, tmp_path / "clip.mp4")


@pytest.mark.parametrize("tells_length", [True, False])
async def test_a_file_beyond_the_limit_is_refused(
    content: bytes, tmp_path: Path, tells_length: bool
) -> None:
    provider = Provider(content, tells_length=tells_length)

    with pytest.raises(SaveFailed, match="more than the 1000"):
        await save_video(provider.download, tmp_path / "clip.mp4", size_limit_bytes=1000)

    assert provider.asked == [0]
    assert list(tmp_path.iterdir()) == []


async def test_claims_from_several_threads_never_collide(tmp_path: Path) -> None:
    paths: list[Path] = []

    def claim(number: int) -> None:
        part = Part(tmp_path / "clip.mp4")
        part.append(b"%d" % number)
        paths.append(part.claim()[0])

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(to_thread.run_sync, claim, number)

    assert len(set(paths)) == 20
    assert {path.read_bytes() for path in paths} == {b"%d" % number for number in range(20)}
