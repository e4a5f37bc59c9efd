"""A finished film is read back from its file, and described in a JSON file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kling_mcp.inputs.decoding import Decoding
from kling_mcp.inputs.mp4 import Mp4Facts
from kling_mcp.outputs.ffmpeg_filters import JOINED_S, Stretch, may_ask_for, outside, watch
from kling_mcp.outputs.film_plan import Film, Fit
from kling_mcp.outputs.film_tracks import JOINING, clip_pictures
from kling_mcp.outputs.films import CLIPS_KEPT, JOIN_AGAIN, Joined, Loudness, loudness_of
from kling_mcp.outputs.frames import frame_times, opened
from kling_mcp.outputs.part import Part, disk_errors
from kling_tools.errors import KlingError
from kling_tools.quoting import listed_shots

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

__all__ = ["Checked", "Joint", "Shot", "ShotMade", "Sidecar", "carried", "check", "describe"]

SETTLED_LU = 1.0
"""How far a film's loudness may be from its aim."""


@dataclass(frozen=True, slots=True)
class Joint:
    """Where a clip begins in a film: the clip's number, the film's frame and second. `as_in_clip`:
    the first frame that the clip has for itself is the clip's own."""

    clip: int
    frame: int
    at_s: float
    as_in_clip: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What a finished film holds, read back from its file; stretches are in seconds. `faults` are
    sentences about what is not as the plan says, and `unasked` about what no prompt asks for; both
    are empty when all is well."""

    facts: Mp4Facts
    frames: int
    steady: bool
    sound_s: float
    loudness: Loudness | None
    black: tuple[Stretch, ...]
    frozen: tuple[Stretch, ...]
    joints: tuple[Joint, ...]
    faults: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()


def check(
    film: Film, made: Joined, prompts: Sequence[str] = (), decoding: Decoding = JOINING
) -> Checked:
    """Read a joined film back from its file and hold it against its plan, and its black and still
    stretches against the `prompts` of its clips. Blocks for about as long as decoding it takes.
    Raises like `watch`, and KlingError for a clip that cannot be read."""
    with opened(made.path, decoding) as (container, _):
        stream = container.streams.video[0]
        times = [pts * (stream.time_base or 0) * film.fps for pts in frame_times(container)]
        audio = next(iter(container.streams.audio), None)
        sound_s, loudness = 0.0, None
        if audio is not None:
            sound_s = float((audio.duration or 0) * (audio.time_base or 0))
            container.seek(0)
            loudness = loudness_of(container.decode(audio))
    alone = [begin + film.overlap * (place > 0) for place, begin in enumerate(film.begins)]
    moments = [(min(frame, len(times) - 1) + Fraction(1, 2)) / film.fps for frame in alone]
    seen = watch(made.path, moments, decoding=decoding)
    shown = [picture for _, picture in seen.frames]
    joints = []
    for place, clip in enumerate(film.clips):
        at_s = round(float(film.begins[place] / film.fps), 3)
        with closing(clip_pictures(film, clip, decoding)) as frames:
            own: VideoFrame = next(islice(frames, alone[place] - film.begins[place], None))
        joints.append(
            Joint(
                clip=clip.number,
                frame=film.begins[place],
                at_s=at_s,
                as_in_clip=_apart(own.to_image(), shown[place]) <= MOST_APART,  # type: ignore[no-untyped-call]
            )
        )
    found = Checked(
        facts=seen.facts,
        frames=len(times),
        steady=all(time - times[0] == number for number, time in enumerate(times)),
        sound_s=sound_s,
        loudness=loudness,
        black=seen.black,
        frozen=seen.frozen,
        joints=tuple(joints),
    )
    unasked = _unasked(film, found, prompts or [""] * len(film.clips))
    return replace(found, faults=tuple(_faults(film, made, found)), unasked=tuple(unasked))


COMPARED_PX, MOST_APART = 32, 16.0
"""Two pictures of that size are of the same frame when their colours (0 to 255) are no further
apart."""


def _apart(one: Image, other: Image) -> float:
    from PIL import ImageChops, ImageStat

    size = (COMPARED_PX, COMPARED_PX)
    apart = ImageChops.difference(*(each.convert("RGB").resize(size) for each in (one, other)))
    return max(ImageStat.Stat(apart).mean)


def _faults(film: Film, made: Joined, found: Checked) -> Iterator[str]:
    size = found.facts.width, found.facts.height
    aims, loudness = made.aims_lufs, found.loudness
    if found.frames != film.frames:
        yield f"It has {found.frames} frames; the plan has {film.frames}."
    if not found.steady:
        yield "Its frames do not follow each other evenly."
    if size != film.size:
        yield f"It is {size[0]}x{size[1]}; {film.size[0]}x{film.size[1]} was wished."
    if film.sounds and abs(found.sound_s - film.seconds) > 1 / film.fps:
        yield f"Its sound is {found.sound_s:.3f} s long; the film is {float(film.seconds):.3f} s."
    if aims is not None and loudness is None:
        yield "Nothing is heard in it."
    if aims is not None and loudness is not None and abs(loudness.lufs - aims) > SETTLED_LU:
        yield f"Its loudness is {loudness.lufs:.1f} LUFS; {aims:.1f} was aimed at."
    if loudness is not None and loudness.peak_dbtp > 0:
        yield f"Its loudest peak is {loudness.peak_dbtp:.1f} dB above full scale: it may distort."
    for joint in found.joints:
        if not joint.as_in_clip:
            yield f"At {joint.at_s:g} s it does not show the beginning of clip {joint.clip}."


def _unasked(film: Film, found: Checked, prompts: Sequence[str]) -> Iterator[str]:
    """The black and the still stretches that no prompt of their shots asks for."""
    told = False
    for kind, stretches, says in (
        ("black", found.black, "It is black"),
        ("frozen", outside(found.frozen, found.black), "Nothing moves in it"),
    ):
        for start, end in stretches:
            shots = [
                place
                for place, (begin, length) in enumerate(zip(film.begins, film.lengths, strict=True))
                if start < (begin + length) / film.fps - JOINED_S
                and begin / film.fps + JOINED_S < end
            ]
            if shots and all(may_ask_for(kind, prompts[place]) for place in shots):
                continue
            numbers = [film.clips[place].number for place in shots]
            where = f", in {listed_shots(numbers)}" if numbers else ""
            told = True
            yield f"{says} from {start:g} to {end:g} s{where}."
    if told:
        yield "Where that was not meant, kling_film with take: 2 of the shot keeps the others."


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
    sandbox: bool = False


def describe(
    name: str,
    film: Film,
    made: Joined,
    checked: Checked,
    shots: Sequence[Shot],
    *,
    paid: float | None = None,
    music_name: str = "",
    sandbox: bool = False,
) -> tuple[Path, Sidecar]:
    """Write what a film was made of to a JSON file beside it, and return both. Its units are those
    that were `paid` for it, by default the cost of its clips, each of which is paid once; the music
    is called by its `music_name`. An earlier sidecar of the same name is replaced; another file is
    left alone, and `-2` … is taken. Blocks: each clip is read for its SHA-256. Raises SaveFailed,
    and KlingError for a clip that cannot be read."""
    costs = [*{shot.task_id: shot.units for shot in shots}.values()]
    of_clips = None if None in costs else sum(filter(None, costs))
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
        units=of_clips if paid is None else paid,
        music=music
        and MusicPlayed(
            file=music_name or music.path.name,
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
        sandbox=sandbox,
    )
    return _write(sidecar, made.path), sidecar


def carried(sidecar: Path, film: Path) -> Path | None:
    """A film's sidecar, written anew beside the film at this path; None where it is gone. Raises
    SaveFailed. Blocks."""
    try:
        found = Sidecar.model_validate_json(sidecar.read_bytes())
    except (OSError, ValidationError):
        return None
    return _write(found.model_copy(update={"file": film.name}), film)


def _write(sidecar: Sidecar, film: Path) -> Path:
    """The file beside a film that has these facts now."""
    target = film.with_suffix(".json")
    with disk_errors(target, still=CLIPS_KEPT, again=JOIN_AGAIN):
        part = Part(target)
        try:
            part.append(sidecar.model_dump_json(indent=2).encode() + b"\n")
            part.sync()
            if not _is_sidecar(target):
                return part.claim()[0]
            part.close()
            part.path.replace(target)
            return target
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
