"""What a saved file holds is said, and what is odd about it."""

import json
from pathlib import Path

import pytest
from httpx import ByteStream, Response
from tests.made_clips import make_clip
from tests.server.scripted import CREATE, Scripted, ends_with_video, facts, make, talking_to
from tests.server.serving import picture


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("duration", "sound", "told"),
    [
        (5, {}, ""),
        (10, {}, "The file is 5.042 s long; 10 s were requested."),
        (5, {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"}, "has no sound"),
    ],
)
async def test_a_file_that_is_not_what_was_asked_for_is_told_whenever_it_is_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    duration: int,
    sound: dict[str, str],
    told: str,
) -> None:
    clip = make_clip(tmp_path / "made.mp4", frames=121, size=(400, 300)).read_bytes()
    provider = Scripted(
        ends_with_video("https://files.example/a.mp4"),
        lambda _: Response(200, stream=ByteStream(clip)),
    )
    async with talking_to(provider, tmp_path, monkeypatch, save=True) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom", "duration": duration, **sound}
        made = await client.call_tool(CREATE, wish)
        assert not made.is_error, made.content
        asked = {"task_id": facts(made)["task_id"]}
        for tool in ("kling_get_task", "kling_get_task", "kling_save_video"):
            answer = await client.call_tool(tool, asked)
            assert told in json.dumps(facts(answer))
            assert ("The file" in str(answer.content)) == bool(told)


@pytest.mark.anyio
async def test_a_saved_video_says_what_the_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "made.mp4", frames=121, size=(400, 300), sound=True).read_bytes()
    provider = Scripted(
        ends_with_video("https://files.example/a.mp4"),
        lambda _: Response(200, stream=ByteStream(clip)),
    )
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        asked = {"task_id": facts(await make(client, tmp_path))["task_id"]}
        answer = await client.call_tool("kling_save_video", asked)
        known = {"width": 400, "height": 300, "duration_s": 5.042, "fps": 24.0}
        assert known.items() <= facts(answer).items()
        assert (facts(answer)["codec"], facts(answer)["audio"]) == ("h264", True)
        assert "400x300, 5.042 s, 24 fps, h264, with sound" in str(answer.content)
