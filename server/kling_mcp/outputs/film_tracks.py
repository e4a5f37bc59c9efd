"""The pictures and the sound of a film, each as one stream made of many clips.

At most two clips are open at once, and no clip is ever held whole: how much memory a film takes
depends on its size in px, not on its length.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.decoding import Decoding, DecodingLimits
from kling_mcp.inputs.file_type import HEAD_BYTES, detect
from kling_mcp.inputs.media import reader_of
from kling_mcp.inputs.mp4 import check_structure, open_mp4
from kling_mcp.outputs.ffmpeg_filters import Source, filtered
from kling_mcp.outputs.film_plan import RATE_HZ, Clip, Film, Music, frames_in, rounded
from kling_mcp.outputs.frames import in_time, opened
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.filter import Graph
    from av.filter.context import FilterContext

__all__ = [
    "JOINING",
    "SINK",
    "Filters",
    "clip_pictures",
    "pictures",
    "read_clip",
    "read_music",
    "sounds",
    "stereo",
]

JOINING = Decoding(DecodingLimits(threads=1, wait_s=60.0, video_s=3_600.0))
"""Films are joined one at a time, in a thread and a budget of memory of their own: a look at
another video does not wait for them. 512 MB hold the decoders of two clips in 4k."""

DECLICK = RATE_HZ // 200
"""Samples (5 ms) over which a sound begins and ends at a cut: a jump of the wave is a click."""


def read_clip(path: Path, number: int = 1, decoding: Decoding = JOINING) -> Clip:
    """What there is to know of a clip before it is joined; its index and first frame are read.
    Blocks. Raises KlingError for a file that is no whole MP4 with a video."""
    with _naming(number, path), opened(path, decoding) as (container, frames):
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.time_base is None:
            raise NotWholeMp4("The file holds no video, only sound or data.")
        shown = sorted(
            (packet.pts, packet.duration or 0)
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        )
        if not shown:
            raise NotWholeMp4("The video has no frames.")
        container.seek(shown[0][0], stream=stream)
        first = next(frames, None)
        if first is None:
            raise NotWholeMp4("No frame of the video can be decoded.")
        fps = Fraction(stream.average_rate or stream.guessed_rate or 24)
        last = shown[-1][1] * stream.time_base or 1 / fps  # some files do not tell it
        shape = stream.sample_aspect_ratio or Fraction(1)
        sides = [round(first.width * shape), first.height]
        width, height = reversed(sides) if first.rotation % 180 else sides
        audio = next(iter(container.streams.audio), None)
        return Clip(
            number=number,
            path=path,
            seconds=(shown[-1][0] - shown[0][0]) * stream.time_base + last,
            width=width,
            height=height,
            fps=fps,
            begins=shown[0][0] * stream.time_base,
            sound=audio is not None and bool(getattr(audio.codec_context, "sample_rate", 0)),
        )


LONGEST_S = 3_600
"""Seconds of a sound file that are read: no film is longer."""


def read_music(path: Path, decoding: Decoding = JOINING, **how: Any) -> Music:
    """The music in a sound file; its length is found by decoding it. `how` are the further fields
    of `Music`. Blocks. Raises KlingError for a file without a sound that can be read."""
    samples = 0
    with closing(_music_file(path, decoding)) as frames:
        for frame in frames:
            samples += frame.samples
            if samples >= LONGEST_S * RATE_HZ:
                break
    if not samples:
        raise _bad_music(path, "has no sound that can be read")
    return Music(path=path, seconds=Fraction(samples, RATE_HZ), **how)


def pictures(film: Film, decoding: Decoding = JOINING) -> Generator[VideoFrame, None, None]:
    """Every frame of the film in order, numbered from 0, `film.frames` of them. The first frame of
    each clip that follows a cut is a key frame. Raises KlingError, naming the clip."""
    with ExitStack() as stack:
        clips = [stack.enter_context(closing(clip_pictures(film, c, decoding))) for c in film.clips]
        number, overlap = 0, film.overlap
        for place, (clip, length) in enumerate(zip(clips, film.lengths, strict=True)):
            before, after = overlap * (place > 0), overlap * (place < len(clips) - 1)
            alone = islice(clip, length - before - after)
            fading = _faded(film, clip, clips[place + 1]) if after else ()
            for index, frame in enumerate(chain(alone, fading)):
                frame.pict_type = KEY if not index and not before else ANY
                yield _numbered(frame, number, 1 / film.fps)
                number += 1
            clip.close()


def sounds(
    film: Film, filters: Filters = (), decoding: Decoding = JOINING
) -> Generator[AudioFrame, None, None]:
    """The sound of the whole film, of the clips and the music together, as stereo floats, exactly
    as long as its pictures. The `filters` are applied to it."""
    length = film.sample(film.frames)
    lanes = [_lane(film, range(first, len(film.clips), 2), decoding) for first in range(2)]
    lanes = lanes[: len(film.clips)]
    if film.music is not None:
        lanes.append(_music(film, film.music, decoding))
    with ExitStack() as stack:
        for lane in lanes:
            stack.enter_context(closing(lane))
        mixed = (("amix", f"inputs={len(lanes)}:normalize=0:duration=longest"), *filters)
        ending = (*STEREO, *_lasting(length))
        yield from filtered([(stereo, lane) for lane in lanes], (*mixed, *ending), SINK)


KEY, ANY = 1, 0
"""FFmpeg's kinds of frames: what one was in its clip is no order to the encoder of the film."""

Filters = tuple[tuple[str, str], ...]

STEREO: Filters = (
    ("aresample", f"{RATE_HZ}:async=1:first_pts=0"),
    ("aformat", f"sample_fmts=fltp:sample_rates={RATE_HZ}:channel_layouts=stereo"),
)
SINK = "abuffersink"


def stereo(graph: Graph) -> FilterContext:
    """The beginning of a graph that takes a film's sound."""
    return graph.add_abuffer(sample_rate=RATE_HZ, format="fltp", layout="stereo")


TURNS: dict[int, Filters] = {
    90: (("transpose", "cclock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "clock"),),
}
"""What shows a picture upright that its file says to turn, by degrees counterclockwise."""

UNSPECIFIED = 2
HD_LINES = 576
"""A picture of more lines that does not name its colours has those of HD television (BT.709), as
players take it; FFmpeg's scaler takes BT.601."""


def clip_pictures(
    film: Film, clip: Clip, decoding: Decoding = JOINING
) -> Generator[VideoFrame, None, None]:
    """Frames of a clip in the film's size, frame rate and colours, exactly as many as it has there:
    what its file lacks at the end is its last frame."""
    width, height = film.size
    length, fps = frames_in(clip.seconds, film.fps), film.fps
    with _naming(clip.number, clip.path), opened(clip.path, decoding) as (container, frames):
        stream = container.streams.video[0]
        first = next(frames, None)
        if first is None:
            raise NotWholeMp4("No frame of the video can be decoded.")
        source = _pictured(
            video_size=f"{first.width}x{first.height}",
            pix_fmt=first.format.name,
            time_base=str(stream.time_base),
            pixel_aspect=str(stream.sample_aspect_ratio or 1),
            colorspace=str(int(first.colorspace)),
            range=str(int(first.color_range)),
        )
        unnamed = first.colorspace == UNSPECIFIED and first.height > HD_LINES
        covers = film.fit == "cover" or film.is_shape_of(clip)
        fits = "increase" if covers else "decrease"
        edge = f"{width}:{height}"
        filters = (
            *TURNS.get(first.rotation % 360, ()),
            ("setpts", "PTS-STARTPTS"),
            ("fps", f"fps={fps}:start_time=0:round=near"),
            (
                "scale",
                f"{edge}:force_original_aspect_ratio={fits}:reset_sar=1:flags=bicubic+accurate_rnd:"
                f"in_color_matrix={'bt709' if unnamed else 'auto'}:"
                "out_color_matrix=bt709:out_range=tv",
            ),
            ("format", "yuv420p"),
            ("crop", edge) if covers else ("pad", f"{edge}:-1:-1"),
            ("setsar", "1"),
            ("tpad", "stop=-1:stop_mode=clone"),
            ("trim", f"end_frame={length}"),
        )
        yield from filtered([(source, chain((first,), frames))], filters)


def _faded(
    film: Film, ending: Iterator[VideoFrame], beginning: Iterator[VideoFrame]
) -> Iterator[VideoFrame]:
    """The frames in which one clip becomes the next one."""
    source = _pictured(
        video_size=f"{film.size[0]}x{film.size[1]}",
        pix_fmt="yuv420p",
        time_base=str(1 / film.fps),
        frame_rate=str(film.fps),
        pixel_aspect="1/1",
        colorspace="bt709",
        range="tv",
    )
    both = [
        (source, (_numbered(f, n, 1 / film.fps) for n, f in enumerate(islice(side, film.overlap))))
        for side in (ending, beginning)
    ]
    seconds = f"{float(film.overlap / film.fps):.6f}"
    last = ("trim", f"end_frame={film.overlap}")
    yield from filtered(both, (("xfade", f"fade:duration={seconds}:offset=0"), last))


def _lane(film: Film, places: range, decoding: Decoding) -> Generator[AudioFrame, None, None]:
    """Sounds of every second clip, each in its time, with silence between them: of clips that fade
    into each other one is in each lane."""
    heard = written = 0
    for place in places:
        begin = film.begins[place]
        starts, ends = film.sample(begin), film.sample(begin + film.lengths[place])
        fade = max(DECLICK, film.sample(begin + film.overlap) - starts)
        fades = (
            fade if place else DECLICK,
            fade if place < len(film.clips) - 1 else DECLICK,
        )
        for frame in _clip_sound(film.clips[place], starts - heard, ends - starts, fades, decoding):
            yield _numbered(frame, written, Fraction(1, RATE_HZ))
            written += frame.samples
        heard = ends


def _clip_sound(
    clip: Clip, silence: int, length: int, fades: tuple[int, int], decoding: Decoding
) -> Iterator[AudioFrame]:
    """So many samples of silence, then those of a clip; of silence where it has none."""
    fade_in, fade_out = (min(fade, length // 2) for fade in fades)
    faded = (
        ("afade", f"in:ss=0:ns={fade_in}:curve=qsin"),
        ("afade", f"out:ss={length - fade_out}:ns={fade_out}:curve=qsin"),
    )
    later = (("adelay", f"{silence}S:all=1"),) if silence else ()
    with ExitStack() as stack:
        stack.enter_context(_naming(clip.number, clip.path))
        frames: Iterator[AudioFrame] = iter(())
        shift: Filters = ()
        if clip.sound:
            file = stack.enter_context(clip.path.open("rb"))
            container = stack.enter_context(open_mp4(file))
            frames = in_time(container.decode(audio=0), decoding.limits.video_s)
            shift = (("asetpts", f"PTS-{float(clip.begins):.6f}/TB"),)
        yield from _resampled(frames, (*shift, *STEREO, *_lasting(length), *faded, *later))


def _music(film: Film, music: Music, decoding: Decoding) -> Generator[AudioFrame, None, None]:
    """The music of a film, as loud and as long as it is wished, then silence."""
    length = rounded(film.music_s * RATE_HZ)
    fade_in, fade_out = (
        max(DECLICK, rounded(Fraction(s) * RATE_HZ)) for s in (music.fade_in_s, music.fade_out_s)
    )
    filters = (
        ("volume", f"{music.volume:.6f}"),
        *_lasting(length),
        ("afade", f"in:ss=0:ns={fade_in}"),
        ("afade", f"out:ss={max(0, length - fade_out)}:ns={fade_out}"),
    )

    def playing() -> Iterator[AudioFrame]:
        written = 0
        while True:
            began = written
            for frame in _music_file(music.path, decoding):
                yield _numbered(frame, written, Fraction(1, RATE_HZ))
                written += frame.samples
            if not music.loops or written == began:
                return

    yield from filtered([(stereo, playing())], filters, SINK)


def _music_file(path: Path, decoding: Decoding) -> Generator[AudioFrame, None, None]:
    """The sound of a file once, as stereo floats. Raises KlingError for one that has none."""
    import av

    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            reader = reader_of(head)
            if reader is None:
                raise _bad_music(path, f"is {detect(head).said}")
            if reader == "mp4":
                check_structure(file, file.seek(0, 2), quicktime=True)
            file.seek(0)
            with av.open(file, "r", format=reader, metadata_errors="replace") as container:
                if not container.streams.audio:
                    raise _bad_music(path, "is a video without sound")
                frames = in_time(container.decode(audio=0), decoding.limits.video_s)
                yield from _resampled(frames, (("asetpts", "PTS-STARTPTS"), *STEREO))
    except NotWholeMp4 as error:
        raise _bad_music(path, f"cannot be read. {error.reason}") from error
    except av.FFmpegError as error:
        raise _bad_music(path, f"is damaged: FFmpeg says {error.strerror!r}") from error
    except OSError as error:
        raise _bad_music(path, f"cannot be read: {error.strerror}") from error


def _bad_music(path: Path, what: str) -> KlingError:
    return KlingError(
        f"The music {path.name} {what.rstrip('.')}.",
        advice="Give a sound file (MP3, WAV, M4A or AAC), or none.",
    )


def _resampled(frames: Iterator[AudioFrame], filters: Filters) -> Iterator[AudioFrame]:
    """The frames through filters that make the film's sound of them; none are silence."""
    first = next(frames, None)
    if first is None:
        yield from filtered([(stereo, frames)], filters, SINK)
        return
    rate_hz, kind, layout, base = first.sample_rate, first.format, first.layout, first.time_base

    def source(graph: Graph) -> FilterContext:
        return graph.add_abuffer(
            sample_rate=rate_hz, format=kind.name, layout=layout.name, time_base=base
        )

    yield from filtered([(source, chain((first,), frames))], filters, SINK)


def _pictured(**of: str) -> Source:
    """The beginning of a graph that takes pictures of that kind."""
    return lambda graph: graph.add("buffer", None, **of)


def _lasting(samples: int) -> Filters:
    """What makes a sound exactly as long as that."""
    return (("apad", f"whole_len={samples}"), ("atrim", f"end_sample={samples}"))


def _numbered(frame: Any, pts: int, time_base: Fraction) -> Any:
    """The frame at another time."""
    frame.pts, frame.time_base = pts, time_base
    return frame


@contextmanager
def _naming(number: int, path: Path) -> Iterator[None]:
    """Says which clip it is that cannot be read."""
    import av

    try:
        yield
    except NotWholeMp4 as error:
        reason = error.reason
    except av.FFmpegError as error:
        reason = f"The file is damaged: FFmpeg says {error.strerror!r}."
    except OSError as error:
        reason = f"The file cannot be read: {error.strerror or type(error).__name__}."
    else:
        return
    raise KlingError(
        f"Clip {number} ({path.name}) cannot be joined. {reason}",
        advice="Save this clip again, then join again: its file is fetched anew, and no clip is "
        "paid twice.",
    )
