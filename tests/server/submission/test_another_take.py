"""`another_take_of` makes the request of an earlier task again, in one call."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from tests.sampling import sampled
from tests.server.scripted import CREATE, Scripted, ends, facts, talking_to, words
from tests.server.serving import no_sleep, picture, sandbox_settings, virtual_time

from kling_mcp.ledger import Ledger, Record
from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

SEVERAL = "kling_multi_image_to_video"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        yield client


async def ok(client: Client, tool: str = CREATE, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, words(result)
    return facts(result)


async def refused(client: Client, tool: str = CREATE, **arguments: Any) -> list[dict[str, str]]:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, words(result)
    faults: list[dict[str, str]] = facts(result)["faults"]
    return faults


async def wait(client: Client, receipt: dict[str, Any]) -> None:
    await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})


async def rows(folder: Path) -> list[Record]:
    """The rows of the ledger, oldest first."""
    ledger = Ledger(folder / "home")
    found = await ledger.page(limit=100, offset=0)
    await ledger.close()
    return found[::-1]


async def test_another_take_is_the_same_request_with_the_next_free_take(
    client: Client, tmp_path: Path
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom", "duration": 10, "negative_prompt": "fog"}
    first = await ok(client, **asked)
    await ok(client, **asked, take=2)

    third = await ok(client, another_take_of=first["task_id"])

    one, _, last = await rows(tmp_path)
    assert third["take"] == 3
    assert third["duration_s"] == 10
    assert "repeated" not in third
    assert last.task_id == third["task_id"]
    assert (last.digest, last.request) == (one.digest, one.request)


async def test_a_take_of_another_take_goes_on_counting(client: Client, tmp_path: Path) -> None:
    made = await ok(client, image=picture(tmp_path), prompt="Zoom")
    for number in (2, 3):
        made = await ok(client, another_take_of=made["task_id"])
        assert made["take"] == number


async def test_the_same_call_again_is_not_paid_again_while_its_task_runs(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_render_s=1000)
    async with Client(build_server(settings)) as client:
        first = await ok(client, image=picture(tmp_path), prompt="Zoom")
        second = await ok(client, another_take_of=first["task_id"])
        lost_and_asked_again = await ok(client, another_take_of=first["task_id"])
        third = await ok(client, another_take_of=first["task_id"], take=3)

    assert lost_and_asked_again["task_id"] == second["task_id"]
    assert lost_and_asked_again["repeated"]
    assert "Add take 3 to make one more" in lost_and_asked_again["next"]
    assert third["take"] == 3
    assert len(await rows(tmp_path)) == 3


@pytest.mark.parametrize("changes", [{}, {"prompt": "Pan"}], ids=["the same", "changed"])
async def test_the_same_call_is_paid_once_also_when_its_task_has_ended(
    changes: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")
    call = {"another_take_of": first["task_id"], **changes}
    second = await ok(client, **call)
    await wait(client, second)

    told = await client.call_tool(CREATE, call)
    dry = await ok(client, **call, dry_run=True)
    more = second["take"] + 1
    third = await ok(client, **call, take=more)
    fourth = await ok(client, **call, take=more, dry_run=True)

    assert f"Already made: task {second['task_id']}, succeed." in words(told)
    assert f"Add take {more} to make one more" in facts(told)["next"]
    assert f"Add take {more} to make one more" in dry["next"]
    assert (third["take"], third.get("repeated")) == (more, None)
    assert f"{more} takes of it exist. Add take {more + 1}" in fourth["next"]
    assert len(await rows(tmp_path)) == 3


async def test_a_request_with_several_takes_says_how_many_and_how_to_make_one_more(
    client: Client, tmp_path: Path
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom"}
    first = await ok(client, **asked)
    await ok(client, another_take_of=first["task_id"])
    await wait(client, first)

    same = await ok(client, **asked)
    third = await ok(client, another_take_of=first["task_id"], take=3)

    of = first["task_id"]
    told = f'2 takes of it exist. another_take_of "{of}" with take 3 makes one more.'
    assert same["task_id"] == of
    assert told in same["next"]
    assert (third["take"], third.get("repeated")) == (3, None)


@pytest.mark.usefixtures("no_pauses")
async def test_a_lost_answer_names_a_take_that_does_not_exist_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with talking_to(Scripted(ends(task_status="processing")), tmp_path, monkeypatch) as kling:
        first = await ok(kling, **asked)
        await ok(kling, **asked, take=2)
    ledger = Ledger(tmp_path / "home")
    await ledger._engine.alone(
        lambda db: db.execute(
            "UPDATE tasks SET task_id = NULL, status = 'unknown' WHERE take = 1", ()
        )
    )
    row = (await ledger.page(limit=9, offset=0))[-1]
    await ledger.close()

    async with talking_to(Scripted(ends(task_status="processing")), tmp_path, monkeypatch) as kling:
        (fault,) = await refused(kling, another_take_of=row.handle)
    assert first["take"] == 1
    assert "take 3 makes and pays one more" in fault["use"]


async def test_arguments_beside_it_replace_those_of_the_task(
    client: Client, tmp_path: Path
) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom", negative_prompt="fog")

    changed = await ok(client, another_take_of=first["task_id"], prompt="Pan", mode="pro")

    one, other = await rows(tmp_path)
    assert other.request == {**one.request, "prompt": "Pan", "mode": "pro"}
    assert changed["take"] == 1
    assert 'prompt was "Zoom", is "Pan"' in changed["note"]


async def test_several_pictures_are_taken_again_too(client: Client, tmp_path: Path) -> None:
    pictures = [picture(tmp_path, "a.png"), picture(tmp_path, "b.png", (400, 400))]
    first = await ok(client, SEVERAL, image_list=pictures, prompt="They meet", sound="on")

    second = await ok(client, SEVERAL, another_take_of=first["task_id"])

    assert second["take"] == 2
    assert len(second["pictures"]) == 2
    assert second["estimate_units"] == first["estimate_units"]


async def test_it_has_the_model_of_the_task_whatever_the_default_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends(task_status="processing"))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        first = await ok(client, image=picture(tmp_path), prompt="Zoom")
    rows = tmp_path / "rows.json"
    models = {"image2video": "kling-v2-6", "omni-video": "kling-v3-omni"}
    rows.write_text(json.dumps({"kling": {"default_models": models}}))

    async with talking_to(provider, tmp_path, monkeypatch, providers=rows) as client:
        fresh = await ok(client, image=picture(tmp_path), prompt="Pan", dry_run=True)
        again = await ok(client, another_take_of=first["task_id"], dry_run=True)

    assert fresh["model_name"] == "kling-v2-6"
    assert again["model_name"] == first["model_name"]


async def test_a_dry_run_of_another_take_names_its_number_and_price_and_sends_nothing(
    client: Client, tmp_path: Path
) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")

    told = await client.call_tool(CREATE, {"another_take_of": first["task_id"], "dry_run": True})
    dry = facts(told)

    assert "std 5 s, take 2, about 1.5 units" in words(told)
    assert (dry["take"], dry["estimate_units"]) == (2, first["estimate_units"])
    assert len(await rows(tmp_path)) == 1


async def test_a_picture_is_opened_and_judged_anew(client: Client, tmp_path: Path) -> None:
    photo = picture(tmp_path)
    first = await ok(client, image=photo, prompt="Zoom")
    picture(tmp_path, size=(700, 500))

    other = await ok(client, another_take_of=first["task_id"], dry_run=True)
    Image.new("RGB", (40, 30)).save(photo)
    faults = await refused(client, another_take_of=first["task_id"])
    Path(photo).unlink()
    gone = await refused(client, another_take_of=first["task_id"])

    assert "the content of a picture" in other["note"]
    assert "700x500" in other["pictures"][0]
    assert [fault["field"] for fault in faults] == ["image"]
    assert [fault["rule"] for fault in gone] == ["path_missing"]


async def test_what_differs_in_a_long_prompt_is_shown_around_the_change(
    client: Client, tmp_path: Path
) -> None:
    prompt = "The old lighthouse stands in the storm while {} waves break over the rocks below it"
    first = await ok(client, image=picture(tmp_path), prompt=prompt.format("grey"))

    of = first["task_id"]
    other = await ok(client, another_take_of=of, prompt=prompt.format("huge"), dry_run=True)

    assert (
        f"Differs from {of}: prompt was …in the storm while grey waves break ove…, "
        "is …in the storm while huge waves break ove…."
    ) in other["note"]


async def test_another_crop_of_the_same_picture_is_named_as_a_crop(
    client: Client, tmp_path: Path
) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")
    of = first["task_id"]

    cropped = await ok(client, another_take_of=of, fit="1:1", dry_run=True)
    padded = await ok(client, another_take_of=of, fit="9:16 pad", dry_run=True)

    assert "the picture was as it is, is cropped to 1:1." in cropped["note"]
    assert "is padded to 9:16." in padded["note"]


async def test_a_crop_that_keeps_less_than_half_names_the_pad(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path, size=(1280, 720)), "prompt": "Zoom", "dry_run": True}
    cropped = await ok(client, **wish, fit="9:16")
    square = await ok(client, **wish, fit="1:1")
    padded = await ok(client, **wish, fit="9:16 pad")

    assert cropped["warnings"] == [
        'fit: the crop to 9:16 keeps 32% of image. Use "9:16 pad" to keep all of it.'
    ]
    assert "warnings" not in square
    assert "warnings" not in padded


@pytest.mark.parametrize("form", ["data:image/png;base64,{}", "{}"], ids=["data", "base64"])
async def test_a_picture_that_came_as_bytes_has_to_be_given_again(
    form: str, client: Client, tmp_path: Path
) -> None:
    inline = form.format(base64.b64encode(Path(picture(tmp_path)).read_bytes()).decode())
    first = await ok(client, image=inline, prompt="Zoom")

    faults = await refused(client, another_take_of=first["task_id"])
    again = await ok(client, another_take_of=first["task_id"], image=inline)

    assert [fault["field"] for fault in faults] == ["image"]
    assert faults[0]["use"] == "the same picture again as image, beside another_take_of"
    assert again["take"] == 2


@pytest.mark.parametrize("form", ["{}", "data:image/png;base64,{}"], ids=["path", "data"])
async def test_an_ended_task_tells_the_call_that_makes_it_again(
    form: str, client: Client, tmp_path: Path
) -> None:
    photo = picture(tmp_path)
    as_bytes = base64.b64encode(Path(photo).read_bytes()).decode()
    image = form.format(photo if form == "{}" else as_bytes)
    made = await ok(client, image=image, prompt="Zoom")
    await wait(client, made)

    told = await client.call_tool("kling_get_task", {"task_id": made["task_id"]})
    again = facts(told)["another_take"]
    more = dict.fromkeys(again.get("give_again", []), image)
    second = await ok(client, again["tool"], **again["arguments"], **more)

    third = facts(await client.call_tool("kling_get_task", {"task_id": made["task_id"]}))

    assert f'another_take_of "{made["task_id"]}"' in words(told)
    assert third["another_take"]["arguments"] == {**again["arguments"], "take": 3}
    assert again["estimate_units"] == made["estimate_units"] == second["estimate_units"]
    assert second["take"] == 2
    assert more == ({} if form == "{}" else {"image": image})


async def test_a_task_of_the_other_tool_names_that_tool(client: Client, tmp_path: Path) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")

    (fault,) = await refused(client, SEVERAL, another_take_of=first["task_id"])
    again = await ok(client, fault["use"], another_take_of=first["task_id"])

    assert fault["field"] == "another_take_of"
    assert again["take"] == 2


async def test_an_id_that_is_not_known_sends_nothing(client: Client, tmp_path: Path) -> None:
    (fault,) = await refused(client, another_take_of="nowhere")

    assert fault["rule"] == "task_unknown"
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()


async def test_a_failed_take_is_free_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends(task_status="failed", task_status_msg="risk control"))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        first = await ok(client, image=picture(tmp_path), prompt="Zoom")
        await wait(client, first)
        again = await ok(client, another_take_of=first["task_id"])

    assert again["take"] == 1
    assert [row.attempt for row in await rows(tmp_path)] == [1, 2]


async def test_a_cap_refuses_another_take_like_any_other(client: Client, tmp_path: Path) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")

    result = await client.call_tool(CREATE, {"another_take_of": first["task_id"], "max_units": 1})

    assert result.is_error
    assert len(await rows(tmp_path)) == 1


async def test_a_request_that_was_made_names_the_way_to_another_version(
    client: Client, tmp_path: Path
) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")
    await wait(client, first)

    same = await ok(client, image=picture(tmp_path), prompt="Zoom")

    assert f'another_take_of "{first["task_id"]}" makes another version' in same["next"]
    assert (await ok(client, another_take_of=first["task_id"]))["take"] == 2


async def test_a_server_that_only_reads_offers_no_other_take(
    client: Client, tmp_path: Path
) -> None:
    made = await ok(client, image=picture(tmp_path), prompt="Zoom")
    await wait(client, made)

    async with Client(build_server(sandbox_settings(tmp_path, read_only=True))) as reading:
        told = await reading.call_tool("kling_get_task", {"task_id": made["task_id"]})

    assert facts(told)["status"] == "succeed"
    assert "another_take" not in facts(told)


@virtual_time
async def test_another_take_of_a_task_that_may_exist_waits_for_a_word_about_it(
    tmp_path: Path,
) -> None:
    faults = "drop-after-accept:1@creates,drop-before-accept@queries"
    settings = sandbox_settings(tmp_path, sandbox_faults=faults)
    async with Client(build_server(settings)) as client:
        await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "Zoom"})
        (row,) = await rows(tmp_path)
        (fault,) = await refused(client, another_take_of=row.handle)
        insisted = await ok(client, another_take_of=row.handle, take=2)

    assert "may exist, and it may be paid" in fault["message"]
    assert "take 2" in fault["use"]
    assert insisted["take"] == 2


async def test_a_receipt_and_a_dry_run_say_that_there_is_sound(
    client: Client, tmp_path: Path
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v3"}
    loud = {**asked, "sound": "on"}
    for call in ({**loud, "dry_run": True}, loud):
        told = await client.call_tool(CREATE, call)
        assert "kling-v3 std 5 s with sound, " in words(told)
        assert facts(told)["sound"] == "on"

    silent = await client.call_tool(CREATE, asked)
    assert "with sound" not in words(silent)
    assert "sound" not in facts(silent)


TAKEN_AWAY: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "last frame": ({"image_tail": "b.png", "mode": "pro"}, {"image_tail": ""}, "image_tail"),
    "crop": ({"fit": "1:1"}, {"fit": ""}, "fit"),
    "negative prompt": ({"negative_prompt": "fog"}, {"negative_prompt": ""}, "negative_prompt"),
    "sound": ({"model_name": "kling-v3", "sound": "on"}, {"sound": False}, "sound"),
    "mode": ({"mode": "pro"}, {"mode": ""}, "mode"),
    "seconds": ({"duration": 10}, {"duration": ""}, "duration"),
    "watermark": ({"watermark_info": True}, {"watermark_info": False}, "watermark_info"),
    "callback": ({"callback_url": "https://me.example/done"}, {"callback_url": ""}, "callback_url"),
    "elements": (
        {"model_name": "kling-v3", "element_list": ["160"]},
        {"element_list": []},
        "element_list",
    ),
    "shots": (
        {"model_name": "kling-v3", "multi_shot": True, "shot_type": "intelligence"},
        {"multi_shot": False, "shot_type": ""},
        "multi_shot, shot_type",
    ),
}


@pytest.mark.parametrize("name", sampled(TAKEN_AWAY, 2))
async def test_a_blank_argument_takes_the_field_of_the_task_away(
    name: str, client: Client, tmp_path: Path
) -> None:
    had, blank, fields = TAKEN_AWAY[name]
    picture(tmp_path, "b.png")
    asked = {"image": picture(tmp_path), "prompt": "Zoom"}
    if "image_tail" in had:
        had = {**had, "image_tail": str(tmp_path / "b.png")}
    first = await ok(client, **asked, **had)

    told = await client.call_tool(CREATE, {"another_take_of": first["task_id"], **blank})

    assert not told.is_error, words(told)
    assert f"Taken away: {fields}." in facts(told)["note"]
    one, other = await rows(tmp_path)
    left = {key: value for key, value in one.arguments.items() if key not in blank}
    same = {"another_take_of": one.id, "model_name": one.model_name}
    assert other.arguments == {**left, **same}


async def test_null_is_not_given_and_takes_nothing_away(client: Client, tmp_path: Path) -> None:
    had = {"negative_prompt": "fog", "watermark_info": True, "mode": "pro"}
    first = await ok(client, image=picture(tmp_path), prompt="Zoom", **had)
    nulls = {"negative_prompt": None, "watermark_info": {"enabled": None}, "element_list": [None]}

    take = await ok(client, another_take_of=first["task_id"], **nulls)
    again = await ok(client, another_take_of=first["task_id"])

    assert "Taken away" not in take["note"]
    assert again["task_id"] == take["task_id"]
    assert again["repeated"] is True


async def test_what_the_task_needs_cannot_be_taken_away(client: Client, tmp_path: Path) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom")

    faults = await refused(client, another_take_of=first["task_id"], image="", prompt="")

    assert {fault["field"] for fault in faults} == {"image", "prompt"}


@pytest.mark.parametrize("filled", [{"take": 0}, {"max_units": None}, {"take": "", "max_units": 0}])
async def test_blanks_that_a_host_fills_in_take_nothing_away(
    filled: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    first = await ok(client, image=picture(tmp_path), prompt="Zoom", negative_prompt="fog")
    blanks = {"negative_prompt": "", "image": "", "prompt": "", "image_tail": "", "mode": ""}

    again = await ok(client, another_take_of=first["task_id"], **blanks, **filled)

    assert again["take"] == 2
    warned = " ".join(again["warnings"])
    assert f"negative_prompt: stays as in {first['task_id']}" in warned
    assert "image_tail: stays" not in warned


async def test_advice_to_leave_out_what_the_task_has_is_advice_to_take_it_away(
    tmp_path: Path,
) -> None:
    kling = sandbox_settings(tmp_path, provider="", kling_base_url="sandbox")
    gateway = sandbox_settings(tmp_path, provider="", newapi_base_url="sandbox")
    asked = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v3"}
    async with Client(build_server(kling, sleep=no_sleep)) as client:
        first = await ok(client, **asked, element_list=["160"])
    call = {"another_take_of": first["task_id"], "provider": "newapi"}

    async with Client(build_server(gateway, sleep=no_sleep)) as client:
        told = await client.call_tool(CREATE, call)
        passes = facts(told)["would_pass"]
        passed = await ok(client, **call, **passes["change"])

    assert told.is_error
    assert passes["change"] == {"element_list": ""}
    assert 'It passes with element_list: "";' in words(told)
    assert "Taken away: element_list." in passed["note"]


async def test_what_differs_is_told_without_what_a_person_did_not_write(
    client: Client, tmp_path: Path
) -> None:
    """Neither a sound that nobody asked for, nor the body's words around names of pictures."""
    one, two = picture(tmp_path), picture(tmp_path, "me.png", (500, 500))
    single = (await ok(client, image=one, prompt="x"))["task_id"]
    several = (await ok(client, SEVERAL, image_list=[one, two], prompt="x"))["task_id"]

    other = await ok(client, another_take_of=single, model_name="kling-v2-6", dry_run=True)
    fewer = await ok(client, SEVERAL, another_take_of=several, image_list=[two], dry_run=True)
    lost = {"another_take_of": several, "image_list": [one, "none.png"], "dry_run": True}
    missing = await client.call_tool(SEVERAL, lost)

    assert other["note"].startswith(
        f'Differs from {single}: model_name was "kling-v2-5-turbo", is "kling-v2-6".'
    )
    assert fewer["note"].startswith(
        f'Differs from {several}: image_list was ["photo.png", "me.png"], is ["me.png"].'
    )
    assert "Differs from" not in words(missing)


async def test_a_take_that_is_the_task_itself_is_not_passed_over_in_silence(
    client: Client, tmp_path: Path
) -> None:
    first = (await ok(client, image=picture(tmp_path), prompt="x"))["task_id"]

    again = await ok(client, another_take_of=first, take=1, dry_run=True)

    assert again["take"] == 2
    assert again["warnings"] == [
        f"take: 1 is not a further take of {first}: the next free one is meant."
    ]
