"""Clips and music become one MP4.

read_clip, read_music  →  Film      its length is exact before anything is made
join                   →  Joined    measured, encoded picture beside sound, named when whole
check                  →  Checked   read back: frames, length, loudness, each joint
describe               →  Sidecar   a JSON file beside it
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import from_thread

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.decoding import Decoding
from kling_mcp.inputs.mp4 import Mp4Facts
from kling_mcp.inputs.mp4 import check as check_mp4
from kling_mcp.outputs.ffmpeg_filters import marks_of
from kling_mcp.outputs.film_plan import RATE_HZ, Film
from kling_mcp.outputs.film_tracks import JOINING, SINK, Filters, pictures, sounds, stereo
from kling_mcp.outputs.part import Part, disk_errors
from kling_tools.errors import SaveFailed

if TYPE_CHECKING:
    from av import AudioFrame

__all__ = ["CLIPS_KEPT", "JOIN_AGAIN", "Joined", "Loudness", "join", "joined", "loudness_of"]

LUFS, PEAK_DBTP = -16.0, -1.5
"""How loud a film is and how loud its peaks may be, by EBU R128: what video sites ask for."""

RANGE_LU = 11.0
"""Loudness range up to which `loudnorm` leaves a sound as it is; a wider one is kept, too."""

MOST_GAIN_DB = 24.0
"""A sound that is quieter than that below the aim is noise, which is not raised to it."""

SILENT_LUFS = -70.0
"""EBU R128's absolute gate: nothing at or below it is heard."""

X264 = {"preset": "fast", "crf": "18", "forced-idr": "1"}
THREADS = 4
"""x264 gives other bytes with another number of threads: a film is the same on every machine."""

SOUND_BITS = 320_000
"""Bits per second. Measured on drums, the noise of FFmpeg's AAC is a fourth of what it is with
192,000; on tones there is no difference."""

LISTENING = 0.05
"""The share of a join's work that is the measuring of its loudness."""

STEPS = 10
"""Calls of `progress` for a film at most."""

Progress = Callable[[float], Coroutine[Any, Any, None]]
Heard = Callable[[float], None]

CLIPS_KEPT = "The clips are kept and are not paid again;"
JOIN_AGAIN = "join the film again"


@dataclass(frozen=True, slots=True)
class Loudness:
    """How loud a sound is as a whole (LUFS), how much that changes (LU), and its true peak
    (dBTP)."""

    lufs: float
    range_lu: float
    peak_dbtp: float


@dataclass(frozen=True, slots=True)
class Joined:
    """A film on disk: its path, bytes, SHA-256 and facts; `already_there` is True when a file with
    exactly these bytes had the name before. `aims_lufs` is the loudness that it was given; None
    where there is no sound to hear."""

    path: Path
    bytes: int
    sha256: str
    facts: Mp4Facts
    already_there: bool
    aims_lufs: float | None


async def join(
    film: Film, target: Path, *, progress: Progress | None = None, decoding: Decoding = JOINING
) -> Joined:
    """Join a film and save it as `target`, or as `-2`, `-3` … beside it when another file has that
    name. `progress` hears the share that is done, from 0 to 1.

    The work is done in a thread. After a cancellation, a full disk or a damaged clip no file is
    left. The same clips make the same bytes. Raises KlingError for a clip or music that cannot be
    read, SaveFailed when the disk does not take the film.
    """
    told = -1

    def heard(share: float) -> None:
        nonlocal told
        from_thread.check_cancelled()
        if progress is not None and (step := int(share * STEPS)) > told:
            told = step
            from_thread.run(progress, share)

    return await decoding.run(lambda: joined(film, target, heard, decoding), wait_s=math.inf)


def joined(
    film: Film,
    target: Path,
    heard: Heard = lambda share: None,
    decoding: Decoding = JOINING,
) -> Joined:
    """The same, at once: blocks. `heard` is called for each frame; what it raises ends the work."""
    import av

    with disk_errors(target, still=CLIPS_KEPT, again=JOIN_AGAIN):
        part = Part(target)
    try:
        loudness = _measured(film, heard, decoding) if film.sounds else None
        with disk_errors(target, still=CLIPS_KEPT, again=JOIN_AGAIN):
            _write(film, part.path, loudness, heard, decoding)
            part.read_back()
            facts = check_mp4(part.path)
            part.sync()
            path, already_there = part.claim()
        return Joined(path, part.bytes, part.sha256, facts, already_there, _aim(loudness))
    except (av.FFmpegError, NotWholeMp4) as error:
        raise SaveFailed(
            f"The film could not be encoded: {error}.", advice=f"{CLIPS_KEPT} {JOIN_AGAIN}."
        ) from error
    finally:
        part.discard()


def _measured(film: Film, heard: Heard, decoding: Decoding) -> Loudness | None:
    """The loudness of a film's sound before it is evened; None where nothing is heard."""
    length = film.sample(film.frames)

    def passing(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
        came = 0
        for frame in frames:
            came += frame.samples
            heard(LISTENING * came / length)
            yield frame

    with closing(sounds(film, (), decoding)) as frames:
        return loudness_of(passing(frames))


def loudness_of(frames: Iterable[AudioFrame]) -> Loudness | None:
    """How loud these frames of a film's sound are; None where nothing is heard."""
    measured: dict[str, float] = {}
    filters = (("ebur128", "metadata=1:peak=true:framelog=quiet"),)
    for _, mark in marks_of(frames, stereo, filters, SINK):
        measured.update(
            (key.removeprefix("lavfi.r128."), float(value)) for key, value in mark.items()
        )
    lufs = measured.get("I", SILENT_LUFS)
    if not lufs > SILENT_LUFS:
        return None
    peaks = [value for key, value in measured.items() if key.startswith("true_peaks_ch")]
    return Loudness(lufs, measured.get("LRA", 0.0), 20 * math.log10(max(*peaks, 1e-9)))


def _aim(loudness: Loudness | None) -> float | None:
    return None if loudness is None else min(LUFS, loudness.lufs + MOST_GAIN_DB)


def _evened(loudness: Loudness | None) -> Filters:
    """The second pass of `loudnorm`. It is one gain for the whole film wherever the peaks allow it;
    a range of 0 LU, which a steady tone has, would count as not measured."""
    if loudness is None:
        return ()
    lufs, spread, peak = loudness.lufs, max(0.1, loudness.range_lu), loudness.peak_dbtp
    given = f"I={_aim(loudness):.2f}:TP={PEAK_DBTP}:LRA={min(50.0, max(RANGE_LU, spread)):.2f}"
    found = f"I={lufs:.2f}:measured_LRA={spread:.2f}:measured_TP={peak:.2f}"
    return (("loudnorm", f"{given}:measured_{found}:measured_thresh={lufs - 10:.2f}:linear=true"),)


def _write(
    film: Film, path: Path, loudness: Loudness | None, heard: Heard, decoding: Decoding
) -> None:
    """Encode a film, its sound beside the pictures that it belongs to."""
    import av
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=film.fps, options=dict(X264))
        video.width, video.height = film.size
        video.pix_fmt = "yuv420p"
        coder = video.codec_context
        coder.time_base = 1 / film.fps
        coder.thread_count = THREADS
        coder.gop_size = max(1, round(2 * film.fps))
        coder.color_range, coder.colorspace = ColorRange.MPEG, Colorspace.ITU709
        coder.color_primaries, coder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        audio = container.add_stream("aac", rate=RATE_HZ, layout="stereo") if film.sounds else None
        written = 0
        evened = sounds(film, _evened(loudness), decoding)
        with closing(pictures(film, decoding)) as shown, closing(evened) as sound:
            if audio is not None:
                audio.bit_rate = SOUND_BITS
            for number, picture in enumerate(shown, start=1):
                container.mux(video.encode(picture))
                while audio is not None and written < film.sample(number):
                    block = next(sound, None)
                    if block is None:
                        break
                    written += block.samples
                    container.mux(audio.encode(block))
                heard(1 - (1 - LISTENING) * (film.frames - number) / film.frames)
        container.mux(video.encode())
        if audio is not None:
            container.mux(audio.encode())
