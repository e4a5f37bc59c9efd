"""`python -m tests.docs.moving_picture`: play a conversation on the sandbox and draw the moving
picture of the README, examples/pictures/conversation.webp.

What the person says is written here; each answer is what the server said, cut where `…` stands. The
video is the file that it saved. The words are kept in the picture, so that a test can compare them
with what the server says now.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import av
from mcp import Client
from PIL import Image, ImageDraw, ImageFont

from kling_mcp import build_server, load_settings

__all__ = ["PHOTO", "PICTURE", "Line", "play", "words", "words_of"]

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "examples" / "pictures" / "conversation.webp"
PHOTO = ROOT / "examples" / "pictures" / "coffee.jpg"
SOME_ID = re.compile(r"\b\d{15,}\b")
YOU = "You"
DESCRIPTION = 0x010E
"""EXIF's tag ImageDescription."""

WISH = {"image": str(PHOTO), "prompt": "Steam rises from the cup"}
KEPT = (
    r"^.*?list price\)\.",
    r"^Already made: .*?\.|Nothing was sent or charged now\.",
    r"\d{15,}: succeed \(sandbox\)|[\d.]+ s video, would have cost .*?\.mp4\.",
)
"""The parts of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the person said (`who` is `YOU`), or a call and the parts of its answer."""

    who: str
    text: str


async def play(server: Any, folder: Path) -> list[Line]:
    """Have the conversation with a server on the sandbox that saves videos in the folder."""
    lines: list[Line] = []
    async with Client(server) as client:

        async def call(tool: str, shown: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
            answer = await client.call_tool(tool, dict(arguments))
            assert not answer.is_error, answer.content
            lines.append(Line(f"{tool}  {shown}".strip(), _shown(answer.content[0].text, folder)))
            fields: dict[str, Any] = answer.structured_content or {}
            return fields

        lines.append(Line(YOU, "Let the coffee steam. What would that cost?"))
        await call("kling_image_to_video", "dry_run: true", {**WISH, "dry_run": True})
        lines.append(Line(YOU, "Do it."))
        task = (await call("kling_image_to_video", "", WISH))["task_id"]
        await call("kling_wait_for_tasks", "", {"task_ids": [task]})
        lines.append(Line(YOU, "The chat broke off. Did you make it? If not, do."))
        await call("kling_image_to_video", "the same again", WISH)
    return lines


def _shown(answer: str, folder: Path) -> str:
    answer = answer.replace(str(folder), "~/Videos/kling-mcp")
    for kept in KEPT:
        if parts := re.findall(kept, answer):
            return " … ".join(parts)
    raise ValueError(answer)


def words(lines: Sequence[Line]) -> str:
    """What the picture says in ASCII, as EXIF has it, without the ids that differ between runs."""
    told = "\n".join(f"{line.who}: {line.text}" for line in lines)
    return SOME_ID.sub("ID", told).replace("…", "...")


def words_of(picture: Path) -> str:
    """What was said when this picture was drawn."""
    with Image.open(picture) as image:
        return str(image.getexif()[DESCRIPTION])


WIDTH, HEIGHT = 1180, 690
"""Pixels; a README shows it at about two thirds of that."""

MARGIN, GAP, COLUMN, RADIUS = 24, 12, 684, 12
CLIP = (412, 275)
FRAMES_A_SECOND = 8
QUALITY = 55
PAPER, EDGE, TEXT, QUIET, ACCENT = "#ffffff", "#d0d7de", "#1f2328", "#59636e", "#0969da"
MINE, THEIRS = "#ddf4ff", "#f6f8fa"
BODY, SMALL = ImageFont.load_default(19), ImageFont.load_default(17)
LEADING = 26


def draw(lines: Sequence[Line], clip: Path) -> Iterator[tuple[Image.Image, int]]:
    """Each state of the picture, and the milliseconds for which it stands. The whole conversation
    comes first: it is all that programs show which play nothing."""
    photo = Image.open(PHOTO).convert("RGB").resize(CLIP)
    video = list(_frames(clip))
    yield _state(lines, photo, video[-1]), 1500
    played = 0
    for count in range(1, len(lines) + 1):
        shown = lines[:count]
        saved = any(line.who.startswith("kling_wait") for line in shown)
        if not saved:
            if lines[count - 1].who != YOU and "list price" in lines[count - 1].text:
                yield _state(shown[:-1], photo, None), 500
            yield _state(shown, photo, None), 1500 if shown[-1].who == YOU else 2600
            continue
        if shown[-1].who.startswith("kling_wait"):
            for part in range(1, 9):
                yield _state(shown[:-1], photo, None, part / 8), 220
        until = len(video) if count == len(lines) else played + 3 * FRAMES_A_SECOND
        for frame in video[played:until]:
            yield _state(shown, photo, frame), 1000 // FRAMES_A_SECOND
        played = min(until, len(video))
    yield _state(lines, photo, video[-1]), 2500


def _frames(clip: Path) -> Iterator[Image.Image]:
    """The video slowed to twice its length, as it is played while the conversation goes on."""
    with av.open(str(clip)) as container:
        step = round(float(container.streams.video[0].average_rate or 24) / FRAMES_A_SECOND / 2)
        for number, frame in enumerate(container.decode(video=0)):
            if number % max(step, 1) == 0:
                yield frame.to_image().resize(CLIP)


def _state(
    lines: Sequence[Line], photo: Image.Image, frame: Image.Image | None, waited: float = 0
) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((1, 1, WIDTH - 2, HEIGHT - 2), RADIUS, outline=EDGE, width=2)
    top = MARGIN
    for line in lines:
        top = _bubble(pen, line, top) + GAP
    left = WIDTH - MARGIN - CLIP[0]
    pen.text((left, MARGIN), "~/pictures/coffee.jpg", QUIET, SMALL)
    picture.paste(photo, (left, MARGIN + LEADING))
    below = MARGIN + 2 * LEADING + CLIP[1]
    if waited:
        pen.text((left, below), "kling_wait_for_tasks", ACCENT, SMALL)
        _bar(pen, left, below + LEADING + 4, waited)
    if frame:
        pen.text((left, below), "~/Videos/kling-mcp/coffee-steam-rises…mp4", QUIET, SMALL)
        picture.paste(frame, (left, below + LEADING))
    return picture


def _bar(pen: ImageDraw.ImageDraw, left: int, top: int, part: float) -> None:
    pen.rounded_rectangle((left, top, left + CLIP[0], top + 10), 5, fill=THEIRS, outline=EDGE)
    pen.rounded_rectangle((left, top, left + CLIP[0] * part, top + 10), 5, fill=ACCENT)


def _bubble(pen: ImageDraw.ImageDraw, line: Line, top: int) -> int:
    """Draw one line of the conversation; where it ends."""
    mine = line.who == YOU
    indent = 12
    rows = list(_wrapped(line.text, COLUMN - 2 * indent))
    height = LEADING * (len(rows) + (not mine)) + 2 * indent - 6
    right = MARGIN + COLUMN
    width = max(BODY.getlength(row) for row in rows) + 2 * indent if mine else COLUMN
    left = right - width
    pen.rounded_rectangle((left, top, right, top + height), RADIUS, fill=MINE if mine else THEIRS)
    at = top + indent - 3
    if not mine:
        pen.text((left + indent, at), line.who, ACCENT, SMALL)
        at += LEADING
    for row in rows:
        pen.text((left + indent, at), row, TEXT, BODY)
        at += LEADING
    return int(top + height)


def _wrapped(text: str, width: float) -> Iterator[str]:
    """Rows that fit; a path is broken where it must be."""
    row = ""
    for word in re.findall(r"\S+?(?:(?<=[/-])|\s|$)", text):
        if row and BODY.getlength((row + word).rstrip()) > width:
            yield row.rstrip()
            row = ""
        row += word
    yield row.rstrip()


def main() -> None:
    """Play, draw and save."""
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        settings = load_settings(
            provider="sandbox",
            home=Path(folder) / "home",
            output_dir=videos,
            image_roots=(PHOTO.parent,),
            sandbox_queue_s=0,
            sandbox_render_s=0,
        )
        lines = anyio.run(play, build_server(settings), videos)
        (clip,) = videos.glob("*.mp4")
        states = list(draw(lines, clip))
    first, *others = [picture for picture, _ in states]
    exif = Image.Exif()
    exif[DESCRIPTION] = words(lines)
    first.save(
        PICTURE,
        save_all=True,
        append_images=others,
        duration=[ms for _, ms in states],
        loop=0,
        quality=QUALITY,
        method=4,
        exif=exif,
    )
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes, {len(states)} pictures")


if __name__ == "__main__":
    main()
