"""The cut of a film: which picture is seen when, under which camera move, and how it follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from kling_sandbox.film.camera import Move
from kling_sandbox.film.canvas import Canvas, Size

__all__ = ["FPS", "Scene", "frames_of"]

FPS = 24


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture under one move for `frames` frames.

    `dissolve` is how many of them blend with the scene before, which goes on moving meanwhile;
    0 is a cut. The move ends `hold` frames before the scene does.
    """

    picture: Image.Image
    move: Move
    frames: int
    dissolve: int = 0
    hold: int = 0


def frames_of(scenes: Sequence[Scene], size: Size) -> Iterator[Image.Image]:
    """Every frame of the film in order, `size` px, each free to be drawn on."""
    before: Canvas | None = None
    before_span = 1
    before_frames = 0
    for number, scene in enumerate(scenes):
        beyond = scenes[number + 1].dissolve if number + 1 < len(scenes) else 0
        span = max(1, scene.frames + beyond - scene.hold - 1)
        canvas = Canvas(scene.picture, size, scene.move)
        for index in range(scene.frames):
            view = canvas.view(index / span)
            if before is not None and index < scene.dissolve:
                fading = before.view((before_frames + index) / before_span)
                yield Image.blend(fading, view, (index + 1) / (scene.dissolve + 1))
            else:
                yield view.copy()
        before, before_span, before_frames = canvas, span, scene.frames
