"""A file is accepted only when it is one whole MP4."""

import os
import struct
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.made_clips import make_clip, make_sound

from kling_mcp.inputs.mp4 import NotWholeMp4, check

FAST_START = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=36)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "video.mp4"


def test_the_facts_of_a_whole_clip_are_read_from_it(clip: Path) -> None:
    facts = check(clip)

    assert (facts.width, facts.height) == (64, 48)
    assert facts.duration_s == pytest.approx(1.5, abs=0.01)
    assert facts.fps == pytest.approx(24)
    assert facts.bytes == clip.stat().st_size
    assert facts.video_codec == "h264"
    assert facts.has_audio is False


def test_sound_is_noticed(tmp_path: Path) -> None:
    assert check(make_clip(tmp_path / "loud.mp4", frames=3, sound=True)).has_audio is True


@pytest.mark.parametrize("options", [{}, FAST_START, FRAGMENTED])
def test_each_usual_layout_of_an_mp4_is_accepted(tmp_path: Path, options: dict[str, str]) -> None:
    facts = check(make_clip(tmp_path / "clip.mp4", options=options))

    assert facts.duration_s == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("options", [{}, FAST_START])
def test_a_clip_cut_at_any_byte_is_recognised(tmp_path: Path, options: dict[str, str]) -> None:
    cut = make_clip(tmp_path / "clip.mp4", options=options)

    for length in reversed(range(cut.stat().st_size)):
        os.truncate(cut, length)
        with pytest.raises(NotWholeMp4):
            check(cut)


def test_a_fragmented_clip_cut_inside_its_only_fragment_is_recognised(tmp_path: Path) -> None:
    cut = make_clip(tmp_path / "clip.mp4", options=FRAGMENTED)
    whole = cut.read_bytes()
    fragment, media = whole.index(b"moof"), whole.index(b"mdat")

    for length in (fragment, media - 4, media, media + 100):
        cut.write_bytes(whole[:length])
        with pytest.raises(NotWholeMp4):
            check(cut)


def test_media_data_without_a_stated_end_is_measured_by_its_frames(tmp_path: Path) -> None:
    fast = make_clip(tmp_path / "clip.mp4", options=FAST_START)
    data = bytearray(fast.read_bytes())
    size_at = data.index(b"mdat") - 4
    data[size_at : size_at + 4] = bytes(4)
    fast.write_bytes(data)
    check(fast)

    fast.write_bytes(data[:-1])

    with pytest.raises(NotWholeMp4, match="last frame should end"):
        check(fast)


def test_frames_that_are_missing_as_a_whole_are_noticed(tmp_path: Path) -> None:
    """FFmpeg reads such a file to its end without a word."""
    fast = make_clip(tmp_path / "clip.mp4", options=FAST_START)
    data = bytearray(fast.read_bytes())
    size_at = data.index(b"mdat") - 4
    data[size_at : size_at + 4] = bytes(4)
    with av.open(str(fast)) as container:
        last = [packet.pos for packet in container.demux() if packet.size][-1]
    assert last is not None
    fast.write_bytes(data[:last])

    with pytest.raises(NotWholeMp4, match="last frame should end"):
        check(fast)


def test_a_small_file_that_claims_80_million_frames_is_refused_at_once(tmp_path: Path) -> None:
    """FFmpeg would make room for each of them: 2.8 GB."""
    clip = make_clip(tmp_path / "clip.mp4", options=FAST_START)
    data = bytearray(clip.read_bytes())
    many = 80_000_000
    sizes, runs = data.index(b"stsz") + 8, data.index(b"stsc") + 8
    struct.pack_into(">2I", data, sizes, 1, many)
    struct.pack_into(">I3I", data, runs, 1, 1, many, 1)
    clip.write_bytes(data)

    with pytest.raises(NotWholeMp4, match="claims more than 500,000 samples"):
        check(clip)


def test_a_fragment_whose_media_data_is_missing_is_recognised(tmp_path: Path) -> None:
    cut = make_clip(tmp_path / "clip.mp4", options=FRAGMENTED)
    whole = cut.read_bytes()
    cut.write_bytes(whole + struct.pack(">I4s", 8, b"moof"))

    with pytest.raises(NotWholeMp4, match="fragment has no media data"):
        check(cut)


def test_an_index_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.mp4"
    size = 33 * 1024 * 1024
    huge.write_bytes(struct.pack(">I4sI4sI4s", 8, b"ftyp", 8, b"mdat", size, b"moov"))
    os.truncate(huge, 16 + size)

    with pytest.raises(NotWholeMp4, match="index claims"):
        check(huge)


def test_a_64_bit_box_size_is_understood(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    wide = tmp_path / "wide.mp4"
    wide.write_bytes(data + struct.pack(">I4sQ", 1, b"free", 20) + b"....")
    check(wide)

    wide.write_bytes(data + struct.pack(">I4sQ", 1, b"free", 2**63) + b"....")

    with pytest.raises(NotWholeMp4, match="free box should end"):
        check(wide)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><title>403</title>", "a web page"),
        (b'{"code": 1201}', "a JSON answer"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"some text, long enough", "does not begin with an ftyp box"),
        (struct.pack(">I4s", 8, b"ftyp"), "no index"),
        (struct.pack(">I4sI4s", 8, b"ftyp", 8, b"moov"), "no media data"),
        (struct.pack(">I4sI4sI4s", 8, b"ftyp", 8, b"moov", 8, b"mdat"), "no frames"),
        (struct.pack(">I4sI4s", 8, b"ftyp", 3, b"moov"), "says it is 3 bytes"),
    ],
)
def test_the_reason_says_what_came_instead(tmp_path: Path, content: bytes, reason: str) -> None:
    wrong = tmp_path / "video.mp4"
    wrong.write_bytes(content)

    with pytest.raises(NotWholeMp4, match=reason):
        check(wrong)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NotWholeMp4, match="no video"):
        check(make_sound(tmp_path / "sound.mp4"))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "nothing.mp4")


def _reason_to_refuse(path: Path, content: bytes) -> str | None:
    path.write_bytes(content)
    try:
        check(path)
    except NotWholeMp4 as error:
        return error.reason
    return None


@settings(deadline=None)
@given(content=st.binary(max_size=100), begin=st.booleans())
def test_no_bytes_break_the_check(scratch: Path, content: bytes, begin: bool) -> None:
    beginning = struct.pack(">I4s", 8, b"ftyp") if begin else b""

    reason = _reason_to_refuse(scratch, beginning + content)

    assert reason is not None
    assert reason.endswith(".")


@settings(deadline=None, max_examples=settings.default.max_examples * 3 // 2)
@given(data=st.data())
def test_no_damage_to_the_index_breaks_the_check(
    clip: Path, scratch: Path, data: st.DataObject
) -> None:
    content = bytearray(clip.read_bytes())
    index = content.index(b"moov")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(index - 4, len(content) - 4))
        patch = data.draw(st.binary(min_size=1, max_size=4))
        content[at : at + len(patch)] = patch

    reason = _reason_to_refuse(scratch, bytes(content))

    assert reason is None or reason.endswith(".")
