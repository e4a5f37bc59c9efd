"""The films that the sandbox makes: what a decoder finds in them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat
from tests.sampling import sampled

from kling_sandbox.answers.documents import seconds_text
from kling_sandbox.film.camera import (
    HOME,
    Move,
    Pose,
    box_of,
    homography_of,
    named_move,
    simple_move,
)
from kling_sandbox.film.canvas import Mark, Still, even_size
from kling_sandbox.film.encoding import frame_count, tone_of, voice_factor
from kling_sandbox.film.scenery import Scenery
from kling_sandbox.film.script import Script

SIDE = 144
SIZES = st.tuples(st.integers(300, 4000), st.integers(300, 4000))


def photo(path: Path, size: tuple[int, int], colour: str, dot: tuple[float, float]) -> Path:
    """A soft grey-coloured picture with one red dot at that part of its width and height."""
    image = Image.new("RGB", size, colour)
    x, y = dot[0] * size[0], dot[1] * size[1]
    reach = min(size) / 16
    ImageDraw.Draw(image).ellipse((x - reach, y - reach, x + reach, y + reach), fill="red")
    image.save(path)
    return path


def frames_of(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]


def red_dot(frame: Image.Image) -> tuple[float, float]:
    """Where the red dot is, as parts of width and height from the upper left corner."""
    red, green, blue = frame.filter(ImageFilter.BoxBlur(2)).split()
    mask = ImageChops.subtract(red, ImageChops.lighter(green, blue))
    left, upper, right, lower = mask.point(lambda v: 255 * (v > 90)).getbbox() or (0, 0, 0, 0)
    return (left + right) / 2 / frame.width, (upper + lower) / 2 / frame.height


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two frames in levels of 255, the mark left out."""
    other = other.convert("RGB").resize(one.size)
    left, upper, right, lower = Mark(one.size).box
    both = ImageChops.difference(one, other)
    both.paste((0, 0, 0), (left, upper, right, lower))
    return sum(ImageStat.Stat(both).mean) / 3


@pytest.fixture(scope="module")
def dotted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo(tmp_path_factory.mktemp("photos") / "a.png", (400, 300), "#8899aa", (0.4, 0.35))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo(tmp_path_factory.mktemp("photos") / "b.jpg", (400, 300), "#336633", (0.7, 0.6))


@given(size=SIZES, x=st.floats(-1, 1), y=st.floats(-1, 1), zoom=st.floats(0.6, 2))
def test_a_level_camera_sees_the_same_by_box_and_by_matrix(
    size: tuple[int, int], x: float, y: float, zoom: float
) -> None:
    pose = Pose(x=x, y=y, zoom=zoom)
    matrix = homography_of(pose, size)
    left, upper, right, lower = box_of(pose, size)
    for px, py, to_x, to_y in ((0, 0, left, upper), (size[0], size[1], right, lower)):
        seen = [row[0] * px + row[1] * py + row[2] for row in matrix]
        assert seen[0] / seen[2] == pytest.approx(to_x, abs=1e-6)
        assert seen[1] / seen[2] == pytest.approx(to_y, abs=1e-6)
    if pose == HOME:
        assert box_of(pose, size) == (0, 0, *size)


@given(short=st.sampled_from([720, 1080, 2160]), ratio=st.floats(0.4, 2.5))
def test_a_frame_has_even_sides_and_the_asked_shape(short: int, ratio: float) -> None:
    width, height = even_size(short, ratio)
    assert min(width, height) == short
    assert width % 2 == height % 2 == 0
    assert width / height == pytest.approx(ratio, rel=2 / short)


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("seconds", sampled([3, 7], 2))
def test_a_film_is_h264_as_long_as_reported(
    tmp_path: Path, dotted: Path, seconds: int, sound: bool
) -> None:
    path = tmp_path / "clip.mp4"
    Script(seconds, SIDE, (Still(dotted),), sound=sound).film(path)
    with av.open(str(path)) as container:
        (video,) = container.streams.video
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == (192, SIDE)
        assert video.average_rate == 24
        assert video.frames == frame_count(seconds)
        assert container.duration is not None
        assert str(container.duration // 1000 / 1000) == seconds_text(frame_count(seconds))
        tones = list(container.streams.audio)
        assert [tone.codec_context.name for tone in tones] == ["aac"] * sound
        for tone in tones:
            assert tone.duration is not None
            assert tone.time_base is not None
            assert float(tone.duration * tone.time_base) == pytest.approx(seconds, abs=0.05)
    raw = path.read_bytes()
    assert 0 < raw.find(b"moov") < raw.find(b"mdat")
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.campaign
def test_a_large_film_is_drawn_small_and_has_all_its_px(tmp_path: Path, dotted: Path) -> None:
    path, small = tmp_path / "clip.mp4", tmp_path / "small.mp4"
    Script(1, 2160, (Still(dotted),), ratio=16 / 9).film(path)
    Script(1, 1080, (Still(dotted),), ratio=16 / 9).film(small)
    frames = frames_of(path)

    assert len(frames) == frame_count(1)
    assert {frame.size for frame in frames} == {(3840, 2160)}
    assert difference(frames[-1].resize((1920, 1080)), frames_of(small)[-1]) < 2


def test_two_frames_show_one_view_of_a_moving_picture(tmp_path: Path, dotted: Path) -> None:
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(dotted),), move=Move(Pose(x=-0.3), Pose(x=0.3))).film(path)
    jumps = [difference(a, b) for a, b in pairwise(frames_of(path)[24:48])]

    assert max(jumps[::2]) < 0.5 * min(jumps[1::2])


def test_the_tone_is_soft_and_heard(tmp_path: Path, dotted: Path) -> None:
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(dotted),), sound=True).film(path)
    with av.open(str(path)) as container:
        peaks = [
            max(abs(sample) for sample in memoryview(frame.planes[0]).cast("f"))
            for frame in container.decode(audio=0)
        ]
    assert 0.05 < max(peaks) < 0.5
    assert peaks[0] < 0.05 > peaks[-1]


def test_a_film_begins_with_the_picture_and_pushes_in_gently(tmp_path: Path, dotted: Path) -> None:
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(dotted),)).film(path)
    frames = frames_of(path)
    assert difference(frames[0], Image.open(dotted)) < 3
    first, last = red_dot(frames[0]), red_dot(frames[-1])
    assert first == pytest.approx((0.4, 0.35), abs=0.02)
    assert last == pytest.approx((0.5 - 0.1 * 1.12, 0.5 - 0.15 * 1.12), abs=0.02)


def test_a_film_ends_on_the_end_frame(tmp_path: Path, dotted: Path, other: Path) -> None:
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(dotted),), tail=Still(other)).film(path)
    frames = frames_of(path)
    assert len(frames) == frame_count(3)
    assert difference(frames[0], Image.open(dotted)) < 3
    assert difference(frames[-1], Image.open(other)) < 3
    jumps = [difference(a, b) for a, b in pairwise(frames)]
    assert max(jumps) < 12


def test_an_end_frame_alone_makes_a_film(tmp_path: Path, other: Path) -> None:
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (), tail=Still(other)).film(path)
    frames = frames_of(path)
    assert len(frames) == frame_count(3)
    assert difference(frames[-1], Image.open(other)) < 3


LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)


@pytest.mark.parametrize(
    ("move", "goes"),
    sampled(
        [
            (simple_move("horizontal", 8), LEFT),
            (simple_move("horizontal", -8), RIGHT),
            (simple_move("vertical", 8), DOWN),
            (simple_move("vertical", -8), UP),
            (simple_move("pan", 8), LEFT),
            (simple_move("pan", -8), RIGHT),
            (simple_move("tilt", 8), DOWN),
            (simple_move("tilt", -8), UP),
            (named_move("right_turn_forward"), LEFT),
            (named_move("left_turn_forward"), RIGHT),
            (named_move("forward_up"), DOWN),
            (named_move("down_back"), UP),
        ],
        5,
    ),
)
def test_the_picture_goes_against_the_camera(
    tmp_path: Path, move: Move, goes: tuple[int, int]
) -> None:
    source = photo(tmp_path / "middle.png", (400, 300), "#8899aa", (0.5, 0.5))
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(source),), move=move).film(path)
    frames = frames_of(path)
    assert difference(frames[0], Image.open(source)) < 3
    (x, y), (to_x, to_y) = red_dot(frames[0]), red_dot(frames[-1])
    along = (to_x - x) * goes[0] + (to_y - y) * goes[1]
    assert along > 0.07
    assert abs((to_x - x) * goes[1]) + abs((to_y - y) * goes[0]) < 0.02


def test_a_roll_clockwise_turns_the_picture_the_other_way(tmp_path: Path) -> None:
    source = photo(tmp_path / "right.png", (400, 400), "#8899aa", (0.8, 0.5))
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(source),), move=simple_move("roll", 10)).film(path)
    assert red_dot(frames_of(path)[-1]) == pytest.approx((0.79, 0.42), abs=0.02)


@pytest.mark.parametrize(("value", "factor"), [(6, 0.95**6), (-6, 0.95**-6)])
def test_a_positive_zoom_sees_more(tmp_path: Path, value: int, factor: float) -> None:
    source = photo(tmp_path / "right.png", (400, 400), "#8899aa", (0.7, 0.5))
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(source),), move=simple_move("zoom", value)).film(path)
    assert red_dot(frames_of(path)[-1])[0] == pytest.approx(0.5 + 0.2 * factor, abs=0.02)


def test_shots_are_cut_where_they_were_asked(tmp_path: Path, dotted: Path) -> None:
    path = tmp_path / "clip.mp4"
    Script(7, SIDE, (Still(dotted),), shots=(1, 2, 3, 1)).film(path)
    frames = frames_of(path)
    assert len(frames) == frame_count(7)
    jumps = [difference(a, b) for a, b in pairwise(frames)]
    cuts = sorted(range(len(jumps)), key=jumps.__getitem__)[-3:]
    assert sorted(cut + 1 for cut in cuts) == [24, 72, 144]


def test_several_pictures_follow_each_other_in_the_asked_shape(
    tmp_path: Path, dotted: Path, other: Path
) -> None:
    path = tmp_path / "clip.mp4"
    tall = photo(tmp_path / "tall.png", (300, 600), "#775533", (0.5, 0.5))
    Script(5, SIDE, (Still(dotted), Still(other), Still(tall)), ratio=9 / 16).film(path)
    frames = frames_of(path)
    assert frames[0].size == (144, 256)
    assert len(frames) == frame_count(5)
    seen = [frame.getpixel((5, 5)) for frame in (frames[10], frames[60], frames[110])]
    wanted = [(0x88, 0x99, 0xAA), (0x33, 0x66, 0x33), (0x77, 0x55, 0x33)]
    for colour, expected in zip(seen, wanted, strict=True):
        assert colour == pytest.approx(expected, abs=6)


def test_every_frame_is_marked_and_keeps_its_colours(tmp_path: Path) -> None:
    source = tmp_path / "plain.png"
    Image.new("RGB", (512, 512), "#d06030").save(source)
    path = tmp_path / "clip.mp4"
    Script(3, 288, (Still(source),)).film(path)
    for frame in frames_of(path)[::12]:
        assert frame.getpixel((10, 10)) == pytest.approx((0xD0, 0x60, 0x30), abs=5)
        levels = frame.crop(Mark(frame.size).box).convert("L").histogram()
        assert sum(levels[180:]) > 50
        assert sum(levels[:100]) > 50


def test_a_width_that_fits_no_memory_line_is_drawn_straight(tmp_path: Path) -> None:
    source = photo(tmp_path / "odd.png", (310, 300), "#8899aa", (0.3, 0.3))
    path = tmp_path / "clip.mp4"
    Script(3, SIDE, (Still(source),)).film(path)
    first = frames_of(path)[0]
    assert first.size == (148, 144)
    assert difference(first, Image.open(source)) < 3


def test_a_transparent_picture_stands_on_white_and_a_turned_one_upright(tmp_path: Path) -> None:
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (300, 300), (255, 0, 0, 0)).save(clear)
    assert Still(clear).load(300).getpixel((5, 5)) == (255, 255, 255)
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 300), "gray").save(turned, exif=exif)
    assert Still(turned).load(300).size == (300, 400)


def test_what_is_not_here_or_broken_becomes_a_card_of_words(tmp_path: Path) -> None:
    one = Still(caption="Here stands", words="https://example.com/cat.png").load(720)
    longest = Still(caption="Here stands", words="https://example.com/" + "x" * 5000).load(720)
    broken = tmp_path / "broken.png"
    Image.effect_noise((300, 300), 50).save(broken)
    broken.write_bytes(broken.read_bytes()[:4000] + b"IEND")
    for card in (one, longest, Still(broken).load(720)):
        assert card.size == (1280, 720)
        assert sum(card.convert("L").histogram()[200:]) > 500
    assert one != longest


def test_a_film_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a picture"):
        Script(3, SIDE, ()).film(tmp_path / "clip.mp4")


@pytest.mark.filterwarnings("default:(Corrupt EXIF|Truncated File)")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\xff\xff\xff\xff\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\0\0\0\0\0\0\0\0",
        b"Exif\0\0" + b"\xff" * 40,
    ],
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_with_odd_exif_is_shown_as_it_is_stored(
    exif: bytes, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"odd.{suffix}"
    Image.new("RGB", (400, 300), "red").save(path, exif=exif)

    still = Still(path).load(300)

    assert still.size == (400, 300)
    shown = still.getpixel((5, 5))
    assert isinstance(shown, tuple)
    assert shown[0] > 240


def test_voices_are_heard_apart_and_each_joins_to_itself() -> None:
    factors = {voice_factor(str(number)) for number in range(40)}
    assert len(factors) > 3
    for factor in factors:
        tone = tone_of(factor)
        assert tone != tone_of()
        step = max(abs(one - other) for one, other in pairwise(tone))
        assert abs(tone[0] - tone[-1]) <= step


@pytest.mark.parametrize("ratio", [16 / 9, 9 / 16, 1.0])
def test_words_alone_become_a_landscape_that_moves(tmp_path: Path, ratio: float) -> None:
    film = tmp_path / "film.mp4"
    Script(3, SIDE, (), ratio=ratio, words=("A lighthouse in a storm",)).film(film)
    frames = frames_of(film)

    assert frames[0].size == even_size(SIDE, ratio)
    assert len(frames) == frame_count(3)
    assert all(difference(one, other) > 0.5 for one, other in pairwise(frames[::24]))
    plain = Scenery("", frames[0].size).view(0.0)
    assert difference(Scenery("Rain", plain.size).view(0.0), plain) > 1


def test_each_shot_of_words_has_its_own_landscape(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    words = ("A neon city at night", "A forest in the snow")
    Script(4, SIDE, (), ratio=1.0, shots=(1, 3), words=words).film(film)
    frames = frames_of(film)

    steps = [difference(one, other) for one, other in pairwise(frames)]
    assert steps.index(max(steps)) == 23
    assert max(steps) > 10 * sorted(steps)[-2]


@given(st.text(max_size=400), SIZES)
@settings(max_examples=10, deadline=None)
def test_any_words_in_any_size_can_be_drawn(words: str, size: tuple[int, int]) -> None:
    size = (size[0] // 4, size[1] // 4)
    first, last = (Scenery(words, size).view(part) for part in (0.0, 1.0))

    assert first.size == last.size == size
    assert first.tobytes() == Scenery(words, size).view(0.0).tobytes()
