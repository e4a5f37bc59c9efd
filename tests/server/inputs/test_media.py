"""Sounds and videos are found in any form and measured before anything is paid."""

import base64
import math
import struct
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.made_clips import make_clip, make_film

from kling_mcp.inputs.held import held_file
from kling_mcp.inputs.media import Medium, Wish, format_of, open_media
from kling_mcp.inputs.policy import PicturePolicy, TaskVideo
from kling_tools.errors import KlingError
from kling_tools.faults import Fault
from kling_tools.rules.media_limits import VOICE_SAMPLE, MediaLimits

pytestmark = pytest.mark.anyio

MOTION = MediaLimits(
    formats=("MP4", "MOV"), mb=1, seconds=(1, 3), sides=(40, 400), fps=(20, 60), source="page"
)
SOUND = MediaLimits(formats=("MP3", "WAV", "M4A", "AAC"), mb=1, seconds=(1, 3), as_bytes=True)


def wav(path: Path, seconds: float, loudness: float = 0.5, rate: int = 16_000) -> Path:
    """A tone, or silence."""
    samples = (round(32_000 * loudness * math.sin(n * 0.2)) for n in range(round(seconds * rate)))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(array("h", samples).tobytes())
    return path


def coded(path: Path, codec: str, kind: str, seconds: float) -> Path:
    """A tone as MP3, AAC or M4A."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        count = round(seconds * 16_000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=count)
        frame.sample_rate = 16_000
        tone = array("f", (0.5 * math.sin(n * 0.2) for n in range(count)))
        frame.planes[0].update(tone.tobytes())
        fifo = av.AudioFifo()
        fifo.write(frame)
        while part := fifo.read(stream.frame_size or 1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


@asynccontextmanager
async def opened(
    folder: Path, value: str, limits: MediaLimits = MOTION, **more: object
) -> AsyncIterator[tuple[Medium | None, list[Fault]]]:
    policy = replace(PicturePolicy(roots=(folder,)), **more)  # type: ignore[arg-type]
    (medium,), verdict = await open_media([Wish("video", value, limits)], policy)
    try:
        yield medium, verdict.faults
    finally:
        if medium:
            medium.close()


async def faults_of(folder: Path, value: str, limits: MediaLimits = MOTION) -> list[str]:
    async with opened(folder, value, limits) as (medium, faults):
        assert (medium is None) is bool(faults)
        return [fault.rule for fault in faults]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "dance.mp4", frames=48, sound=True)


async def test_a_video_is_measured_by_its_header(clip: Path) -> None:
    async with opened(clip.parent, "dance.mp4") as (medium, faults):
        assert (medium is not None, faults) == (True, [])
        assert medium is not None
        assert medium.facts is not None
        facts = medium.facts
        assert (facts.format, facts.seconds, facts.fps) == ("MP4", 2.0, 24.0)
        assert (facts.width, facts.height) == (64, 48)
        assert (facts.rate_hz, facts.channels) == (8000, 1)
        assert medium.shown() == "dance.mp4 64x48, 2 s"
        assert medium.needs_address


@pytest.mark.parametrize("form", ["path", "file", "data", "base64"])
async def test_every_form_of_a_file_is_the_same_video(clip: Path, form: str) -> None:
    text = base64.b64encode(clip.read_bytes()).decode()
    value = {
        "path": str(clip),
        "file": clip.as_uri(),
        "data": f"data:video/mp4;base64,{text}",
        "base64": text,
    }[form]
    async with (
        opened(clip.parent, str(clip)) as (named, _),
        opened(clip.parent, value) as (
            medium,
            faults,
        ),
    ):
        assert faults == []
        assert medium is not None
        assert named is not None
        assert medium.sha256 == named.sha256
        assert medium.seconds == 2.0


async def test_a_url_is_not_fetched_and_its_length_is_not_known(tmp_path: Path) -> None:
    async with opened(tmp_path, "https://host.example/clip.mp4?key=1") as (medium, faults):
        assert faults == []
        assert medium is not None
        assert (medium.seconds, medium.needs_address) == (None, False)
        assert medium.wire() == "https://host.example/clip.mp4?key=1"
        assert "key" not in medium.label


async def test_each_limit_of_a_video_is_named_with_what_it_is(tmp_path: Path) -> None:
    make_clip(tmp_path / "short.mp4", frames=12, size=(64, 48))
    make_clip(tmp_path / "long.mp4", frames=80, size=(64, 48))
    make_clip(tmp_path / "small.mp4", frames=48, size=(64, 32))
    make_clip(tmp_path / "slow.mp4", frames=20, fps=10, size=(64, 48))
    make_clip(tmp_path / "wide.mp4", frames=48, size=(640, 480))

    assert await faults_of(tmp_path, "short.mp4") == ["video_length"]
    assert await faults_of(tmp_path, "long.mp4") == ["video_length"]
    assert await faults_of(tmp_path, "small.mp4") == ["video_side"]
    assert await faults_of(tmp_path, "slow.mp4") == ["video_fps"]
    assert await faults_of(tmp_path, "wide.mp4") == ["video_side"]
    flat = MOTION.model_copy(update={"ratio": (0.4, 1.2), "area": 2000, "sides": None})
    assert await faults_of(tmp_path, "small.mp4", flat) == ["video_ratio", "video_area"]
    heavy = MOTION.model_copy(update={"mb": 0})
    assert await faults_of(tmp_path, "slow.mp4", heavy) == ["video_bytes", "video_fps"]


async def test_a_clip_of_kling_that_is_a_frame_longer_than_its_seconds_passes(
    tmp_path: Path,
) -> None:
    make_clip(tmp_path / "clip.mp4", frames=73, size=(64, 48))

    async with opened(tmp_path, "clip.mp4") as (medium, faults):
        assert faults == []
        assert medium is not None
        assert medium.seconds == 3.042
        assert MOTION.billed_seconds(medium.seconds) == 3


@pytest.mark.parametrize(
    ("seconds", "billed"), [(None, 30), (3.0, 3), (3.04, 3), (3.06, 4), (4.5, 5), (31.0, 30)]
)
def test_each_second_that_has_begun_is_paid_and_an_unknown_length_is_the_longest(
    seconds: float | None, billed: int
) -> None:
    limits = MOTION.model_copy(update={"seconds": (3, 30)})

    assert limits.billed_seconds(seconds) == billed


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("page.mp4", b"<!doctype html><html>", "an HTML page"),
        ("text.mp4", b"not a video", "a text file"),
        ("empty.mp4", b"", "empty (0 bytes)"),
        ("voice.mp4", b"RIFF\x24\x00\x00\x00WAVEfmt ", "a WAV file"),
        ("clip.mp4", b"\x1a\x45\xdf\xa3" + bytes(40), "a video"),
        ("cut.mp4", b"\0\0\0\x18ftypisom" + bytes(12), "cannot be read as MP4"),
    ],
)
async def test_the_real_type_counts_and_not_the_name(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)

    async with opened(tmp_path, name) as (medium, faults):
        assert medium is None
        assert says in faults[0].message
        assert faults[0].use


async def test_a_picture_is_no_video_and_the_advice_speaks_of_videos(tmp_path: Path) -> None:
    Image.new("RGB", (400, 400)).save(tmp_path / "photo.png")

    async with opened(tmp_path, "photo.png") as (_, faults):
        assert "is a PNG picture; Kling takes MP4 or MOV here" in faults[0].message
    async with opened(tmp_path, "nowhere.mp4") as (_, faults):
        assert "kling://tasks/ID/video" in faults[0].use
    async with opened(tmp_path, str(tmp_path)) as (_, faults):
        assert faults[0].message.endswith("is a folder without videos.")
    async with opened(tmp_path, "/etc/passwd") as (_, faults):
        assert "videos may be read from" in faults[0].message


async def test_a_quicktime_file_passes_as_mov(tmp_path: Path, clip: Path) -> None:
    with (
        av.open(str(clip)) as source,
        av.open(str(tmp_path / "a.mov"), "w", format="mov") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)

    async with opened(tmp_path, "a.mov") as (medium, faults):
        assert faults == []
        assert medium is not None
        assert medium.facts is not None
        assert medium.facts.format == "MOV"


async def test_a_truncated_video_is_refused(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])

    assert await faults_of(tmp_path, "cut.mp4") == ["video_damaged"]


@pytest.mark.parametrize(
    ("name", "codec", "kind", "format_name"),
    [
        ("a.mp3", "libmp3lame", "mp3", "MP3"),
        ("a.aac", "aac", "adts", "AAC"),
        ("a.m4a", "aac", "ipod", "M4A"),
    ],
)
async def test_a_sound_is_measured_by_listening_to_it(
    tmp_path: Path, name: str, codec: str, kind: str, format_name: str
) -> None:
    coded(tmp_path / name, codec, kind, 2.0)

    async with opened(tmp_path, name, SOUND) as (medium, faults):
        assert faults == []
        assert medium is not None
        assert medium.facts is not None
        assert medium.facts.format == format_name
        assert medium.facts.seconds == pytest.approx(2.0, abs=0.15)
        assert (medium.facts.rate_hz, medium.facts.channels) == (16_000, 1)
        assert not medium.needs_address


async def test_a_sound_that_may_stand_in_the_body_is_sent_as_base64(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", 2)

    async with opened(tmp_path, "a.wav", SOUND) as (medium, _):
        assert medium is not None
        sent = medium.wire()
        assert not isinstance(sent, str)
        assert base64.b64decode(b"".join(sent)) == path.read_bytes()


async def test_a_sample_of_a_voice_is_long_enough_and_heard(tmp_path: Path) -> None:
    wav(tmp_path / "short.wav", 3, rate=8000)
    wav(tmp_path / "long.wav", 40, rate=8000)
    wav(tmp_path / "silent.wav", 6, 0, rate=8000)
    wav(tmp_path / "good.wav", 6, rate=8000)
    make_film(tmp_path / "talk.mp4", [Image.new("RGB", (64, 48))] * 150, loudness=0.3)
    make_clip(tmp_path / "mute.mp4", frames=150)

    assert await faults_of(tmp_path, "short.wav", VOICE_SAMPLE) == ["sound_length"]
    assert await faults_of(tmp_path, "long.wav", VOICE_SAMPLE) == ["sound_length"]
    assert await faults_of(tmp_path, "silent.wav", VOICE_SAMPLE) == ["sound_silent"]
    assert await faults_of(tmp_path, "good.wav", VOICE_SAMPLE) == []
    assert await faults_of(tmp_path, "talk.mp4", VOICE_SAMPLE) == []
    assert await faults_of(tmp_path, "mute.mp4", VOICE_SAMPLE) == ["sound_missing"]


async def test_the_video_of_a_task_brings_its_address_and_the_facts_of_its_file(
    tmp_path: Path, clip: Path
) -> None:
    async def with_file(address: str) -> TaskVideo:
        assert address == "kling://tasks/7/video"
        return TaskVideo("video of 7", "hash", 2.0, "https://cdn/7.mp4", held_file(clip, "v"))

    async def unsaved(address: str) -> TaskVideo:
        return TaskVideo("video of 7", "hash", 9.0, "https://cdn/7.mp4")

    async def fails(address: str) -> TaskVideo:
        raise KlingError("Task 7 is processing.", advice="Wait.", charged="no")

    where = "kling://tasks/7/video"
    async with opened(tmp_path, where, task_video=with_file) as (medium, faults):
        assert (faults, medium is not None) == ([], True)
        assert medium is not None
        assert (medium.url, medium.sha256, medium.seconds) == ("https://cdn/7.mp4", "hash", 2.0)
        assert medium.facts is not None
    async with opened(tmp_path, where, task_video=unsaved) as (medium, faults):
        assert [fault.rule for fault in faults] == ["video_length"]
    async with opened(tmp_path, where, task_video=fails) as (medium, faults):
        assert "Task 7 is processing. Wait." in faults[0].message
    async with opened(tmp_path, where) as (medium, faults):
        assert "no tasks here" in faults[0].message


async def test_the_id_of_a_task_is_its_video(tmp_path: Path, clip: Path) -> None:
    async def found(address: str) -> TaskVideo:
        assert address == "kling://tasks/12345678901234567/video"
        return TaskVideo("its video", "hash", 2.0, "https://cdn/7.mp4", held_file(clip, "v"))

    async with opened(tmp_path, " 12345678901234567 ", task_video=found) as (medium, faults):
        assert (faults, medium is not None) == ([], True)


async def test_a_frame_of_a_task_is_no_video(tmp_path: Path) -> None:
    async with opened(tmp_path, "kling://tasks/7/frames/last") as (_, faults):
        assert faults[0].rule == "task_picture"


@given(st.binary(max_size=64))
def test_any_beginning_of_a_file_has_a_format_or_none(head: bytes) -> None:
    assert format_of(head) in ("MP4", "MOV", "MP3", "WAV", "M4A", "AAC", None)


@pytest.mark.campaign
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
async def test_a_video_with_altered_bytes_is_read_or_refused(
    clip: Path, place: int, noise: bytes
) -> None:
    data = bytearray(clip.read_bytes())
    place %= len(data)
    data[place : place + len(noise)] = noise
    text = base64.b64encode(bytes(data)).decode()

    async with opened(clip.parent, f"data:video/mp4;base64,{text}") as (medium, faults):
        assert (medium is None) is bool(faults)


async def test_a_table_that_claims_a_million_frames_is_refused_before_it_is_read(
    tmp_path: Path, clip: Path
) -> None:
    data = clip.read_bytes()
    at = data.index(b"stsz") + 8
    (tmp_path / "bomb.mp4").write_bytes(
        data[:at] + struct.pack(">II", 100, 900_000) + data[at + 8 :]
    )

    assert await faults_of(tmp_path, "bomb.mp4") == ["video_damaged"]
