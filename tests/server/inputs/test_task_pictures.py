"""Pictures that are frames of tasks go the way of all others, and are made once for a request."""

from base64 import b64encode

from tests.server.inputs.made_pictures import opened, picture_bytes, rules, sent, warned

from kling_mcp.inputs.picture_rules import BYTES_MAX
from kling_mcp.inputs.policy import PicturePolicy, TaskPicture
from kling_tools.errors import KlingError, TaskFailed

LAST = "kling://tasks/t-1/frames/last"


def policy(*pictures: TaskPicture | KlingError) -> tuple[PicturePolicy, list[str]]:
    """A policy whose tasks give these pictures one after the other, and what was asked for."""
    asked: list[str] = []
    given = iter(pictures)

    async def make(address: str) -> TaskPicture:
        asked.append(address)
        picture = next(given)
        if isinstance(picture, KlingError):
            raise picture
        return picture

    return PicturePolicy((), of_tasks=make), asked


def test_a_frame_in_two_fields_is_made_once_and_sent_as_it_is():
    data = picture_bytes()
    tasks, asked = policy(TaskPicture("last frame of t-1", data, "ab12"))

    with opened([("image", LAST), ("image_tail", LAST)], tasks) as (pictures, verdict):
        assert [sent(picture) for picture in pictures] == [b64encode(data)] * 2
        assert {picture.sha256 for picture in pictures} == {"ab12"}
        assert {(picture.kind, picture.label) for picture in pictures} == {
            ("task", "last frame of t-1")
        }
        assert verdict.faults == verdict.warnings == []
    assert asked == [LAST]


def test_a_frame_too_large_for_kling_is_sent_as_a_jpeg_and_said_to_be():
    data = picture_bytes(size=(2000, 1900), noise=True, compress_level=1)
    assert len(data) > BYTES_MAX
    tasks, _ = policy(TaskPicture("last frame of t-1", data, "ab12"))

    with opened([("image", LAST)], tasks) as ((picture,), verdict):
        assert rules(verdict) == []
        assert (picture.format, picture.width, picture.height) == ("JPEG", 2000, 1900)
        assert picture.sha256 == "ab12"
        assert picture.converted.startswith("sent as JPEG 2000x1900 from PNG, it had ")
        assert warned(verdict) == []


def test_why_there_is_no_frame_is_a_fault_of_every_field_that_asked():
    failed = TaskFailed("Task t-1 failed.", task_id="t-1", charged="no", advice="Make it anew.")
    tasks, asked = policy(failed)

    with opened([("image", LAST), ("image_tail", LAST)], tasks) as (pictures, verdict):
        assert pictures == [None, None]
        assert [str(fault) for fault in verdict.faults] == [
            "image: Task t-1 failed. Make it anew.",
            "image_tail: Task t-1 failed. Make it anew.",
        ]
    assert asked == [LAST]
