"""Clips and music become one film: in order, to the frame, evenly loud, or not at all."""

from __future__ import annotations

import math
import struct
import wave
from array import array
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import anyio
import av
import pytest
from PIL import Image

from kling_mcp.inputs.decoding import Decoding, DecodingLimits
from kling_mcp.outputs.film_check import Shot, Sidecar, check, describe
from kling_mcp.outputs.film_plan import Clip, Film, Music, film_length, fps_for, size_for
from kling_mcp.outputs.film_tracks import pictures, read_clip, read_music, sounds
from kling_mcp.outputs.films import Joined, join, joined
from kling_mcp.outputs.frames import PIXEL_BYTES
from kling_tools.errors import KlingError, SaveFailed

RED, GREEN, BLUE = (250, 10, 10), (10, 240, 10), (10, 10, 250)
SIZE = (64, 64)
FPS = Fraction(8)
RATE_HZ = 48_000

Colour = tuple[int, ...]


PERIOD = 100


def tone(samples: int, loudness: float) -> bytes:
    """A tone of 320 to 480 Hz, by the rate at which it is played."""
    once = array("f", (loudness * math.sin(2 * math.pi * n / PERIOD) for n in range(PERIOD)))
    return (once * (samples // PERIOD + 1))[:samples].tobytes()


def shot(
    path: Path,
    colours: Sequence[Colour],
    *,
    fps: int = 8,
    size: tuple[int, int] = SIZE,
    loudness: float | None = None,
    rate_hz: int = RATE_HZ,
    layout: str = "stereo",
    times: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
) -> Path:
    """A clip with a frame of each colour, and with a tone on all of its channels."""
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream(codec, rate=fps, options={"preset": "ultrafast", "crf": "5"})
        video.width, video.height = size
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, fps)
        audio = None
        if loudness is not None:
            audio = container.add_stream("aac", rate=rate_hz, layout=layout)
        for number, colour in enumerate(colours):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, colour))
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and loudness is not None:
            sound = av.AudioFrame("fltp", layout, len(colours) * rate_hz // fps)
            sound.sample_rate, sound.pts = rate_hz, 0
            for plane in sound.planes:
                plane.update(tone(sound.samples, loudness))
            container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return path


def tune(path: Path, seconds: float, loudness: float = 0.3, rate_hz: int = 44_100) -> Path:
    """A sound file of one tone, of the kind that its name says."""
    with av.open(str(path), "w") as container:
        codec = {".wav": "pcm_s16le", ".flac": "flac"}.get(path.suffix, "aac")
        audio = container.add_stream(codec, rate=rate_hz, layout="mono")
        sound = av.AudioFrame("fltp", "mono", round(seconds * rate_hz))
        sound.sample_rate, sound.pts = rate_hz, 0
        sound.planes[0].update(tone(sound.samples, loudness))
        for frame in av.AudioResampler(audio.format, "mono", rate_hz).resample(sound):
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def film_of(*clips: Path, **how: object) -> Film:
    read = [read_clip(path, number) for number, path in enumerate(clips, start=1)]
    return Film(**{"clips": read, "size": SIZE, "fps": FPS, **how})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of another size, frame rate and sound each; the second one has none."""
    folder = tmp_path_factory.mktemp("clips")
    return [
        shot(folder / "red.mp4", [RED] * 8, loudness=0.5, rate_hz=44_100, layout="mono"),
        shot(folder / "green.mp4", [GREEN] * 12, fps=12, size=(96, 64)),
        shot(folder / "blue.mp4", [BLUE] * 24, fps=24, size=(64, 98), loudness=0.1, layout="5.1"),
    ]


def near(one: Colour, other: Colour) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(one, other, strict=True))


def centres(film: Path) -> list[Colour]:
    with av.open(str(film)) as container:
        shown = [frame.to_image() for frame in container.decode(video=0)]
    return [picture.getpixel((32, 32)) for picture in shown]


def heard(film: Path) -> array[float]:
    """The left samples of its sound."""
    with av.open(str(film)) as container:
        return left(container.decode(audio=0))


def left(frames: object) -> array[float]:
    samples = array("f")
    for frame in frames:  # type: ignore[attr-defined]
        samples.frombytes(bytes(frame.planes[0])[: 4 * frame.samples])
    return samples


def level(samples: Sequence[float], from_s: float, to_s: float) -> float:
    """The loudest sample in a stretch, after which the quietest 10 ms of it count."""
    block = RATE_HZ // 100
    blocks = range(round(from_s * RATE_HZ), round(to_s * RATE_HZ), block)
    return min(max(map(abs, samples[at : at + block])) for at in blocks)


def peak(samples: Sequence[float], from_s: float, to_s: float) -> float:
    return max(map(abs, samples[round(from_s * RATE_HZ) : round(to_s * RATE_HZ)]))


def test_a_film_has_its_clips_in_order_to_the_frame_and_its_own_file_proves_it(
    rgb: list[Path], tmp_path: Path
) -> None:
    film = film_of(*rgb)
    made = joined(film, tmp_path / "film.mp4")

    assert film.frames == 24
    shown = centres(made.path)
    for place, colour in enumerate((RED, GREEN, BLUE)):
        assert all(near(each, colour) for each in shown[8 * place : 8 * place + 8]), colour
    assert len(shown) == 24
    checked = check(film, made)
    assert checked.faults == ()
    assert (checked.frames, checked.steady, checked.sound_s) == (24, True, 3.0)
    assert [joint.frame for joint in checked.joints] == [0, 8, 16]
    assert (made.facts.width, made.facts.height, made.facts.fps) == (64, 64, 8.0)
    assert (made.facts.rate_hz, made.facts.channels) == (RATE_HZ, 2)
    head = made.path.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")


def test_what_is_black_or_still_in_a_film_is_told_by_its_shots_unless_they_ask_for_it(
    tmp_path: Path,
) -> None:
    grey = [(n, n, n) for n in range(40, 240, 8)]
    clips = [
        shot(tmp_path / "moving.mp4", grey[:16]),
        shot(tmp_path / "ends.mp4", [*grey[:12], *[(0, 0, 0)] * 4]),
        shot(tmp_path / "still.mp4", [RED] * 16),
    ]
    film = film_of(*clips)
    made = joined(film, tmp_path / "film.mp4")

    told = check(film, made)
    asked = check(film, made, ["A walk", "It fades to black", "A still life"])

    assert told.faults == ()
    assert told.unasked == (
        "It is black from 3.5 to 4 s, in shot 2.",
        "Nothing moves in it from 4 to 6 s, in shot 3.",
        "Where that was not meant, kling_film with take: 2 of the shot keeps the others.",
    )
    assert asked.unasked == ()


def test_each_clip_sounds_in_its_own_time_and_no_joint_is_a_gap(
    rgb: list[Path], tmp_path: Path
) -> None:
    one = rgb[0]
    film = film_of(one, one, *rgb[1:])
    plain, samples = left(sounds(film)), heard(joined(film, tmp_path / "film.mp4").path)

    assert level(samples, 0.02, 1.98) > 0.4 * peak(samples, 0, 2), "from the one to the other"
    assert peak(samples, 2.05, 2.95) < 0.001, "the clip without sound"
    assert level(samples, 3.02, 3.98) > 0.01
    gains = [peak(samples, *part) / peak(plain, *part) for part in ((0.4, 0.8), (3.4, 3.8))]
    assert gains[0] == pytest.approx(gains[1], rel=0.1), "one gain for the whole film"


def test_crossfades_take_their_frames_off_once_and_mix_picture_and_sound(
    rgb: list[Path], tmp_path: Path
) -> None:
    film = film_of(*rgb, crossfade_s=0.5)
    made = joined(film, tmp_path / "film.mp4")

    assert film.frames == 24 - 2 * 4
    shown = centres(made.path)
    assert len(shown) == 16
    assert near(shown[3], RED)
    assert near(shown[6], tuple((a + b) // 2 for a, b in zip(RED, GREEN, strict=True)))
    assert near(shown[8], GREEN)
    assert near(shown[15], BLUE)
    checked = check(film, made)
    assert checked.faults == ()
    assert [joint.at_s for joint in checked.joints] == [0.0, 0.5, 1.0]
    samples = heard(made.path)
    assert peak(samples, 0.9, 0.98) < 0.4 * peak(samples, 0.2, 0.4), "it fades with the picture"


@pytest.mark.parametrize(
    ("lengths_s", "crossfade_s", "fps", "frames"),
    [
        ([5.041, 10.041], 0, 24, 121 + 241),
        ([5.041, 5.041, 5.041], 1, 24, 3 * 121 - 2 * 24),
        ([Fraction(1, 3)] * 3, 0, 24, 24),
        ([5] * 12, 0.5, Fraction(30_000, 1001), 12 * 150 - 11 * 15),
        ([0.001], 3, 24, 1),
    ],
)
def test_the_length_of_a_film_is_known_before_anything_is_made(
    lengths_s: list[float], crossfade_s: float, fps: float, frames: int
) -> None:
    assert film_length(lengths_s, crossfade_s, Fraction(fps)) == frames


@pytest.mark.parametrize(
    ("lengths_s", "crossfade_s", "fps", "says"),
    [
        ([], 0, 24, "A film of 0 clips cannot be joined. This call cost nothing. Give 1 to 40"),
        ([5.0] * 41, 0, 24, "A film of 41 clips cannot be joined."),
        ([5.0, 1.0], 0.6, 24, "longer than half of clip 2, which is 1 s long."),
        ([5.0, 1.0], 0.6, 24, "Give at most 0.5 s, or 0 to cut."),
        ([5.0, 5.0], -1, 24, "A crossfade of -1 s"),
        ([5.0], 0, 500, "500 frames per second"),
    ],
)
def test_a_film_that_cannot_be_is_refused_with_what_can(
    lengths_s: list[float], crossfade_s: float, fps: int, says: str
) -> None:
    with pytest.raises(KlingError) as refused:
        film_length(lengths_s, crossfade_s, Fraction(fps))

    assert says in str(refused.value)


def test_the_longest_crossfade_that_an_error_names_is_taken() -> None:
    assert film_length([5.0, 1.0], 0.5, Fraction(24)) == 120 + 24 - 12


@pytest.mark.parametrize("crossfade_s", [0, 0.125])
def test_of_forty_clips_only_two_are_open_at_once(tmp_path: Path, crossfade_s: float) -> None:
    clip = read_clip(shot(tmp_path / "clip.mp4", [RED, BLUE], loudness=0.2))
    film = Film(clips=[clip] * 40, size=SIZE, fps=FPS, crossfade_s=crossfade_s)
    two = 2 * SIZE[0] * SIZE[1] * PIXEL_BYTES
    tight = Decoding(DecodingLimits(decoded_bytes=two, wait_s=0))

    assert sum(1 for _ in pictures(film, tight)) == film.frames == 80 - 39 * round(8 * crossfade_s)
    assert sum(frame.samples for frame in sounds(film)) == film.frames * RATE_HZ // 8


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(30_000, 1001), Fraction(25), Fraction(5)])
def test_any_frame_rate_and_crossfade_gives_exactly_the_planned_frames_and_samples(
    rgb: list[Path], fps: Fraction
) -> None:
    film = film_of(*rgb, fps=fps, crossfade_s=0.4)

    shown = [frame.pts for frame in pictures(film)]
    assert shown == [*range(film_length([1, 1, 1], 0.4, fps))]
    assert sum(frame.samples for frame in sounds(film)) == film.sample(film.frames)


def test_a_clip_of_changing_frame_rate_shows_each_picture_at_its_time(tmp_path: Path) -> None:
    times = [0, 12, 15, 30, 31, 36]
    path = shot(tmp_path / "clip.mp4", [RED, GREEN, BLUE, RED, RED, RED], fps=24, times=times)

    shown = [frame.to_image().getpixel((32, 32)) for frame in pictures(film_of(path))]
    wished = [*[RED] * 4, GREEN, *[BLUE] * 5, RED, RED]
    assert len(shown) == len(wished)
    assert all(map(near, shown, wished))


def turned(path: Path) -> Path:
    """The same file, which says that it is shown a quarter turned clockwise."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def test_a_turned_clip_is_upright_and_other_shapes_are_cut_or_get_bars(tmp_path: Path) -> None:
    wide = Image.new("RGB", (96, 64), RED)
    wide.paste(BLUE, (0, 0, 48, 64))
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=8)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_image(wide)))
        container.mux(video.encode())
    tall = read_clip(turned(path))
    assert (tall.width, tall.height) == (64, 96)

    def first(size: tuple[int, int], **how: object) -> Image.Image:
        return next(pictures(film_of(path, size=size, **how))).to_image()

    upright = first((64, 96))
    assert near(upright.getpixel((32, 20)), BLUE)
    assert near(upright.getpixel((32, 76)), RED)
    nearly = first((64, 98), fit="pad")
    assert near(nearly.getpixel((1, 2)), BLUE), "a rounded side makes no bars"
    cut, barred = first((128, 96)), first((128, 96), fit="pad")
    assert near(cut.getpixel((2, 20)), BLUE)
    assert near(barred.getpixel((2, 20)), (0, 0, 0))
    assert near(barred.getpixel((64, 20)), BLUE)


def test_odd_sizes_are_fitted_and_a_size_follows_from_a_shape(tmp_path: Path) -> None:
    odd = shot(tmp_path / "odd.mp4", [RED], size=(75, 101), pix_fmt="yuv444p")
    clip = read_clip(odd)

    assert size_for("", [clip]) == (74, 100)
    assert size_for("16:9", [clip]) == (132, 74)
    assert size_for("9:16", [clip]) == (74, 132)
    assert near(next(pictures(film_of(odd))).to_image().getpixel((1, 1)), RED)
    for ratio in ("wide", "16:0", "1:9"):
        with pytest.raises(KlingError):
            size_for(ratio, [clip])
    with pytest.raises(KlingError, match="75x101"):
        film_of(odd, size=(75, 101))


@pytest.mark.parametrize("loudness", [0.01, 0.9])
def test_a_film_is_as_loud_as_broadcasters_ask_by_one_gain(tmp_path: Path, loudness: float) -> None:
    film = film_of(shot(tmp_path / "a.mp4", [RED] * 8, loudness=loudness))
    checked = check(film, made := joined(film, tmp_path / "film.mp4"))

    assert checked.loudness is not None
    assert made.aims_lufs is not None
    assert abs(checked.loudness.lufs - made.aims_lufs) < 0.5
    assert checked.loudness.peak_dbtp < -1.0
    assert checked.faults == ()
    assert made.aims_lufs == pytest.approx(-16.0, abs=0.01 if loudness > 0.1 else 3)


def test_peaks_that_one_gain_would_clip_are_held_and_the_film_keeps_its_length(
    tmp_path: Path,
) -> None:
    path = tmp_path / "clicks.wav"
    beat = array("h", [20_000, -20_000] * 8 + [300, -300] * 3_992)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes((beat * 4).tobytes())
    film = film_of(shot(tmp_path / "a.mp4", [RED] * 32), music=read_music(path))
    checked = check(film, joined(film, tmp_path / "film.mp4"))

    assert film.seconds == 4
    assert checked.sound_s == 4
    assert checked.loudness is not None
    assert checked.loudness.peak_dbtp < 0
    assert -24 < checked.loudness.lufs < -15


def test_silence_stays_silent_and_a_film_without_any_sound_has_no_track(
    rgb: list[Path], tmp_path: Path
) -> None:
    hushed = film_of(shot(tmp_path / "a.mp4", [RED] * 8, loudness=0.0))
    made = joined(hushed, tmp_path / "hushed.mp4")
    assert made.facts.has_audio
    assert made.aims_lufs is None
    assert check(hushed, made).faults == ()
    mute = joined(film_of(rgb[1]), tmp_path / "mute.mp4")
    assert not mute.facts.has_audio
    assert check(film_of(rgb[1]), mute).faults == ()


@pytest.mark.parametrize(
    ("seconds", "loops", "ends_s"), [(0.4, False, 0.4), (0.4, True, 1.0), (9.0, False, 1.0)]
)
def test_music_is_looped_ended_or_cut_and_fades(
    rgb: list[Path], tmp_path: Path, seconds: float, loops: bool, ends_s: float
) -> None:
    music = read_music(
        tune(tmp_path / "tune.wav", seconds), loops=loops, fade_in_s=0.1, fade_out_s=0.2
    )
    film = film_of(rgb[1], music=music)
    samples = left(sounds(film))

    assert len(samples) == RATE_HZ
    assert float(film.music_s) == pytest.approx(ends_s)
    assert level(samples, 0.12, ends_s - 0.22) > 0.15
    assert peak(samples, 0, 0.01) < 0.05
    assert peak(samples, ends_s - 0.02, ends_s) < 0.05
    if ends_s < 1:
        assert peak(samples, ends_s, 1.0) == 0


def test_music_lies_under_the_sound_of_the_clips_as_loud_as_it_is_wished(
    rgb: list[Path], tmp_path: Path
) -> None:
    path = tune(tmp_path / "tune.flac", 2)
    alone, under = (
        left(sounds(film_of(rgb[2], music=read_music(path, volume=volume))))
        for volume in (0.0, 0.5)
    )
    green = left(sounds(film_of(rgb[1], music=read_music(path, volume=0.5))))

    mixed = max(
        abs(a + b - c)
        for a, b, c in zip(alone[9000:20000], green[9000:20000], under[9000:20000], strict=True)
    )
    assert mixed < 1e-4
    assert peak(green, 0.3, 0.6) == pytest.approx(0.15 * math.sqrt(0.5), rel=0.5)


@pytest.mark.parametrize("suffix", ["wav", "m4a", "mp4", "flac", "aac"])
def test_each_kind_of_sound_file_is_music(tmp_path: Path, suffix: str) -> None:
    music = read_music(tune(tmp_path / f"tune.{suffix}", 1, rate_hz=32_000))

    assert float(music.seconds) == pytest.approx(1.0, abs=0.1)


def bad(folder: Path, what: str) -> Path:
    path = folder / f"{what.replace(' ', '-')}.mp4"
    if what == "text":
        path.write_text("A recipe for soup")
    elif what == "cut off":
        whole = shot(path, [RED, GREEN] * 40).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif what == "a sound":
        tune(path, 1)
    elif what == "a playlist":
        path.write_text("#EXTM3U\n/etc/hostname\n")
    elif what == "damaged":
        data = bytearray(shot(path, [RED, GREEN] * 4).read_bytes())
        at = data.index(b"mdat")
        size = int.from_bytes(data[at - 4 : at], "big") - 8
        data[at + 4 : at + 4 + size] = bytes(size)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("what", ["text", "cut off", "a sound", "a playlist", "damaged", "nothing"])
def test_a_clip_that_cannot_be_joined_is_named_with_what_to_do(tmp_path: Path, what: str) -> None:
    path = bad(tmp_path, what)
    with pytest.raises(KlingError) as refused:
        read_clip(path, 3)

    assert str(refused.value).startswith(f"Clip 3 ({path.name}) cannot be joined. ")
    assert "Save this clip again" in refused.value.advice
    assert "/" not in str(refused.value)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("text", "is a text file"),
        ("a playlist", "is a text file"),
        ("cut off", "cannot be read. The file is cut short"),
        ("no sound", "is a video without sound"),
        ("nothing", "cannot be read: No such file"),
    ],
)
def test_what_is_no_music_is_refused_with_what_is(tmp_path: Path, what: str, says: str) -> None:
    path = bad(tmp_path, what)
    if what == "no sound":
        shot(path, [RED] * 2)
    with pytest.raises(KlingError) as refused:
        read_music(path)

    assert says in str(refused.value)
    assert "Give a sound file" in refused.value.advice


def test_fades_that_are_longer_than_the_music_are_refused(rgb: list[Path]) -> None:
    music = Music(path=rgb[0], seconds=Fraction(1, 2), fade_in_s=0.3, fade_out_s=0.3)
    with pytest.raises(KlingError, match=r"plays for 0\.5 s; its fades take 0\.6 s"):
        film_of(rgb[0], music=music)


def test_a_clip_that_breaks_while_it_is_joined_leaves_no_file(
    rgb: list[Path], tmp_path: Path
) -> None:
    gone = shot(tmp_path / "gone.mp4", [RED] * 8)
    film = film_of(rgb[0], gone)
    gone.unlink()
    with pytest.raises(KlingError, match=r"Clip 2 \(gone\.mp4\) cannot be joined\."):
        joined(film, tmp_path / "out" / "film.mp4")

    assert [*(tmp_path / "out").iterdir()] == []


def test_a_full_disk_leaves_no_file_and_says_that_nothing_is_lost(
    rgb: list[Path], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limits[1]))
    try:
        with pytest.raises(SaveFailed) as refused:
            joined(film_of(*rgb), tmp_path / "out" / "film.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "The clips are kept and are not paid again;" in refused.value.advice
    assert [*(tmp_path / "out").iterdir()] == []


@pytest.mark.anyio
async def test_a_join_tells_how_far_it_is_and_a_cancelled_one_leaves_no_file(
    rgb: list[Path], tmp_path: Path
) -> None:
    told: list[float] = []

    async def listen(share: float) -> None:
        told.append(share)

    made = await join(film_of(*rgb), tmp_path / "out" / "film.mp4", progress=listen)
    assert told == sorted(told)
    assert told[-1] == 1.0
    made.path.unlink()

    with anyio.CancelScope() as scope:

        async def enough(share: float) -> None:
            if share > 0.5:
                scope.cancel()

        await join(film_of(*rgb), tmp_path / "out" / "film.mp4", progress=enough)
    assert scope.cancelled_caught
    assert [*(tmp_path / "out").iterdir()] == []


def test_the_same_clips_make_the_same_file_and_no_other_file_is_overwritten(
    rgb: list[Path], tmp_path: Path
) -> None:
    target = tmp_path / "film.mp4"
    first, again = joined(film_of(*rgb), target), joined(film_of(*rgb), target)
    other = joined(film_of(*rgb[::-1]), target)

    assert (again.path, again.sha256, again.already_there) == (target, first.sha256, True)
    assert (other.path.name, other.already_there) == ("film-2.mp4", False)


def test_a_film_that_is_not_as_planned_is_found_out(rgb: list[Path], tmp_path: Path) -> None:
    made = joined(film_of(*rgb), tmp_path / "film.mp4")

    assert check(film_of(*rgb[::-1]), made).faults == (
        "At 0 s it does not show the beginning of clip 1.",
        "At 2 s it does not show the beginning of clip 3.",
    )
    assert "It has 24 frames; the plan has 32." in check(film_of(*rgb, rgb[0]), made).faults
    shorter = film_of(*rgb, size=(96, 64), crossfade_s=0.25)
    assert {
        "It has 24 frames; the plan has 20.",
        "It is 64x64; 96x64 was wished.",
        "Its sound is 3.000 s long; the film is 2.500 s.",
    } <= {*check(shorter, made).faults}


SHOTS = [
    Shot(task_id=f"task-{n}", prompt="Waves", model_name="kling-v3", units=2.5) for n in range(3)
]


def test_the_frame_rate_of_a_film_is_that_of_most_clips(rgb: list[Path]) -> None:
    clips = [read_clip(path) for path in rgb]

    assert fps_for(clips) == 8
    assert fps_for([*clips, clips[2]]) == 24


def described(rgb: list[Path], folder: Path) -> tuple[Path, Sidecar, Joined]:
    film = film_of(*rgb, music=read_music(tune(folder / "tune.wav", 1), volume=0.2))
    made = joined(film, folder / "film.mp4")
    return *describe("Sea", film, made, check(film, made), SHOTS), made


def test_a_sidecar_says_what_a_film_was_made_of_and_is_read_again(
    rgb: list[Path], tmp_path: Path
) -> None:
    path, sidecar, made = described(rgb, tmp_path)

    assert path == tmp_path / "film.json"
    assert Sidecar.model_validate_json(path.read_bytes()) == sidecar
    told = sidecar.model_dump()
    shots, music = told.pop("shots"), told.pop("music")
    assert told.pop("lufs") == pytest.approx(-16, abs=0.5)
    assert told.pop("peak_dbtp") < -1
    assert told == {
        "kind": "kling-mcp film",
        "schema_version": 1,
        "name": "Sea",
        "file": "film.mp4",
        "sha256": made.sha256,
        "bytes": made.path.stat().st_size,
        "width": 64,
        "height": 64,
        "fps": 8.0,
        "frames": 24,
        "seconds": 3.0,
        "fit": "cover",
        "crossfade_s": 0.0,
        "units": 7.5,
        "sandbox": False,
    }
    assert music.keys() == {"file", "sha256", "volume", "fade_in_s", "fade_out_s", "loops"}
    assert [shot["sha256"][:2] != "" and shot["begins_frame"] for shot in shots] == [0, 8, 16]
    assert shots[1] | {"sha256": ""} == {
        **SHOTS[1].model_dump(),
        "number": 2,
        "file": "green.mp4",
        "sha256": "",
        "begins_frame": 8,
        "frames": 8,
    }


def test_a_new_sidecar_replaces_an_old_one_and_no_other_file(tmp_path: Path) -> None:
    film = film_of(shot(tmp_path / "clip.mp4", [RED]))
    checked = check(film, made := joined(film, tmp_path / "film.mp4"))

    def written(name: str) -> Path:
        return describe(name, film, made, checked, SHOTS[:1])[0]

    path = tmp_path / "film.json"
    assert (written("one"), written("two")) == (path, path)
    assert Sidecar.model_validate_json(path.read_bytes()).name == "two"
    path.write_text('{"mine": true}')
    assert written("three") == tmp_path / "film-2.json"
    assert path.read_text() == '{"mine": true}'
    assert {file.suffix for file in tmp_path.iterdir()} == {".mp4", ".json"}


def test_a_clip_says_what_it_holds(rgb: list[Path]) -> None:
    clip: Clip = read_clip(rgb[1], 2)

    assert (clip.number, clip.seconds, clip.fps, clip.sound) == (2, 1, 12, False)
    assert (clip.width, clip.height) == (96, 64)
