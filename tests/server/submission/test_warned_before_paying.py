"""What a request will not give is said in the dry run and in the receipt, with what would give it;
an ordinary request gets no warning."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult
from tests.sampling import sampled
from tests.server.scripted import facts
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

MAKER = "kling_image_to_video"
SAYS = 'The man looks up and says "Hello there"'


async def call(folder: Path, tool: str = MAKER, **more: Any) -> CallToolResult:
    """One create at the embedded sandbox, or at a provider of the settings among `more`."""
    names = [name for name in more if name.startswith(("kling_", "max_units_"))]
    settings = {name: more.pop(name) for name in names}
    if "kling_api_key" in settings:
        settings["provider"] = "kling"
    wish = {"image": picture(folder), "prompt": "Slow zoom"} if tool == MAKER else {}
    server = build_server(sandbox_settings(folder, **settings), sleep=no_sleep)
    async with Client(server) as client:
        return await client.call_tool(tool, wish | more)


def warnings(result: CallToolResult) -> list[str]:
    assert result.structured_content is not None
    assert not result.is_error, result.content
    told = result.structured_content.get("warnings", [])
    assert isinstance(told, list)
    return told


@pytest.mark.anyio
@pytest.mark.parametrize("dry_run", [True, False])
async def test_words_that_nobody_will_hear_are_told_with_what_would_be_heard(
    dry_run: bool, tmp_path: Path
) -> None:
    (told,) = warnings(await call(tmp_path, prompt=SAYS, sound="off", dry_run=dry_run))

    assert told == (
        'sound: sound is off, so nobody will hear "Hello there" of the prompt. Use model_name: '
        "kling-v3-turbo, sound: on, which makes kling-v3-turbo std 5 s with sound, about 4 units "
        "(0.56 USD list price)."
    )


@pytest.mark.anyio
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("more", "change"),
    sampled(
        [
            ({}, {"model_name": "kling-v3-turbo", "sound": "on"}),
            ({"sound": False}, {"model_name": "kling-v3-turbo", "sound": "on"}),
            (
                {"model_name": "kling-v2-6", "duration": 4},
                {"model_name": "kling-v3-turbo", "sound": "on"},
            ),
            ({"max_units": 2}, {"sound": "off"}),
            ({"max_units_per_day": 2}, {"sound": "off"}),
        ],
        2,
    ),
)
async def test_a_caller_who_did_not_choose_sound_pays_nothing_for_words_that_nobody_hears(
    more: dict[str, Any], change: dict[str, str], dry_run: bool, tmp_path: Path
) -> None:
    first = await call(tmp_path, prompt=SAYS, dry_run=dry_run, **more)
    told = first.structured_content
    assert told is not None
    then = warnings(await call(tmp_path, prompt=SAYS, **more | told["would_pass"]["change"]))

    assert first.is_error is not dry_run
    assert told["would_pass"]["change"] == change
    assert "speech_without_sound" in [fault["rule"] for fault in told["faults"]]
    assert told["faults"][-1]["use"] == '"off" if the person agrees to a silent video'
    assert ("nobody will hear" in " ".join(then)) is (change["sound"] == "off")


@pytest.mark.anyio
async def test_silence_that_was_chosen_once_is_not_asked_about_again(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path), sleep=no_sleep)
    wish = {"image": picture(tmp_path), "prompt": SAYS}
    async with Client(server) as client:
        made = await client.call_tool(MAKER, wish | {"sound": "off"})
        again = await client.call_tool(MAKER, wish)
        assert made.structured_content is not None
        of = {"another_take_of": made.structured_content["task_id"]}
        other = await client.call_tool(MAKER, of)
        words = await client.call_tool(MAKER, of | {"prompt": 'She says "No"'})

    assert not again.is_error
    assert again.structured_content is not None
    assert again.structured_content["repeated"] is True
    assert len(warnings(other)) == 1
    assert words.is_error


@pytest.mark.anyio
async def test_sound_that_the_cap_does_not_allow_is_not_advised(tmp_path: Path) -> None:
    off: dict[str, Any] = {"prompt": SAYS, "sound": "off"}
    (told,) = warnings(await call(tmp_path, **off, max_units=2))
    (daily,) = warnings(await call(tmp_path / "b", **off, max_units_per_day=2))

    assert told == daily == 'sound: sound is off, so nobody will hear "Hello there" of the prompt.'


@pytest.mark.anyio
async def test_with_sound_nothing_is_told(tmp_path: Path) -> None:
    assert warnings(await call(tmp_path, prompt=SAYS, sound="on", model_name="kling-v3")) == []


@pytest.mark.anyio
async def test_a_ratio_in_words_that_the_picture_does_not_have_is_told(tmp_path: Path) -> None:
    (told,) = warnings(await call(tmp_path, prompt="Slow zoom, 9:16"))

    fitted = await call(tmp_path, prompt="Slow zoom, 9:16", fit="9:16")

    assert told == (
        "image: the prompt asks for 9:16, the video takes its ratio from image, 640x480 px. Use "
        'fit "9:16".'
    )
    assert "ratio" not in " ".join(warnings(fitted))


@pytest.mark.anyio
async def test_a_name_that_nothing_answers_to_is_told(tmp_path: Path) -> None:
    (told,) = warnings(await call(tmp_path, prompt="<<<object_1>>> turns her head"))

    assert told.startswith("prompt: nothing in this request answers to <<<object_1>>>.")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.html",
        "https://www.instagram.com/p/abc123/",
        "https://unsplash.com/photos/a-cat-x1y2",
        "https://drive.google.com/file/d/abc/view",
        "https://en.wikipedia.org/wiki/File:Cat.jpg",
        "https://imgur.com/abc123",
    ],
)
async def test_a_url_of_a_page_is_told(url: str, tmp_path: Path) -> None:
    (told,) = warnings(await call(tmp_path, image=url, dry_run=True))

    assert "looks like a web page, not like a picture" in told


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.jpg",
        "https://example.com/cat",
        "https://images.unsplash.com/photo-15",
        "https://i.imgur.com/abc123.png",
        "https://upload.wikimedia.org/wikipedia/commons/a/a1/Cat.jpg",
        "https://commons.wikimedia.org/wiki/Special:FilePath/Cat.jpg",
        "https://picsum.photos/600/400",
    ],
)
async def test_a_url_of_a_picture_is_not(url: str, tmp_path: Path) -> None:
    assert warnings(await call(tmp_path, image=url, dry_run=True)) == []


@pytest.mark.anyio
async def test_a_private_url_is_refused_where_the_provider_cannot_reach_it(tmp_path: Path) -> None:
    url = "http://192.168.1.5/cat.jpg"
    key = {"kling_api_key": "k"}
    elsewhere = await call(tmp_path, image=url, **key, kling_base_url="https://kling.example")
    beside = await call(
        tmp_path, image=url, dry_run=True, **key, kling_base_url="http://127.0.0.1:9"
    )
    here = await call(tmp_path, image=url, dry_run=True)

    assert elsewhere.is_error
    assert elsewhere.structured_content is not None
    (fault,) = elsewhere.structured_content["faults"]
    assert (fault["field"], fault["rule"]) == ("image", "url_private")
    assert ["not on the internet" in told for told in warnings(beside)] == [True]
    assert ["not on the internet" in told for told in warnings(here)] == [True]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("more", "advice"),
    [
        ({}, '"10"'),
        ({"model_name": "kling-v2-6", "prompt": "A fox, 7 seconds, 9:16"}, ""),
        ({"model_name": "kling-v2-6", "prompt": "A fox, nine seconds, 9:16"}, '"10"'),
        ({"prompt": "A 20-second video of a fox, 9:16"}, '"10"'),
    ],
)
async def test_a_length_and_a_shape_in_words_are_told_with_the_argument_to_give(
    more: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    wish = {"prompt": "a lighthouse in a storm, ten seconds, portrait", **more, "dry_run": True}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        told = await client.call_tool("kling_text_to_video", wish)
        given = {"duration": advice.strip('"'), "aspect_ratio": "9:16"}
        followed = await client.call_tool("kling_text_to_video", {**wish, **given})

    said = warnings(told)
    assert 'the video will have 16:9. Use "9:16".' in " ".join(said)
    (length,) = (line for line in said if line.startswith("duration: the prompt asks for "))
    assert length.endswith(f"Use {advice}." if advice else "the nearest that the model makes.")
    assert not facts(followed).get("faults")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "prompt", ["extend it by 5 seconds", "make it twice as long", "Continue the video"]
)
async def test_an_edit_that_is_to_be_longer_is_told_which_kind_makes_more(
    prompt: str, tmp_path: Path
) -> None:
    wish = {"video": "https://example.com/a.mp4", "prompt": prompt, "dry_run": True}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        edit = await client.call_tool("kling_edit_video", wish)
        after = await client.call_tool("kling_edit_video", {**wish, "refer_type": "feature"})

    (told,) = (line for line in warnings(edit) if line.startswith("refer_type: "))
    assert 'Use "feature", which makes the shot after it' in told
    assert "refer_type" not in " ".join(warnings(after))


@pytest.mark.anyio
async def test_a_sound_that_a_new_shot_cannot_keep_is_told(tmp_path: Path) -> None:
    wish = {"video": "https://example.com/a.mp4", "prompt": "Night falls", "dry_run": True}
    after = {**wish, "refer_type": "feature"}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        kept = await client.call_tool("kling_edit_video", {**after, "keep_original_sound": "yes"})
        without = await client.call_tool("kling_edit_video", {**after, "keep_original_sound": "no"})
        page = await client.call_tool(
            "kling_edit_video", {**wish, "video": "https://www.youtube.com/watch?v=abc"}
        )

    said = "keep_original_sound: is not sent: a new video has no sound of the one before it."
    assert warnings(kept) == [said]
    assert warnings(without) == []
    assert "looks like a web page" in warnings(page)[0]
