"""A frame is the one that is on the screen at that moment, not one nearby."""

import io
from fractions import Fraction
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import pytest
from av.video.frame import PictureType
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.made_clips import make_clip, make_sound

from kling_mcp.inputs.mp4 import check
from kling_mcp.outputs import NotWholeMp4
from kling_mcp.outputs.frames import (
    NoSuchMoment,
    contact_sheet_jpeg,
    moment_of,
    png_bytes,
    read_frame,
)

FPS = 24
B_FRAMES = {"preset": "medium", "bf": "3", "g": "12", "x264-params": "b-adapt=0:scenecut=0"}
OPEN_GOPS = {**B_FRAMES, "x264-params": "b-adapt=0:scenecut=0:open-gop=1"}


def moving_clip(path: Path, frames: int, options: dict[str, str]) -> Path:
    """A clip whose frames all differ, with a bar that moves."""
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = Image.new("RGB", (64, 48), (200, 180, 20))
            picture.paste((10, 40, 220), (number % 64, 0, number % 64 + 8, 48))
            container.mux(video.encode(av.VideoFrame.from_image(picture)))
        container.mux(video.encode())
    return path


@cache
def decoded(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and pixels of every frame, by PyAV alone."""
    with av.open(str(path)) as container:
        return [
            (frame.pts * frame.time_base, frame.to_image().tobytes())
            for frame in container.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def kinds_of_frames(path: Path) -> set[str]:
    with av.open(str(path)) as container:
        return {PictureType(frame.pict_type).name for frame in container.decode(video=0)}


@pytest.fixture(scope="module")
def clip():
    with TemporaryDirectory() as folder:
        yield moving_clip(Path(folder) / "clip.mp4", 61, B_FRAMES)


def test_the_clip_of_these_tests_has_frames_that_depend_on_later_ones(clip):
    assert kinds_of_frames(clip) == {"I", "P", "B"}


@pytest.mark.parametrize("frames", [1, 2, 25, 61])
@pytest.mark.parametrize("options", [B_FRAMES, OPEN_GOPS])
def test_first_and_last_are_the_first_and_last_decoded_frame(tmp_path, frames, options):
    path = moving_clip(tmp_path / "clip.mp4", frames, options)
    all_frames = decoded(path)

    assert len(all_frames) == frames
    assert read_frame(path, moment_of("first")).picture.tobytes() == all_frames[0][1]
    assert read_frame(path, moment_of("last")).picture.tobytes() == all_frames[-1][1]


@given(st.fractions(0, Fraction(61, FPS)))
def test_at_every_second_it_is_the_frame_that_began_last(clip, seconds):
    began = decoded(clip)[0][0]
    shown = [pixels for time, pixels in decoded(clip) if time - began <= seconds]

    assert read_frame(clip, seconds).picture.tobytes() == shown[-1]


@given(st.fractions(Fraction(61, FPS), 10_000).filter(lambda s: s > Fraction(61, FPS)))
@settings(max_examples=settings.default.max_examples // 5, deadline=None)
def test_behind_the_end_the_length_is_named(clip, seconds):
    with pytest.raises(NoSuchMoment, match=r"2\.542 s long"):
        read_frame(clip, seconds)


@given(st.decimals(0, 9_999_999, places=3, allow_nan=False, allow_infinity=False))
def test_seconds_are_read_exactly(number):
    assert moment_of(f" {number} ") == Fraction(number)


@pytest.mark.parametrize(
    "which", ["", "-1", "nan", "inf", "1e3", "middle", "2,5", "٣", "9" * 50, "1.", "0x10"]
)
def test_what_is_no_moment_is_refused(which):
    with pytest.raises(NoSuchMoment, match="give first, last or seconds"):
        moment_of(which)


def test_a_file_whose_last_frames_are_damaged_gives_none_of_them(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=24)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))

    with pytest.raises(NotWholeMp4):
        read_frame(path, moment_of("last"))


def test_a_file_without_video_is_refused(tmp_path):
    with pytest.raises(NotWholeMp4, match="No frame"):
        read_frame(make_sound(tmp_path / "sound.mp4"), moment_of("first"))


def test_the_png_holds_exactly_these_pixels_and_is_the_same_each_time(clip, tmp_path):
    data = png_bytes(read_frame(clip, moment_of("1.5")).picture)
    (tmp_path / "frame.png").write_bytes(data)

    with Image.open(tmp_path / "frame.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 48))
        assert image.tobytes() == decoded(clip)[36][1]
    assert png_bytes(read_frame(clip, moment_of("1.5")).picture) == data


PAUSES_MS = (1, 5, 33, 40, 200, 1500, 7, 40, 900, 33)


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}], ids=str)
@pytest.mark.parametrize("b_frames", [0, 3])
def test_frames_of_a_varying_rate_are_shown_at_their_own_times(
    b_frames: int, options: dict[str, str], tmp_path: Path
) -> None:
    times_ms = [0, *accumulate(PAUSES_MS)]
    path = tmp_path / "varying.mp4"
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=24, options={"bf": str(b_frames)})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times_ms):
            picture = Image.new("RGB", (64, 48), (number * 25,) * 3)
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    def number_at(which: str) -> int:
        grey = read_frame(path, moment_of(which)).picture.getpixel((32, 24))
        assert isinstance(grey, tuple)
        return round(grey[0] / 25)

    assert number_at("first") == 0
    assert number_at("last") == len(PAUSES_MS)
    for number, (begins_ms, ends_ms) in enumerate(pairwise(times_ms)):
        assert number_at(f"{(begins_ms + ends_ms) / 2000:.4f}") == number
    with Image.open(io.BytesIO(contact_sheet_jpeg(path))) as sheet:
        assert sheet.width > sheet.height


@pytest.mark.parametrize("at", [b"TITLETITLE", b"VideoHandler"])
def test_metadata_that_is_no_utf8_is_passed_over(at: bytes, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", title="TITLETITLE")
    written = path.read_bytes()
    assert at in written
    path.write_bytes(written.replace(at, "可灵视频生成".encode("gbk")[: len(at)]))

    assert check(path).width == 64
    assert read_frame(path, moment_of("last")).picture.size == (64, 48)
    assert contact_sheet_jpeg(path)


def test_a_video_of_an_unknown_codec_is_kept_and_has_no_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz1"))

    assert check(path).video_codec == "unknown"
    with pytest.raises(NotWholeMp4):
        read_frame(path, moment_of("last"))
    with pytest.raises(NotWholeMp4):
        contact_sheet_jpeg(path)
