"""A contact sheet shows the whole video, from its first frame to its last."""

from pathlib import Path

import pytest
from PIL import Image
from tests.made_clips import make_clip, make_sound

from kling_mcp.outputs.frames import make_contact_sheet


def brightness(sheet: Image.Image, columns: int, rows: int) -> list[int]:
    """The grey in the middle of each tile, row by row."""
    width, height = sheet.width / columns, sheet.height / rows
    middles = [
        sheet.getpixel((int((column + 0.5) * width), int((row + 0.5) * height)))
        for row in range(rows)
        for column in range(columns)
    ]
    return [middle[0] for middle in middles if isinstance(middle, tuple)]


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_the_frames_are_evenly_spaced_from_first_to_last(
    tmp_path: Path, options: dict[str, str]
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=36, options=options)

    size = make_contact_sheet(clip, tmp_path / "clip.png")

    with Image.open(tmp_path / "clip.png") as sheet:
        assert (sheet.format, sheet.size) == ("PNG", size)
        greys = brightness(sheet, 4, 2)
    expected = [round(place / 7 * 35) * 255 / 35 for place in range(8)]
    assert greys == pytest.approx(expected, abs=6)


def test_the_tiles_keep_the_shape_of_the_video(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(48, 64))

    width, height = make_contact_sheet(clip, tmp_path / "clip.png", columns=3, rows=1)

    assert width / 3 < height


def test_each_frame_of_a_very_short_video_is_shown_once(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=3)

    make_contact_sheet(clip, tmp_path / "clip.png")

    with Image.open(tmp_path / "clip.png") as sheet:
        assert brightness(sheet, 3, 1) == pytest.approx([0, 127.5, 255], abs=6)


def test_a_single_frame_makes_a_single_tile(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=1)

    width, height = make_contact_sheet(clip, tmp_path / "clip.png")

    assert width < 2 * height


def test_a_file_without_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        make_contact_sheet(make_sound(tmp_path / "sound.mp4"), tmp_path / "sheet.png")
