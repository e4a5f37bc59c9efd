"""Default names are readable, short, and valid everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_mcp.outputs.part import numbered
from kling_mcp.outputs.storage import NAME_LIMIT_BYTES, default_name, name_fault, numbered_name

TASK = "829611643369439283"


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Slow zoom on the astronaut", f"slow-zoom-on-the-astronaut-{TASK}.mp4"),
        ("", f"kling-{TASK}.mp4"),
        ("🚀 !!! …", f"kling-{TASK}.mp4"),
        ("../../etc/passwd", f"etc-passwd-{TASK}.mp4"),
        ("<<<voice_1>>> says: “Hi!”", f"says-hi-{TASK}.mp4"),
        ("宇航员慢慢转身微笑", f"宇航员慢慢转身微笑-{TASK}.mp4"),
        ("नमस्ते दुनिया", f"नमस्ते-दुनिया-{TASK}.mp4"),
        ("a \ufb01lm", f"a-film-{TASK}.mp4"),
        ("CON", f"con-{TASK}.mp4"),
        ("a\x00b\nc", f"a-b-c-{TASK}.mp4"),
        (
            "the camera pulls back from the cup until the whole room is seen",
            f"the-camera-pulls-back-from-the-cup-until-{TASK}.mp4",
        ),
    ],
)
def test_the_first_words_and_the_task_make_the_name(prompt: str, name: str) -> None:
    assert default_name(prompt, TASK) == name


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        ("cat.jpg", f"cat-she-turns-her-head-{TASK}.mp4"),
        ("example.com/photos/My Cat (2).webp", f"my-cat-2-she-turns-her-head-{TASK}.mp4"),
        ("Ängström.JPEG", f"ängström-she-turns-her-head-{TASK}.mp4"),
        (
            "a-very-long-name-of-a-photograph.png",
            f"a-very-long-name-of-she-turns-her-head-{TASK}.mp4",
        ),
        ("inline picture", f"she-turns-her-head-{TASK}.mp4"),
        ("upload 1a2b3c", f"she-turns-her-head-{TASK}.mp4"),
        ("last frame of 829611643369439283", f"she-turns-her-head-{TASK}.mp4"),
    ],
)
def test_the_name_of_a_picture_comes_first(picture: str, name: str) -> None:
    assert default_name("She turns her head", TASK, picture=picture) == name


def test_a_second_video_of_a_task_is_told_apart() -> None:
    assert numbered_name(default_name("zoom", TASK), 2) == f"zoom-{TASK}-2.mp4"


def test_a_strange_task_id_cannot_leave_the_folder() -> None:
    assert default_name("zoom", "../a/b:c") == "zoom-a-b-c.mp4"


@given(prompt=st.text(), task_id=st.text(max_size=80), picture=st.text())
def test_every_default_name_is_valid_everywhere(prompt: str, task_id: str, picture: str) -> None:
    name = default_name(prompt, task_id, picture=f"{picture}.jpg")

    assert name_fault(name) is None
    assert name.endswith(".mp4")
    assert "/" not in name
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("clip:stream.mp4", "the character :"),
        ("a\\b.mp4", "the character \\"),
        ("what?.mp4", "the character ?"),
        ("a\tb.mp4", "U+0009"),
        ("a\u202e4pm.mp4", "U+202E"),
        ("aux.mp4", "device"),
        ("Com1 .tar.mp4", "device"),
        ("x" * NAME_LIMIT_BYTES + ".mp4", "longer"),
    ],
)
def test_a_name_that_some_system_refuses_is_told_why(name: str, fault: str) -> None:
    assert fault in str(name_fault(name))


def test_a_usual_name_has_no_fault() -> None:
    assert name_fault("Ästhetik & Form (2), v1.5.mp4") is None


def test_numbers_stand_before_the_suffix() -> None:
    names = numbered("a.b.mp4")

    assert [next(names) for _ in range(3)] == ["a.b.mp4", "a.b-2.mp4", "a.b-3.mp4"]
