"""Samples of a voice: opened from a path or a data: URI, and held against Kling's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from kling_mcp.inputs.inline import decode_data_uri
from kling_mcp.inputs.media import listened
from kling_mcp.inputs.path import open_file_url, open_path
from kling_mcp.inputs.policy import PicturePolicy
from kling_tools.faults import Fault
from kling_tools.rules.media_limits import SILENT, VOICE_SAMPLE

__all__ = ["judge_sample", "judge_sound"]

SHORTEST_S, LONGEST_S = VOICE_SAMPLE.seconds

SOURCE = "Kling's page of voice management"
_OPENER = "sample"


@dataclass(frozen=True, slots=True)
class _Sound:
    """`seconds` are those of the sound that was read; it stops after LONGEST_S and a little."""

    seconds: float
    loudest: float


async def judge_sample(field: str, value: str, policy: PicturePolicy) -> list[Fault]:
    """The faults of a sample that was given as a path, a file: URL or a data: URI. Raises Refusal
    when it cannot be opened. The work is done in a thread."""

    def judged() -> list[Fault]:
        if value.lower().startswith("data:"):
            held = decode_data_uri(value, policy.decoding)
        elif value.lower().startswith("file:"):
            held = open_file_url(value, policy)
        else:
            held = open_path(value, policy)
        held.hold(_OPENER)
        try:
            return _judged(field, held.label or "the sample", held.view())
        finally:
            held.let_go(_OPENER)

    return await policy.decoding.run(judged)


async def judge_sound(field: str, label: str, path: Path, policy: PicturePolicy) -> list[Fault]:
    """The faults of the sound of a saved video. The work is done in a thread."""
    return await policy.decoding.run(partial(_judged, field, label, path))


def _judged(field: str, label: str, source: IO[bytes] | Path) -> list[Fault]:
    return [
        Fault(field, rule, message, use, SOURCE)
        for rule, message, use in _breaches(label, _sound(source))
    ]


def _breaches(label: str, sound: _Sound | None) -> Iterator[tuple[str, str, str]]:
    if sound is None:
        yield (
            "sample_type",
            f"{label} has no sound that can be read.",
            "an mp3, wav, mp4 or mov with one clear voice",
        )
    elif sound.seconds < SHORTEST_S:
        yield (
            "sample_short",
            f"{label} is {sound.seconds:.1f} s long; a sample has 5 to 30 s.",
            "a longer sample",
        )
    elif sound.seconds > LONGEST_S:
        yield (
            "sample_long",
            f"{label} is longer than 30 s; a sample has 5 to 30 s.",
            "the clearest 5 to 30 s of it",
        )
    if sound is not None and sound.loudest < SILENT:
        yield ("sample_silent", f"{label} is silent.", "a sample in which one person speaks")


def _sound(source: IO[bytes] | Path) -> _Sound | None:
    """The first sound of a file; None when it has none that FFmpeg can read."""
    import av  # it loads a hundred megabytes

    opened: Any = str(source) if isinstance(source, Path) else source
    try:
        with av.open(opened, "r") as container:
            if not container.streams.audio:
                return None
            seconds, loudest = listened(container, LONGEST_S)
    except (OSError, ValueError):  # av's own errors are both
        return None
    return _Sound(seconds, loudest) if seconds else None
