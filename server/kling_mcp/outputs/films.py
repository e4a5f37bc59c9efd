"""Clips and music become one MP4, which is then read back and described beside it.

read_clip, read_music, size_for  →  Film (its length is exact before anything is made)
join      measures the loudness, encodes picture and sound side by side, names the file
check     reads the finished file: frames, length, sound, loudness, each joint
describe  writes the sidecar JSON
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anyio import from_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.mp4 import Mp4Facts
from kling_mcp.inputs.mp4 import check as check_mp4
from kling_mcp.outputs.ffmpeg_filters import JOINED_S, Stretch, marks_of, watch
from kling_mcp.outputs.film_tracks import (
    JOINING,
    RATE_HZ,
    STEREO_SOURCE,
    Film,
    Filters,
    Fit,
    clip_pictures,
    pictures,
    sounds,
)
from kling_mcp.outputs.frames import frame_times, opened
from kling_mcp.outputs.part import Part, disk_errors
from kling_tools.errors import KlingError, SaveFailed

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from PIL.Image import Image

__all__ = [
    "Checked",
    "Joined",
    "Joint",
    "Loudness",
    "Shot",
    "ShotMade",
    "Sidecar",
    "check",
    "describe",
    "join",
    "joined",
]

LUFS, PEAK_DBTP = -16.0, -1.5
"""How loud a film is and how loud its peaks may be, by EBU R128: what video sites ask for."""

RANGE_LU = 11.0
"""Loudness range up to which `loudnorm` leaves a sound as it is; a wider one is kept, too."""

MOST_GAIN_DB = 24.0
"""A sound that is quieter than that below the aim is noise, which is not raised to it."""

SILENT_LUFS = -70.0
"""EBU R128's absolute gate: nothing at or below it is heard."""

SETTLED_LU = 1.0
"""How far a film's loudness may be from its aim."""

X264 = {"preset": "fast", "crf": "18", "forced-idr": "1"}
THREADS = 4
"""x264 gives other bytes with another number of threads: a film is the same on every machine."""

SOUND_BITS = 192_000

LISTENING = 0.05
"""The share of a join's work that is the measuring of its loudness."""

STEPS = 100
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


async def join(film: Film, target: Path, *, progress: Progress | None = None) -> Joined:
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

    return await JOINING.run(lambda: joined(film, target, heard), wait_s=math.inf)


def joined(film: Film, target: Path, heard: Heard = lambda share: None) -> Joined:
    """The same, at once: blocks. `heard` is called for each frame; what it raises ends the work."""
    import av

    with disk_errors(target, still=CLIPS_KEPT, again=JOIN_AGAIN):
        part = Part(target)
    try:
        loudness = _measured(film, heard) if film.sounds else None
        with disk_errors(target, still=CLIPS_KEPT, again=JOIN_AGAIN):
            _write(film, part.path, loudness, heard)
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


def _measured(film: Film, heard: Heard) -> Loudness | None:
    """The loudness of a film's sound before it is evened; None where nothing is heard."""
    length = film.sample(film.frames)

    def passing(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
        came = 0
        for frame in frames:
            came += frame.samples
            heard(LISTENING * came / length)
            yield frame

    with closing(sounds(film)) as frames:
        return _loudness(passing(frames))


def _loudness(frames: Iterable[AudioFrame]) -> Loudness | None:
    measured: dict[str, float] = {}
    filters = (("ebur128", "metadata=1:peak=true:framelog=quiet"),)
    for _, mark in marks_of(
        frames, lambda graph: graph.add("abuffer", None, **STEREO_SOURCE), filters, "abuffersink"
    ):
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


def _write(film: Film, path: Path, loudness: Loudness | None, heard: Heard) -> None:
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
        with closing(pictures(film)) as shown, closing(sounds(film, _evened(loudness))) as sound:
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


@dataclass(frozen=True, slots=True)
class Joint:
    """Where a clip begins in a film: the clip's number, the film's frame and second. `black`: the
    film is so there. `frozen`: the frame before is the same. `as_in_clip`: the first frame that the
    clip has for itself is the clip's own."""

    clip: int
    frame: int
    at_s: float
    black: bool
    frozen: bool
    as_in_clip: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What a finished film holds, read back from its file; stretches are in seconds. `faults` are
    sentences about what is not as the plan says; empty when all is well."""

    facts: Mp4Facts
    frames: int
    steady: bool
    sound_s: float
    loudness: Loudness | None
    black: tuple[Stretch, ...]
    frozen: tuple[Stretch, ...]
    silent: tuple[Stretch, ...]
    joints: tuple[Joint, ...]
    faults: tuple[str, ...]


def check(film: Film, made: Joined) -> Checked:
    """Read a joined film back from its file and hold it against its plan. Blocks for about as long
    as decoding it takes. Raises like `watch`, and KlingError for a clip that cannot be read."""
    alone = [begin + film.overlap * (place > 0) for place, begin in enumerate(film.begins)]
    around = [(max(0, frame - 1), frame) for frame in alone]
    moments = [(frame + Fraction(1, 2)) / film.fps for pair in around for frame in pair]
    seen = watch(made.path, moments, decoding=JOINING)
    shown = [picture for _, picture in seen.frames]
    with opened(made.path, JOINING) as (container, _):
        stream = container.streams.video[0]
        times = [pts * (stream.time_base or 0) * film.fps for pts in frame_times(container)]
        audio = next(iter(container.streams.audio), None)
        sound_s, loudness = 0.0, None
        if audio is not None:
            sound_s = float((audio.duration or 0) * (audio.time_base or 0))
            container.seek(0)
            loudness = _loudness(container.decode(audio))
    joints = []
    for place, clip in enumerate(film.clips):
        before, here = shown[2 * place : 2 * place + 2]
        at_s = round(float(film.begins[place] / film.fps), 3)
        with closing(clip_pictures(film, clip)) as frames:
            own: VideoFrame = next(islice(frames, alone[place] - film.begins[place], None))
        joints.append(
            Joint(
                clip=clip.number,
                frame=film.begins[place],
                at_s=at_s,
                black=any(start - JOINED_S <= at_s <= end + JOINED_S for start, end in seen.black),
                frozen=place > 0 and _apart(before, here) <= STILL,
                as_in_clip=_apart(own.to_image(), here) <= MOST_APART,  # type: ignore[no-untyped-call]
            )
        )
    steady = all(time - times[0] == number for number, time in enumerate(times))
    faults = _faults(film, made, seen.facts, len(times), steady, sound_s, loudness, joints)
    return Checked(
        seen.facts,
        len(times),
        steady,
        sound_s,
        loudness,
        seen.black,
        seen.frozen,
        seen.silent,
        tuple(joints),
        tuple(faults),
    )


COMPARED_PX, MOST_APART, STILL = 32, 16.0, 0.5
"""Two pictures of that size are of the same frame when their colours (0 to 255) are no further
apart, and nothing moves between them when they are that near."""


def _apart(one: Image, other: Image) -> float:
    from PIL import ImageChops, ImageStat

    size = (COMPARED_PX, COMPARED_PX)
    apart = ImageChops.difference(*(each.convert("RGB").resize(size) for each in (one, other)))
    return max(ImageStat.Stat(apart).mean)


def _faults(
    film: Film,
    made: Joined,
    facts: Mp4Facts,
    frames: int,
    steady: bool,
    sound_s: float,
    loudness: Loudness | None,
    joints: Sequence[Joint],
) -> Iterator[str]:
    if frames != film.frames:
        yield f"It has {frames} frames; the plan has {film.frames}."
    if not steady:
        yield "Its frames do not follow each other evenly."
    if (facts.width, facts.height) != film.size:
        wished = f"{film.size[0]}x{film.size[1]}"
        yield f"It is {facts.width}x{facts.height}; {wished} was wished."
    if film.sounds and abs(sound_s - film.seconds) > 1 / film.fps:
        yield f"Its sound is {sound_s:.3f} s long; the film is {float(film.seconds):.3f} s."
    aims = made.aims_lufs
    if aims is not None and loudness is None:
        yield "Nothing is heard in it."
    if aims is not None and loudness is not None and abs(loudness.lufs - aims) > SETTLED_LU:
        yield f"Its loudness is {loudness.lufs:.1f} LUFS; {aims:.1f} was aimed at."
    for joint in joints:
        if not joint.as_in_clip:
            yield f"At {joint.at_s:g} s it does not show the beginning of clip {joint.clip}."


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shot(_Kept):
    """What is known of a clip that no file tells: its task, prompt, model and cost in units."""

    task_id: str
    prompt: str = ""
    model_name: str = ""
    units: float | None = None


class ShotMade(Shot):
    """A shot in a sidecar: the name and SHA-256 of its clip, and where it is in the film."""

    number: int
    file: str
    sha256: str
    begins_frame: int
    frames: int


class MusicPlayed(_Kept):
    """The music in a sidecar."""

    file: str
    sha256: str
    volume: float
    fade_in_s: float
    fade_out_s: float
    loops: bool


class Sidecar(_Kept):
    """What stands beside a film. Fields are only ever added; `schema_version` counts when one
    changes its meaning."""

    kind: Literal["kling-mcp film"] = "kling-mcp film"
    schema_version: Literal[1] = 1
    name: str
    file: str
    sha256: str
    bytes: int
    width: int
    height: int
    fps: float
    frames: int
    seconds: float
    fit: Fit
    crossfade_s: float
    lufs: float | None
    peak_dbtp: float | None
    units: float | None
    music: MusicPlayed | None
    shots: list[ShotMade]


def describe(
    name: str, film: Film, made: Joined, checked: Checked, shots: Sequence[Shot]
) -> tuple[Path, Sidecar]:
    """Write what a film was made of to a JSON file beside it, and return both. An earlier sidecar
    of the same name is replaced; another file is left alone, and `-2` … is taken. Blocks: each clip
    is read for its SHA-256. Raises SaveFailed, and KlingError for a clip that cannot be read."""
    costs = [shot.units for shot in shots]
    music, loudness = film.music, checked.loudness
    sidecar = Sidecar(
        name=name,
        file=made.path.name,
        sha256=made.sha256,
        bytes=made.bytes,
        width=film.size[0],
        height=film.size[1],
        fps=round(float(film.fps), 3),
        frames=checked.frames,
        seconds=round(float(film.seconds), 3),
        fit=film.fit,
        crossfade_s=film.crossfade_s,
        lufs=round(loudness.lufs, 1) if loudness else None,
        peak_dbtp=round(loudness.peak_dbtp, 1) if loudness else None,
        units=None if None in costs else sum(filter(None, costs)),
        music=music
        and MusicPlayed(
            file=music.path.name,
            sha256=_sha256(music.path),
            volume=music.volume,
            fade_in_s=music.fade_in_s,
            fade_out_s=music.fade_out_s,
            loops=music.loops,
        ),
        shots=[
            ShotMade(
                **shot.model_dump(),
                number=clip.number,
                file=clip.path.name,
                sha256=_sha256(clip.path),
                begins_frame=begin,
                frames=length,
            )
            for shot, clip, begin, length in zip(
                shots, film.clips, film.begins, film.lengths, strict=True
            )
        ],
    )
    target = made.path.with_suffix(".json")
    with disk_errors(target, still=CLIPS_KEPT, again=JOIN_AGAIN):
        part = Part(target)
        try:
            part.append(sidecar.model_dump_json(indent=2).encode() + b"\n")
            part.sync()
            if not _is_sidecar(target):
                return part.claim()[0], sidecar
            part.close()
            part.path.replace(target)
            return target, sidecar
        finally:
            part.discard()


def _is_sidecar(path: Path) -> bool:
    try:
        Sidecar.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return False
    return True


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise KlingError(
            f"{path.name} cannot be read: {error.strerror or type(error).__name__}.",
            advice=f"Save it again, then {JOIN_AGAIN}.",
        ) from error
