"""What a film shall show, and the scenes that follow from it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from kling_sandbox.film.camera import ARRIVAL, DEFAULT, SEQUENCE_MOVES, SHOT_MOVES, Move
from kling_sandbox.film.canvas import Cast, Mark, Still, even_size
from kling_sandbox.film.encoding import (
    FINE_UP_TO_PX,
    FPS,
    Scene,
    frame_count,
    frames_of,
    write_mp4,
)
from kling_sandbox.film.motion import (
    beside_video,
    edited,
    frames_in,
    moving_figure,
    ratio_of,
    track_of,
)
from kling_sandbox.film.scenery import Scenery
from kling_sandbox.film.talking import Dub, loudness_of, talking_face, with_mouth

__all__ = ["Script"]

_BLEND_FRAMES = 12
_ARRIVAL_FRAMES = 48
_ARRIVAL_HOLD = 6


@dataclass(frozen=True, slots=True)
class Script:
    """One film: `seconds` long, or of so many `frames`, the shorter side `short_side` px, width by
    height `ratio`.

    With no `ratio` the frame has the shape of the first still. One still is seen under `move`, or
    cut into `shots` (seconds each) with a move of its own for each; several follow each other.
    Without a still, a landscape is drawn for the `words`, and one for each shot.
    The film ends on `tail` where there is one. `sound` adds a tone.
    `number` stands in the mark. Each of `insets` is seen small in the upper left corner, above the
    words of `labels`. `voice` is the id of the voice that is heard. A film that `moves_figure`
    shows the first still as a figure that moves as the video at `motion` does, with the video's
    sound; without one it moves by itself. With `edits` the film is that video, or the first still
    without one, changed as these words say; otherwise the video is seen small beside the scenes.
    A film that `talks` shows the first still with a mouth that speaks the sound at `motion`. With a
    `dub` it is the video at `motion`, or the first still without one, of which a face speaks.
    """

    seconds: int
    short_side: int
    stills: tuple[Still, ...]
    ratio: float | None = None
    tail: Still | None = None
    move: Move | None = None
    shots: tuple[int, ...] = ()
    sound: bool = False
    number: str = ""
    insets: tuple[Still, ...] = ()
    labels: tuple[str, ...] = ()
    voice: str = ""
    words: tuple[str, ...] = ()
    moves_figure: bool = False
    motion: Path | None = None
    edits: str = ""
    talks: bool = False
    dub: Dub | None = None
    frames: int = 0

    @property
    def count(self) -> int:
        """How many frames it has."""
        return self.frames or frame_count(self.seconds)

    def film(self, path: Path) -> None:
        """Make the MP4 and put it at `path` in one step, so that no reader sees half of it.

        Two processes may do so at once: either file is whole. Raises `OSError` when the disk
        does not take it, `ValueError` when there is nothing to show.
        """
        pictures = [still.load(self.short_side) for still in self.stills]
        tail = self.tail.load(self.short_side) if self.tail else None
        shown = [*pictures, tail] if tail is not None else pictures
        if not shown and not (self.words and (self.ratio or self.motion)):
            raise ValueError("a film needs a picture, or words and a ratio")
        ratio = self.ratio
        beside = self.motion and not (self.moves_figure or self.talks)
        if ratio is None and self.motion and beside:
            ratio = ratio_of(self.motion)
        ratio = ratio or shown[0].width / shown[0].height
        whole = size = even_size(self.short_side, ratio)
        if size[0] * size[1] > FINE_UP_TO_PX:
            size = even_size(self.short_side // 2, ratio)
        drawn = [Scenery(words, size, number) for number, words in enumerate(self.words)]
        mark = Mark(size, self.number)
        cast = Cast(size, [still.load(size[1] // 4) for still in self.insets], self.labels)
        if self.moves_figure:
            shots = moving_figure(pictures[0], size, track_of(self.motion, self.count, FPS))
        elif self.talks:
            shots = talking_face(pictures[0], size, loudness_of(self.motion, self.count, FPS))
        elif self.dub:
            mouths = self.dub.loudness(self.count, FPS)
            if self.motion:
                shown_frames = frames_in(self.motion, self.count, FPS, size)
            else:
                card = ImageOps.fit(pictures[0].convert("RGB"), size)
                shown_frames = (card.copy() for _ in mouths)
            shots = with_mouth(shown_frames, size, mouths, self.dub.place)
        elif self.edits and self.motion:
            shots = frames_in(self.motion, self.count, FPS, size)
        else:
            shots = frames_of(list(self.scenes(pictures or drawn, tail)), size)
        if self.edits:
            shots = edited(shots, size, self.edits)
        elif self.motion and beside and not self.dub:
            shots = beside_video(shots, track_of(self.motion, self.count, FPS))

        def finished() -> Iterator[Image.Image]:
            before = None
            for frame in shots:
                yield frame if frame is before else mark.put_on(cast.put_on(frame))
                before = frame

        part = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
        like, mixed = self.motion, part.with_suffix(".wav.part")
        try:
            if self.dub:
                like = self.dub.mixed(self.motion, self.count / FPS, mixed)
            write_mp4(
                part,
                finished(),
                self.count,
                whole,
                sound=self.sound,
                voice=self.voice,
                like=like,
            )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
            mixed.unlink(missing_ok=True)

    def scenes(
        self, pictures: Sequence[Image.Image | Scenery], tail: Image.Image | None
    ) -> Iterator[Scene]:
        """The scenes for those pictures; their frames add up to the film's."""
        rest = self.count
        arrival = min(_ARRIVAL_FRAMES, rest // 2) if tail is not None else 0
        takes = list(self._takes(pictures))
        for number, (picture, move, frames, dissolve) in enumerate(takes):
            last = number == len(takes) - 1
            shown = rest - arrival if last else frames
            yield Scene(picture, move, shown, min(dissolve, shown))
            rest -= shown
        if tail is not None:
            yield Scene(tail, ARRIVAL, rest, (arrival * 3 // 4) if takes else 0, _ARRIVAL_HOLD)

    def _takes(
        self, pictures: Sequence[Image.Image | Scenery]
    ) -> Iterator[tuple[Image.Image | Scenery, Move, int, int]]:
        """Picture, move, frames and dissolve of each take; the last one gets what is left."""
        if len(pictures) > 1 and self.stills:
            each = self.count // (len(pictures) + bool(self.tail))
            for number, picture in enumerate(pictures):
                move = SEQUENCE_MOVES[number % len(SEQUENCE_MOVES)]
                yield picture, move, each, _BLEND_FRAMES if number else 0
        elif pictures and self.shots:
            for number, seconds in enumerate(self.shots):
                picture = pictures[number % len(pictures)]
                yield picture, SHOT_MOVES[number % len(SHOT_MOVES)], seconds * FPS, 0
        elif pictures:
            yield pictures[0], self.move or DEFAULT, 0, 0
