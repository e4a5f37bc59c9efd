"""The videos of tasks. Each is made at the first download, in a thread, and kept."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from kling_sandbox.orders import Asset, CameraControl, GivenVideo, Order, Picture, Task
from kling_sandbox.pictures import PictureFiles

if TYPE_CHECKING:
    from kling_sandbox.film.camera import Move
    from kling_sandbox.film.canvas import Still
    from kling_sandbox.film.painting import Painting
    from kling_sandbox.film.script import Script

__all__ = ["ClipMaker", "script_of"]

LEFT_BEHIND_S = 60.0
"""Seconds without a new byte after which nobody is making a clip any more."""

_TOKEN = re.compile(r"With (?:<<<image_\d+>>>(?:, )?)+:|<<<\w+>>>")

WIDE = 16 / 9
"""Width by height of a film after a video that the sandbox cannot see."""

NUMBER_DIGITS = 4
"""How many last digits of the task's id the picture shows."""


PathOf = Callable[[GivenVideo], Awaitable[Path | None]]


async def _nowhere(_: GivenVideo) -> None:
    """No file."""


class ClipMaker:
    """The folder of finished clips, and one worker that makes them. Their shorter sides have at
    most `side_px` px. `path_of` finds the file of a video that a clip is made of."""

    def __init__(self, folder: Path, files: PictureFiles, side_px: int) -> None:
        self._folder = folder
        self._files = files
        self._side_px = side_px
        self._worker: anyio.CapacityLimiter | None = None
        self.path_of: PathOf = _nowhere

    async def clip(self, task: Task, number: int = 0) -> Path:
        """The MP4 of a task that has succeeded, or its picture with that index, a PNG. This process
        makes one at a time.

        A cancelled caller does not stop the work; the next caller gets the clip. Raises `OSError`
        when the disk refuses it.
        """
        path = self._folder / f"{task.task_id}.mp4"
        make = partial(self._make, task, path)
        if task.order.images:
            path = self._folder / f"{task.task_id}-{number}.png"
            make = partial(self._paint, task, path, number)
        if task.order.product == "tts":
            path = self._folder / f"{task.task_id}.wav"
            make = partial(_speak, task, path)
        if not path.exists():
            if self._worker is None:
                self._worker = anyio.CapacityLimiter(1)
            seen, sound = task.order.seen, task.order.speech
            if task.order.other_words and seen and sound:
                paths = await self.path_of(seen), await self.path_of(sound)
                make = partial(self._make, task, path, *paths)
            elif seen and (shown := await self.path_of(seen)):
                make = partial(self._make, task, path, shown)
            await anyio.to_thread.run_sync(make, limiter=self._worker, abandon_on_cancel=True)
        return path

    def _paint(self, task: Task, path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        painting_of(task.order, self._files, task.task_id, number).paint(path)

    def _make(
        self, task: Task, path: Path, motion: Path | None = None, sound: Path | None = None
    ) -> None:
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        script = script_of(task.order, self._files, task.task_id[-NUMBER_DIGITS:])
        side = min(script.short_side, self._side_px)
        dub = replace(script.dub, sound=sound) if script.dub else None
        replace(script, short_side=side, motion=motion, dub=dub).film(path)


def _speak(task: Task, path: Path) -> None:
    from kling_sandbox.film.encoding import voice_factor
    from kling_sandbox.film.talking import spoken

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
    spoken(task.order.prompt, task.order.at_once_ms, voice_factor(task.order.voice_id), part)
    part.replace(path)


def _sweep(folder: Path) -> None:
    """Remove the halves of clips whose process was killed while it made them."""
    for part in folder.glob("*.part"):
        with suppress(OSError):
            if part.stat().st_mtime < time.time() - LEFT_BEHIND_S:
                part.unlink()


def script_of(order: Order, files: PictureFiles, number: str = "") -> Script:
    """The script of an order's film, with `number` in its mark. Loads Pillow and PyAV."""
    from kling_sandbox.film.canvas import Still
    from kling_sandbox.film.script import Script
    from kling_sandbox.film.talking import Dub

    stills = tuple(_still(picture, files) for picture in order.pictures)
    insets = tuple(_portrait(asset, files) for asset in order.assets if asset.kind == "element")
    edits = order.reference is not None and order.reference.kind == "base"
    if order.reference and edits:
        caption = "The sandbox fetches nothing.\nThis card replaces the video at"
        insets = (*stills, *insets)
        stills = (Still(caption=caption, words=order.reference.video.url),)
    other, dub = order.other_words, None
    if other:
        caption = "The sandbox fetches nothing.\nThis card replaces the video at"
        stills = (Still(caption=caption, words=other.video.url),)
        dub = Dub(other.face.place, other.at_s, other.end_s, other.original)
    voices = [
        (asset.asset_id, asset.name) if asset.kind == "voice" else (asset.voice, asset.voice_name)
        for asset in order.assets
        if asset.kind == "voice" or asset.voice
    ]
    shots = len(order.shots)
    return Script(
        seconds=order.duration,
        frames=order.frames if order.seen else 0,
        moves_figure=order.motion is not None,
        talks=order.speech is not None and not other,
        dub=dub,
        edits=order.prompt if edits else "",
        short_side=order.short_side,
        stills=stills,
        ratio=order.aspect_ratio or (WIDE if _elsewhere(order) and order.reference else None),
        tail=_still(order.tail, files) if order.tail else None,
        move=_move(order.camera) if order.camera else None,
        shots=order.shots,
        sound=order.sound,
        number=number,
        insets=insets,
        labels=tuple(f"Voice: {name}" for _, name in voices) + _elsewhere(order),
        voice=voices[0][0] if voices else "",
        words=() if stills or order.tail else order.lines or (order.prompt,) * max(1, shots),
    )


def painting_of(order: Order, files: PictureFiles, task_id: str, index: int) -> Painting:
    """The picture of an order with that index. Loads Pillow."""
    from kling_sandbox.film.painting import Painting, painting_size

    return Painting(
        size=painting_size(order.mode, order.aspect_ratio or 1.0),
        words=_TOKEN.sub("", order.prompt).strip(" :,"),
        references=tuple(_still(picture, files) for picture in order.pictures),
        seed=f"{task_id} {index}",
        number=f"{task_id[-NUMBER_DIGITS:]}-{index + 1}",
    )


def _elsewhere(order: Order) -> tuple[str, ...]:
    """What a film says of a video that the sandbox cannot see."""
    video = order.seen
    if video is None or video.name or video.task_id:
        return ()
    own = ": the motion is its own" if order.motion else ", and has not seen the video"
    if order.speech:
        own = ": the tone is its own"
    return (f"The sandbox fetches nothing{own}",)


def _portrait(element: Asset, files: PictureFiles) -> Still:
    """What an element looks like. The sandbox sees no video, and draws Kling's own elements."""
    from kling_sandbox.film.canvas import Still

    if element.pictures and element.owner != "kling":
        return _still(element.pictures[0], files)
    return Still(caption=element.name, words=element.description)


def _still(picture: Picture, files: PictureFiles) -> Still:
    from kling_sandbox.film.canvas import Still

    if picture.url:
        return Still(
            caption="The sandbox fetches nothing.\nThis card replaces the picture at",
            words=picture.url,
        )
    return Still(files.path(picture))


def _move(camera: CameraControl) -> Move:
    from kling_sandbox.film.camera import named_move, simple_move

    if camera.kind == "simple":
        return simple_move(camera.axis, camera.value)
    return named_move(camera.kind)
