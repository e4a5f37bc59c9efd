"""An assistant sees a finished video, and hears what in it is not as it was asked for."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from httpx import ByteStream, Response
from mcp import Client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image, ImageChops, ImageOps
from tests.made_clips import make_film
from tests.sampling import sampled
from tests.server.scripted import CREATE, Scripted, ends_with_video, facts, talking_to
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.outputs.ffmpeg_filters import watch
from kling_mcp.outputs.look import DETAIL_BYTES, JPEG_BYTES, sheet_jpeg
from kling_mcp.protocol.server import build_server

LOOK = "kling_look"
SIZE = (128, 96)
FRAMES = 63
"""At 24 a second that is 2.6 s, as near to 3 s as Kling's own clips are."""

SETTLING_S = 0.6
"""In which the encoder still refines a picture that stands."""

WISH = {"model_name": "kling-v3", "duration": 3, "prompt": "The camera comes closer"}


def landscape(box: float = 0.0, *, centre: tuple[float, float] = (-2.0, -1.0)) -> Image.Image:
    """A picture with much in it, seen from nearer the larger the box."""
    x, y = centre
    extent = (x + box, y + box, x + 3 - box, y + 2 - box)
    return Image.effect_mandelbrot(SIZE, extent, 40).convert("RGB")


BLACK = Image.new("RGB", SIZE, (2, 2, 3))
MOVING = [landscape(n * 0.003) for n in range(FRAMES)]
FROZEN = [MOVING[0]] * FRAMES
ELSEWHERE = [ImageOps.invert(frame.rotate(90)) for frame in MOVING]
HALF = FRAMES // 2


def still_with_a_blink() -> list[Image.Image]:
    """One picture in which only a spot of 1 in 300 pixels opens and closes."""
    shown = []
    for number in range(FRAMES):
        frame = MOVING[0].copy()
        frame.paste((30, 30, 30), (60, 40, 69, 41 + number % 12 // 3))
        shown.append(frame)
    return shown


def flash() -> list[Image.Image]:
    """Two frames of light."""
    white = Image.new("RGB", SIZE, (250, 250, 250))
    return [*MOVING[:30], white, white, *MOVING[32:]]


def night() -> list[Image.Image]:
    """A sky that is nearly black, with stars."""
    sky = ImageOps.colorize(Image.linear_gradient("L").resize(SIZE), (6, 8, 20), (12, 14, 26))
    for place in range(40):
        sky.putpixel((place * 37 % SIZE[0], place * 53 % SIZE[1]), (230, 230, 240))
    return [ImageChops.offset(sky, number // 2, 0) for number in range(FRAMES)]


def dissolve() -> list[Image.Image]:
    """One picture becomes another within half a second."""
    shares = [min(max((number - 25) / 12, 0.0), 1.0) for number in range(FRAMES)]
    return [Image.blend(*pair) for pair in zip(MOVING, ELSEWHERE, shares, strict=True)]


def shaken() -> list[Image.Image]:
    """As a hand holds a camera, badly."""
    return [
        ImageChops.offset(frame, number * 7 % 11, number * 5 % 7)
        for number, frame in enumerate(MOVING)
    ]


def whip() -> list[Image.Image]:
    """The camera is torn around within a third of a second."""
    shifts = [SIZE[0] * min(max(number - 25, 0), 8) // 8 for number in range(FRAMES)]
    return [ImageChops.offset(frame, -by, 0) for frame, by in zip(MOVING, shifts, strict=True)]


CASES: dict[str, tuple[Callable[[], Sequence[Image.Image]], dict[str, Any], float | None, Any]] = {
    "moving": (lambda: MOVING, {}, None, {}),
    "a blink": (still_with_a_blink, {}, None, {}),
    "a flash": (flash, {}, None, {}),
    "a starry night": (night, {}, None, {}),
    "a dissolve": (dissolve, {}, None, {}),
    "a shaken camera": (shaken, {}, None, {}),
    "a whip pan": (whip, {}, None, {}),
    "still by wish": (lambda: FROZEN, {"prompt": "She holds perfectly still"}, None, {}),
    "frozen": (lambda: FROZEN, {}, None, {"frozen": (0, 2.6)}),
    "frozen at the end": (
        lambda: [*MOVING[:24], *[MOVING[24]] * 39],
        {},
        None,
        {"frozen": (1.0, 2.6)},
    ),
    "black at the end": (
        lambda: [*MOVING[:48], *[BLACK] * 15],
        {},
        None,
        {"black": (2.0, 2.6)},
    ),
    "black by wish": (
        lambda: [*MOVING[:48], *[BLACK] * 15],
        {"prompt": "At the end it fades to black"},
        None,
        {},
    ),
    "all black": (lambda: [BLACK] * FRAMES, {}, None, {"black": (0, 2.6)}),
    "cut": (lambda: [*MOVING[:HALF], *ELSEWHERE[HALF:]], {}, None, {"cut": (1.3, 1.3)}),
    "cut by wish": (
        lambda: [*MOVING[:HALF], *ELSEWHERE[HALF:]],
        {
            "prompt": "",
            "multi_shot": True,
            "shot_type": "customize",
            "multi_prompt": [{"prompt": "near", "duration": 1}, {"prompt": "far", "duration": 2}],
        },
        None,
        {},
    ),
    "with sound": (lambda: MOVING, {"sound": "on"}, 0.3, {}),
    "silent": (lambda: MOVING, {"sound": "on"}, 0.0, {"silent": (0, 2.6)}),
    "without sound": (lambda: MOVING, {"sound": "on"}, None, {"silent": (0, 2.6)}),
    "sound that nobody paid for": (lambda: MOVING, {}, 0.0, {}),
    "too short": (lambda: MOVING[:40], {}, None, {"length": (1.7, 3)}),
}

MORE_OF_A_KIND = (
    *("a flash", "a starry night", "a shaken camera", "a whip pan", "frozen at the end"),
    *("all black", "black by wish", "cut by wish", "without sound", "sound that nobody paid for"),
)


def shown(answer: CallToolResult) -> tuple[str, Image.Image]:
    """The text and the picture of an answer."""
    text, image = answer.content
    assert isinstance(text, TextContent)
    assert isinstance(image, ImageContent)
    assert image.mime_type == "image/jpeg"
    data = base64.b64decode(image.data)
    assert len(data) <= DETAIL_BYTES
    return text.text, Image.open(io.BytesIO(data))


def serving(clip: Path) -> Scripted:
    """A provider whose every task has this video."""
    data = clip.read_bytes()
    return Scripted(
        ends_with_video("https://files.example/a.mp4"),
        lambda _: Response(200, stream=ByteStream(data)),
    )


async def made(client: Client, folder: Path, **wish: Any) -> str:
    """The id of a task with that wish."""
    answer = await client.call_tool(CREATE, {"image": picture(folder), **WISH, **wish})
    assert not answer.is_error, answer.content
    return str(facts(answer)["task_id"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "case",
    [pytest.param(n, marks=pytest.mark.campaign) if n in MORE_OF_A_KIND else n for n in CASES],
)
async def test_what_is_not_as_asked_for_is_found_and_nothing_else(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, wish, loudness, expected = CASES[case]
    clip = make_film(tmp_path / "made.mp4", pictures(), loudness=loudness)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        answer = await client.call_tool(LOOK, {"task_id": await made(client, tmp_path, **wish)})

    text, _ = shown(answer)
    found = {f["kind"]: (f["from_s"], f["to_s"]) for f in facts(answer)["findings"]}
    near_s = SETTLING_S if "frozen" in expected else 0.06
    assert found == {kind: pytest.approx(at, abs=near_s) for kind, at in expected.items()}
    assert ("Nothing amiss was found." in text) == (not expected)
    for finding in facts(answer)["findings"]:
        assert f"{finding['says']} {finding['next']}" in text
        assert "costs about" in finding["next"]
    assert ("another_take" in facts(answer)) == bool(expected)


@pytest.mark.anyio
async def test_the_next_step_names_its_price_and_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", [*MOVING[:48], *[BLACK] * 15])
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        task_id = await made(client, tmp_path)
        answer = facts(await client.call_tool(LOOK, {"task_id": task_id}))
        (finding,) = answer["findings"]
        take = answer["another_take"]
        priced = facts(await client.call_tool(take["tool"], {**take["arguments"], "dry_run": True}))

    assert finding["says"].startswith("The picture is black from 2 to 2.6")
    assert "costs nothing" in finding["next"]
    assert "about 1.8 units (0.25 USD list price)" in finding["next"]
    assert (priced["estimate_units"], priced["take"]) == (take["estimate_units"], 2)


@pytest.mark.anyio
async def test_the_end_is_held_against_the_picture_that_was_wished_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    same, other = tmp_path / "same.png", tmp_path / "other.png"
    MOVING[-1].resize((640, 480)).save(same)
    ELSEWHERE[-1].resize((640, 480)).save(other)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        first = await made(client, tmp_path, image=str(same), image_tail=str(other))
        alone = await client.call_tool(LOOK, {"task_id": first})
        asked = {"task_id": await made(client, tmp_path, image=str(same), image_tail=str(same))}
        good = await client.call_tool(LOOK, {**asked, "image_tail": str(same)})
        bad = await client.call_tool(LOOK, {**asked, "image_tail": str(other)})
        missing = await client.call_tool(LOOK, {**asked, "image_tail": "nowhere.png"})
        same.unlink()
        gone = await client.call_tool(LOOK, asked)

    assert [f["kind"] for f in facts(alone)["findings"]] == ["image_tail"]
    assert facts(alone)["shows"].endswith("; image_tail beside the last")
    assert facts(good)["findings"] == facts(gone)["findings"] == []
    assert "Not compared with image and image_tail" in shown(gone)[0]
    assert facts(good)["shows"] == "the last frame beside image_tail"
    (finding,) = facts(bad)["findings"]
    assert finding["says"] == "Its last frame does not look like image_tail."
    assert "another one than that of the request: leave image_tail out" in finding["next"]
    assert "costs about" not in finding["next"]
    assert "another_take" not in facts(bad)
    width, height = shown(bad)[1].size
    assert width > 2 * height
    assert missing.is_error
    assert facts(missing)["faults"][0]["field"] == "image_tail"


@pytest.mark.anyio
@pytest.mark.parametrize("fit", sampled([{}, {"fit": "1:1"}], 2))
async def test_a_picture_file_that_was_replaced_is_told_and_not_compared(
    fit: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    image = tmp_path / "image.png"
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        MOVING[0].resize((640, 480)).save(image)
        asked = {"task_id": await made(client, tmp_path, image=str(image), **fit)}
        before = facts(await client.call_tool(LOOK, asked))
        ELSEWHERE[0].resize((640, 480)).save(image)
        after = await client.call_tool(LOOK, asked)
        given = facts(await client.call_tool(LOOK, {**asked, "image": str(image)}))

    assert "image" not in [finding["kind"] for finding in before["findings"]]
    assert "not_compared" not in before
    assert "image" not in [finding["kind"] for finding in facts(after)["findings"]]
    assert facts(after)["not_compared"] == (
        "The picture file of image has changed since the request. "
        "Not compared with image: give the same again (no URL)."
    )
    assert facts(after)["not_compared"] in shown(after)[0]
    assert "image" in [finding["kind"] for finding in given["findings"]]


@pytest.mark.anyio
async def test_the_shape_is_held_against_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    wide = tmp_path / "wide.png"
    MOVING[0].resize((640, 300)).save(wide)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        asked = {"task_id": await made(client, tmp_path, image=str(wide))}
        (finding,) = facts(await client.call_tool(LOOK, asked))["findings"]

    assert finding["kind"] == "shape"
    assert finding["says"] == "It is 128x96; image is 640x300."


@pytest.mark.anyio
async def test_a_given_picture_that_may_be_another_one_is_doubted_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    other = tmp_path / "other.png"
    ELSEWHERE[0].resize((640, 480)).save(other)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        url = "https://pictures.example/cat.jpg"
        task_id = await made(client, tmp_path, image=url)
        answer = await client.call_tool(LOOK, {"task_id": task_id, "image": str(other)})

    (finding,) = [found for found in facts(answer)["findings"] if found["kind"] == "image"]
    assert finding["next"].startswith("First make sure that the picture given here is the one of")
    assert "costs about" in finding["next"]


@pytest.mark.anyio
async def test_an_end_picture_of_another_shape_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    image, tall = tmp_path / "image.png", tmp_path / "tall.png"
    MOVING[0].resize((640, 480)).save(image)
    ImageOps.fit(MOVING[-1], (480, 640)).save(tall)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        task_id = await made(client, tmp_path, image=str(image), image_tail=str(tall))
        answer = await client.call_tool(LOOK, {"task_id": task_id})

    assert "image_tail is 480x640, another shape than the video (128x96)" in shown(answer)[0]


@pytest.mark.anyio
async def test_the_answer_has_what_is_needed_to_judge_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        task_id = await made(client, tmp_path, prompt="A hat, " * 40)
        answer = await client.call_tool(LOOK, {"task_id": task_id})

    told = facts(answer)
    assert told["prompt"] == ("A hat, " * 40).strip()
    assert (told["model_name"], told["asked_s"], told["pictures"]) == ("kling-v3", 3, ["photo.png"])
    assert 'Asked for: "A hat, ' in shown(answer)[0]
    assert "Motion and the words of the prompt are yours to judge" in shown(answer)[0]


@pytest.mark.anyio
async def test_the_pictures_that_were_to_be_combined_are_shown_behind_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        pictures = [picture(tmp_path, name) for name in ("hat.png", "cat.png")]
        receipt = await client.call_tool(
            "kling_multi_image_to_video", {"image_list": pictures, "prompt": "A cat with a hat"}
        )
        assert not receipt.is_error, receipt.content
        answer = await client.call_tool(LOOK, {"task_id": facts(receipt)["task_id"]})

    assert facts(answer)["shows"].startswith("10 frames from 0.00 s")
    assert "image_list[0], image_list[1] behind them" in facts(answer)["shows"]
    assert "see whether the video shows what is in them" in facts(answer)["not_compared"]


@pytest.mark.anyio
async def test_a_picture_that_came_as_bytes_is_named_as_to_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", FROZEN)
    data = base64.b64encode(Path(picture(tmp_path)).read_bytes()).decode()
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        asked = {"task_id": await made(client, tmp_path, image=data)}
        answer = await client.call_tool(LOOK, asked)

    assert facts(answer)["another_take"]["give_again"] == ["image"]
    assert f'another_take_of "{asked["task_id"]}", image again' in shown(answer)[0]
    assert "Not compared with image:" in shown(answer)[0]


@pytest.mark.anyio
async def test_frames_at_given_seconds_are_shown_with_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", MOVING)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        asked = {"task_id": await made(client, tmp_path)}
        some = await client.call_tool(LOOK, {**asked, "at": [1, "1.5", "last"]})
        one = await client.call_tool(LOOK, {**asked, "at": "0.5"})
        late = await client.call_tool(LOOK, {**asked, "at": [9]})
        odd = await client.call_tool(LOOK, {**asked, "at": ["soon"]})
        many = await client.call_tool(LOOK, {**asked, "at": list(range(13))})

    assert facts(some)["shows"] == "1.00 s, 1.50 s, 2.59 s"
    assert facts(one)["shows"] == "0.50 s"
    assert max(shown(one)[1].size) == 1200
    assert "is 2.625 s long: there is no frame at 9 s" in facts(late)["message"]
    assert "'soon' is no frame" in facts(odd)["message"]
    assert many.is_error


@pytest.mark.anyio
async def test_a_task_of_no_row_is_shown_and_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_film(tmp_path / "made.mp4", FROZEN)
    async with talking_to(serving(clip), tmp_path, monkeypatch) as client:
        answer = await client.call_tool(LOOK, {"task_id": "t-1"})

    text, _ = shown(answer)
    assert facts(answer)["findings"] == []
    assert len(facts(answer)["frozen"]) == 1
    assert "Not compared with the request" in text


@pytest.mark.anyio
async def test_the_receipt_of_another_take_suggests_to_compare(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), **WISH}
        first, second = [await client.call_tool(CREATE, {**wish, "take": n}) for n in (1, 2)]

    assert LOOK not in facts(first)["next"]
    assert facts(second)["next"].endswith("Compare the takes with kling_look.")


SANDBOX: dict[str, tuple[str, dict[str, Any]]] = {
    "one picture": (CREATE, {"prompt": "Zoom"}),
    "an end": (CREATE, {"prompt": "Zoom", "mode": "pro", "image_tail": "b.png"}),
    "sound": (CREATE, {**WISH, "sound": "on"}),
    "two shots": (CREATE, {**CASES["cut by wish"][1], "model_name": "kling-v3", "duration": 3}),
    "a camera move": (
        CREATE,
        {
            "provider": "cometapi",  # Kling has retired the models with a camera
            "model_name": "kling-v1-5",
            "mode": "pro",
            "prompt": "Zoom",
            "camera_control": {"type": "simple", "config": {"zoom": 1}},
        },
    ),
    "a URL": (CREATE, {**WISH, "image": "https://pictures.example/a.png"}),
    "several pictures": (
        "kling_multi_image_to_video",
        {"prompt": "They meet", "duration": 3, "image_list": ["a.png", "b.png"]},
    ),
}


SLOWER = ("sound", "a camera move", "a URL", "several pictures", "an end")
"""The first three show one picture that moves, as "one picture" does; the others have cuts, as
"two shots" has."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.campaign] * (kind in SLOWER), id=kind)
        for kind in SANDBOX
    ],
)
async def test_no_clip_of_the_sandbox_gives_a_false_alarm(kind: str, tmp_path: Path) -> None:
    tool, wish = SANDBOX[kind]
    picture(tmp_path, "a.png")
    landscape(0.3, centre=(-1.2, -0.4)).resize((640, 480)).save(tmp_path / "b.png")
    if tool == CREATE:
        wish = {"image": "a.png", **wish}
    again = {n: wish[n] for n in ("image", "image_tail") if n in wish}
    played = {"provider": "", "cometapi_base_url": "sandbox"} if "provider" in wish else {}
    settings = sandbox_settings(tmp_path, **played)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        receipt = await client.call_tool(tool, wish)
        assert not receipt.is_error, receipt.content
        task_id = facts(receipt)["task_id"]
        answers = [
            await client.call_tool(LOOK, {"task_id": task_id, **pictures})
            for pictures in ({}, again)
        ]

    for answer in answers:
        assert facts(answer)["findings"] == []
        assert facts(answer)["sandbox"] is True
        assert "A sandbox test clip." in shown(answer)[0]


@pytest.mark.campaign
def test_the_noisiest_sheet_fits(tmp_path: Path) -> None:
    noise = [Image.effect_noise((720, 1280), 250).convert("RGB") for _ in range(2)]
    seen = watch(make_film(tmp_path / "noise.mp4", noise * 7))

    jpeg, shows = sheet_jpeg(seen, {})

    assert len(jpeg) <= JPEG_BYTES
    assert shows.startswith("12 frames from 0.00 s")
