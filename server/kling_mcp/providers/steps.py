"""What the steps before a create answer: the faces of a video, and the sound of a text.

The result is kept as JSON in the message of the step's row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kling_mcp.providers.error_codes import unreadable
from kling_mcp.providers.task import Task
from kling_mcp.providers.values import identifier, mapping, number, text, web_address
from kling_tools.products import StepProduct

__all__ = ["Face", "faces_in", "is_readable", "read_step", "seconds_in"]

MOST_FACES = 20
"""The most faces of one video that are read."""

LONGEST_S = 3600.0
"""The most seconds that a video or a sound can last."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face: its id, the seconds from when to when it is seen, and the address of its
    picture."""

    id: str
    from_s: float
    to_s: float
    picture: str = ""


def read_step(document: Mapping[str, Any], step: StepProduct, provider: str) -> Task:
    """The answer to a step, as a task that has ended: its id is that of the session or the sound.
    Raises ProviderDown when the answer has none."""
    data = mapping(document.get("data"))
    found = _faces(data) if step == "face-check" else _sound(data)
    if not found[0]:
        raise unreadable(provider, "it names no session" if step == "face-check" else "no sound")
    return Task(found[0], "succeed", message=json.dumps(found[1]), told=document)


def _faces(data: Mapping[str, Any]) -> tuple[str, Any]:
    listed = data.get("face_data")
    faces = [mapping(item) for item in listed[:MOST_FACES]] if isinstance(listed, list) else []
    read = [
        Face(
            identifier(face.get("face_id")),
            _seconds(face.get("start_time")),
            _seconds(face.get("end_time")),
            web_address(face.get("face_image")),
        )
        for face in faces
    ]
    known = sorted((face for face in read if face.id), key=lambda face: (face.from_s, face.id))
    return identifier(data.get("session_id")), [asdict(face) for face in known]


def _sound(data: Mapping[str, Any]) -> tuple[str, Any]:
    result = mapping(data.get("task_result")) or data
    listed = result.get("audios")
    first = mapping(listed[0]) if isinstance(listed, list) and listed else {}
    return identifier(first.get("id")), {
        "seconds": number(text(first.get("duration")) or first.get("duration"), LONGEST_S),
        "url": web_address(first.get("url")),
    }


def _seconds(milliseconds: Any) -> float:
    return (number(milliseconds, LONGEST_S * 1000) or 0.0) / 1000


def is_readable(message: str, step: StepProduct) -> bool:
    """Whether a row of this step kept what it answered: one that is damaged did not."""
    try:
        faces_in(message) if step == "face-check" else seconds_in(message)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False
    return True


def faces_in(message: str) -> list[Face]:
    """The faces that a row of a face check kept."""
    return [Face(**face) for face in json.loads(message)]


def seconds_in(message: str) -> float | None:
    """The length of the sound that a row of a speech kept; None if it was not told."""
    seconds: float | None = json.loads(message)["seconds"]
    return seconds
