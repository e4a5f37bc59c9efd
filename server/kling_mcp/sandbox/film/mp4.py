"""Writing frames and a tone into one MP4: H.264 yuv420p 24 fps, AAC, index at the front."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from kling_mcp.sandbox.film.reel import FPS
from kling_mcp.sandbox.film.tone import RATE, blocks_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from PIL.Image import Image

__all__ = ["duration_text", "frame_count", "write_mp4"]

_BT709 = 1
_AAC_BLOCK = 1024
_FINE = {"preset": "veryfast", "crf": "20"}
_QUICK = {"preset": "superfast", "crf": "20", "tune": "zerolatency"}
_FINE_UP_TO_PX = 3_000_000
"""Above it x264 looks at no frame ahead: in 4k that saves half the time and 400 MB of memory."""


def frame_count(seconds: int) -> int:
    """Frames of a clip asked to be `seconds` long: one more than the seconds hold.

    Kling's clips are that frame longer: 5 s are reported as 5.041 (Kling's API pages).
    """
    return seconds * FPS + 1


def duration_text(frames: int) -> str:
    """What Kling would report for that many frames: seconds with three places, cut off."""
    return f"{frames * 1000 // FPS / 1000:.3f}"


def write_mp4(
    path: Path, frames: Iterable[Image], count: int, size: tuple[int, int], *, sound: bool
) -> None:
    """Write `count` frames of `size` px to `path`, with a tone of the same length if `sound`.

    Raises `OSError` when the file cannot be written.
    """
    options = {"movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata["comment"] = "Made by the kling-mcp sandbox"
        effort = _FINE if size[0] * size[1] <= _FINE_UP_TO_PX else _QUICK
        stream = container.add_stream("libx264", rate=FPS, options=dict(effort))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        sheet = VideoFrame(*size, "rgb0")
        tone = _Tone(container, count) if sound else None
        for number, image in enumerate(frames):
            sheet.planes[0].update(image.tobytes("raw", "RGBX", sheet.planes[0].line_size))
            frame = sheet.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts = number
            frame.time_base = Fraction(1, FPS)
            container.mux(stream.encode(frame))
            if tone is not None and number % FPS == 0:
                tone.play_until(number + FPS)
        container.mux(stream.encode(None))
        if tone is not None:
            tone.finish()


class _Tone:
    """The sound of one film, written a second at a time beside the pictures."""

    def __init__(self, container: OutputContainer, frames: int) -> None:
        self._container = container
        self._stream: AudioStream = container.add_stream("aac", rate=RATE, layout="mono")
        self._stream.bit_rate = 96_000
        self._samples = frames * RATE // FPS
        self._blocks = blocks_of(self._samples, _AAC_BLOCK)
        self._written = 0

    def play_until(self, frame: int) -> None:
        """Write the blocks that begin before that frame of the film."""
        end = min(frame * RATE // FPS, self._samples)
        while self._written < end:
            block = next(self._blocks)
            audio = AudioFrame(format="fltp", layout="mono", samples=len(block))
            audio.planes[0].update(block.tobytes())
            audio.sample_rate = RATE
            audio.pts = self._written
            audio.time_base = Fraction(1, RATE)
            self._container.mux(self._stream.encode(audio))
            self._written += len(block)

    def finish(self) -> None:
        """Write what is left of the tone."""
        self.play_until(self._samples * FPS // RATE + 1)
        self._container.mux(self._stream.encode(None))
