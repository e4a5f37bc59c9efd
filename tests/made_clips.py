"""Small real MP4 files for tests, encoded on the spot."""

import hashlib
import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
from PIL import Image


def make_clip(
    path: Path,
    *,
    frames: int = 24,
    fps: int = 24,
    size: tuple[int, int] = (64, 48),
    sound: bool = False,
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """An H.264 clip whose n-th frame is a grey of brightness n * 255 / (frames - 1)."""
    key = (frames, fps, size, sound, tuple((options or {}).items()), title)
    if key not in MADE:
        _encode_grey(path, *key)
        MADE[key] = path.read_bytes()
    else:
        path.write_bytes(MADE[key])
    return path


MADE: dict[tuple[Any, ...], bytes] = {}
"""Encoding takes tenths of a second, and many tests have the same clip."""


def _encode_grey(
    path: Path,
    frames: int,
    fps: int,
    size: tuple[int, int],
    sound: bool,
    options: tuple[tuple[str, str], ...],
    title: str,
) -> None:
    with av.open(str(path), "w", format="mp4", options=dict(options)) as container:
        if title:
            container.metadata["title"] = title
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number in range(frames):
            grey = round(number * 255 / max(frames - 1, 1))
            dot = av.VideoFrame.from_image(Image.new("RGB", (2, 2), (grey, grey, grey)))
            picture = av.VideoFrame(*size, "yuv420p")
            values = dot.reformat(format="yuv420p").planes
            for plane, value in zip(picture.planes, values, strict=True):
                plane.update(bytes(value)[:1] * plane.buffer_size)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        if audio is not None:
            _play_silence(container, audio)


SOUND_RATE = 8000


def make_film(
    path: Path, pictures: Sequence[Image.Image], *, fps: int = 24, loudness: float | None = None
) -> Path:
    """An H.264 clip of these pictures, with a tone as loud as that (0 is silence), or no sound."""
    seen = hashlib.sha256()
    for picture in pictures:
        seen.update(picture.tobytes())
    key = (seen.digest(), pictures[0].size, fps, loudness)
    if key not in MADE:
        _encode(path, pictures, fps, loudness)
        MADE[key] = path.read_bytes()
    else:
        path.write_bytes(MADE[key])
    return path


def _encode(path: Path, pictures: Sequence[Image.Image], fps: int, loudness: float | None) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height = pictures[0].size
        video.pix_fmt = "yuv420p"
        audio = None
        if loudness is not None:
            audio = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_image(picture)))
        container.mux(video.encode())
        if audio is not None and loudness is not None:
            count = len(pictures) * SOUND_RATE // fps
            tone = array("f", (loudness * math.sin(n * 0.35) for n in range(count)))
            frame = av.AudioFrame(format="fltp", layout="mono", samples=count)
            frame.sample_rate = SOUND_RATE
            frame.planes[0].update(tone.tobytes())
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


def make_sound(path: Path) -> Path:
    """An MP4 with an AAC track and no video."""
    with av.open(str(path), "w", format="mp4") as container:
        _play_silence(container, container.add_stream("aac", rate=8000, layout="mono"))
    return path


def _play_silence(container: av.container.OutputContainer, audio: av.AudioStream) -> None:
    silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    silence.sample_rate = 8000
    for plane in silence.planes:
        plane.update(bytes(plane.buffer_size))
    container.mux(audio.encode(silence))
    container.mux(audio.encode())
