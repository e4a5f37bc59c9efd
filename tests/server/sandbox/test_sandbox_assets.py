"""Elements and voices: Kling's own, the account's, and how they show in a clip."""

from __future__ import annotations

import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kling_sandbox.answers.refusals import Refusal
from kling_sandbox.asset_desk import new_element, new_voice
from kling_sandbox.clips import script_of
from kling_sandbox.orders import SHORT_SIDE_PX, Asset, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields

pytestmark = pytest.mark.anyio

ELEMENTS = "/v1/general/advanced-custom-elements"
VOICES = "/v1/general/custom-voices"
URL = "https://example.com/cat.png"
SAMPLE = "https://example.com/speech.mp3"


def speech(seconds: float) -> str:
    """A WAV file of that length as raw base64."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(800)
        file.writeframes(b"\x80" * round(seconds * 800))
    return base64.b64encode(out.getvalue()).decode()


def element(front: str, *others: str, **fields: Any) -> dict[str, Any]:
    pictures = {
        "frontal_image": front,
        "refer_images": [{"image_url": other} for other in others or (URL,)],
    }
    return {
        "element_name": "Mia",
        "element_description": "a girl with a kite",
        "reference_type": "image_refer",
        "element_image_list": pictures,
        "tag_list": [{"tag_id": "o_102"}],
        **fields,
    }


def voice(**fields: Any) -> dict[str, Any]:
    return {"voice_name": "Grandma", "voice_url": SAMPLE} | fields


async def post(caller: Any, path: str, body: Any) -> httpx.Response:
    answer: httpx.Response = await caller.http.post(path, json=body)
    return answer


async def made(caller: Any, clock: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The finished task of a new element or voice."""
    receipt = await post(caller, path, body)
    assert receipt.status_code == 200, receipt.text
    clock.now += 10
    answer = await caller.http.get(f"{path}/{receipt.json()['data']['task_id']}")
    task: dict[str, Any] = answer.json()["data"]
    assert task["task_status"] == "succeed"
    return task


async def test_an_element_is_made_in_five_seconds_for_nothing(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    body = element(caller.image, external_task_id="mia")
    receipt = (await post(caller, ELEMENTS, body)).json()["data"]
    assert (receipt["task_status"], receipt["task_info"]) == (
        "submitted",
        {"external_task_id": "mia"},
    )
    clock.now += 4.9
    assert (await caller.http.get(f"{ELEMENTS}/mia")).json()["data"]["task_status"] == "processing"
    clock.now += 0.2
    task = (await caller.http.get(f"{ELEMENTS}/mia")).json()["data"]
    (shown,) = task["task_result"]["elements"]
    assert task["final_unit_deduction"] == "0"
    assert isinstance(shown["element_id"], int)
    assert len(str(shown["element_id"])) == 15
    assert shown["element_name"] == "Mia"
    assert shown["tag_list"] == [{"id": "o_102", "name": "Character"}]
    assert (shown["status"], shown["reference_type"]) == ("succeed", "image_refer")
    picture = await caller.http.get(shown["element_image_list"]["frontal_image"])
    assert picture.content == base64.b64decode(caller.image)


async def test_a_voice_is_made_in_nine_seconds_for_a_twentieth_of_a_unit(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    receipt = (await post(caller, VOICES, voice(voice_url=speech(6)))).json()["data"]
    clock.now += 8.9
    path = f"{VOICES}/{receipt['task_id']}"
    assert (await caller.http.get(path)).json()["data"]["task_status"] == "processing"
    clock.now += 0.2
    task = (await caller.http.get(path)).json()["data"]
    (shown,) = task["task_result"]["voices"]
    assert task["final_unit_deduction"] == "0.05"
    assert isinstance(shown["voice_id"], str)
    assert shown["voice_name"] == "Grandma"
    assert (await caller.http.get(shown["trial_url"])).content[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("path", "own", "kind"),
    [
        ("/v1/general/advanced-presets-elements", ELEMENTS, "element"),
        ("/v1/general/presets-voices", VOICES, "voice"),
    ],
)
async def test_lists_are_pages_of_tasks(
    open_sandbox: Any, clock: Any, path: str, own: str, kind: str
) -> None:
    caller = await open_sandbox()
    page = (await caller.http.get(path, params={"pageSize": 2, "pageNum": 2})).json()["data"]
    (first,) = page[0]["task_result"][f"{kind}s"]
    assert len(page) == 2
    assert first["owned_by"] == "kling"
    body = element(caller.image) if kind == "element" else voice()
    task = await made(caller, clock, own, body)
    listed = (await caller.http.get(own)).json()["data"]
    assert [one["task_id"] for one in listed] == [task["task_id"]]
    assert listed[0]["task_result"] == task["task_result"]


async def test_the_picture_of_kling_s_own_element_can_be_seen(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    listed = (await caller.http.get("/v1/general/advanced-presets-elements")).json()["data"]
    (shown,) = listed[0]["task_result"]["elements"]
    answer = await caller.http.get(shown["element_image_list"]["frontal_image"])
    assert Image.open(io.BytesIO(answer.content)).size >= (300, 300)
    for name in ("preset-9.png", f"{'0' * 64}.png", "..%2Fsandbox.sqlite3"):
        assert (await caller.http.get(f"/pictures/{name}")).status_code == 404


SMALL = "Image pixel is invalid"
ELEMENTS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"element_name": None}, "element_name can not be null"),
    ({"element_name": "n" * 21}, "The length of element_name cannot exceed 20"),
    ({"element_description": "d" * 101}, "The length of element_description cannot exceed 100"),
    ({"element_description": " "}, "element_description can not be null"),
    ({"reference_type": None}, "reference_type can not be null"),
    ({"reference_type": "image"}, "reference_type value 'image' is invalid"),
    ({"element_image_list": None}, "frontal_image can not be null"),
    ({"element_image_list": {"frontal_image": URL}}, "refer_images must be between 1 and 3"),
    ({"tag_list": [{"tag_id": "o_1"}]}, "tag_list.tag_id value 'o_1' is invalid"),
    ({"element_voice_id": "7"}, "voice not found by id: 7"),
    ({"reference_type": "video_refer"}, "refer_videos must be between 1 and 1"),
    (
        {
            "reference_type": "video_refer",
            "element_video_list": {"refer_videos": [{"video_url": "AAAA"}]},
        },
        "video_url value 'AAAA' is invalid",
    ),
]


@pytest.mark.parametrize(("fields", "text"), ELEMENTS_REFUSED)
async def test_an_element_is_refused(open_sandbox: Any, fields: dict[str, Any], text: str) -> None:
    caller = await open_sandbox()
    answer = await post(caller, ELEMENTS, element(URL) | fields)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert text in answer.json()["message"]


async def test_the_pictures_of_an_element_are_checked(open_sandbox: Any, encode: Any) -> None:
    caller = await open_sandbox()
    for body in (element(encode(299, 400)), element(URL, URL, encode(400, 299))):
        assert (await post(caller, ELEMENTS, body)).json()["message"] == SMALL
    five = element(URL, *[URL] * 4)
    assert "between 1 and 3" in (await post(caller, ELEMENTS, five)).json()["message"]


VOICES_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"voice_name": None}, "voice_name can not be null"),
    ({"voice_name": "n" * 21}, "The length of voice_name cannot exceed 20"),
    ({"voice_url": None}, "exactly one is required"),
    ({"video_id": "x"}, "exactly one is required"),
    ({"voice_url": None, "video_id": "x"}, "From video not found by id x"),
    ({"voice_url": speech(3)}, "must be between 5s and 30s"),
    ({"voice_url": speech(40)}, "must be between 5s and 30s"),
    ({"voice_url": base64.b64encode(b"no sound at all").decode()}, "format is not supported"),
    ({"voice_url": "?"}, "File is not in a valid base64 format"),
    ({"voice_url": 7}, "voice_url value '7' is invalid"),
]


@pytest.mark.parametrize(("fields", "text"), VOICES_REFUSED)
async def test_a_voice_is_refused(open_sandbox: Any, fields: dict[str, Any], text: str) -> None:
    answer = await post(await open_sandbox(), VOICES, voice(**fields))
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert text in answer.json()["message"]


async def test_a_clip_of_2_6_with_sound_gives_a_voice(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    clips = []
    for sound in ("on", "off"):
        receipt = await caller.created(model_name="kling-v2-6", mode="pro", sound=sound)
        clock.now += 10
        task = await caller.task(receipt["task_id"])
        clips.append(task["task_result"]["videos"][0]["id"])
    await made(caller, clock, VOICES, voice(voice_url=None, video_id=clips[0]))
    silent = await post(caller, VOICES, voice(voice_url=None, video_id=clips[1]))
    assert "From video not found by id" in silent.json()["message"]


@pytest.mark.parametrize("path", ["delete-advanced-elements", "delete-elements"])
async def test_a_deleted_element_is_gone_and_cannot_be_deleted_twice(
    open_sandbox: Any, clock: Any, path: str
) -> None:
    caller = await open_sandbox()
    task = await made(caller, clock, ELEMENTS, element(URL))
    mine = task["task_result"]["elements"][0]["element_id"]
    await caller.created(element_list=[{"element_id": mine}])
    first = await post(caller, f"/v1/general/{path}", {"element_id": str(mine)})
    assert (first.json()["code"], "data" in first.json()) == (0, False)
    again = await post(caller, f"/v1/general/{path}", {"element_id": str(mine)})
    assert again.json()["code"] == 1201
    assert "already be deleted" in again.json()["message"]
    used = await caller.create(element_list=[{"element_id": mine}])
    assert used.json()["code"] == 1201
    (listed,) = (await caller.http.get(ELEMENTS)).json()["data"]
    assert listed["task_result"]["elements"][0]["status"] == "deleted"
    (record,) = (await caller.http.get("/tasks", params={"task_ids": task["task_id"]})).json()[
        "data"
    ]
    assert record["outputs"][0]["status"] == "deleted"
    for odd in ("\ud800", None, [1], {"a": 1}, 2**70, True):
        sent = json.dumps({"element_id": odd})
        answer = await caller.http.post(f"/v1/general/{path}", content=sent)
        assert answer.json()["code"] == 1201
    kling_s = await post(caller, f"/v1/general/{path}", {"element_id": "160"})
    assert kling_s.json()["code"] == 1201


async def test_a_deleted_voice_is_refused(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    task = await made(caller, clock, VOICES, voice())
    mine = task["task_result"]["voices"][0]["voice_id"]
    wish = {
        "model_name": "kling-v2-6",
        "mode": "pro",
        "sound": "on",
        "prompt": "<<<voice_1>>> sings",
        "voice_list": [{"voice_id": mine}],
    }
    await caller.created(**wish)
    assert (await post(caller, "/v1/general/delete-voices", {"voice_id": mine})).json()["code"] == 0
    assert "already be deleted" in (await caller.create(**wish)).json()["message"]


@pytest.mark.parametrize("element_id", [9, 322_000_000_000_000])
async def test_what_no_library_has_is_refused(open_sandbox: Any, element_id: int) -> None:
    answer = await (await open_sandbox()).create(element_list=[{"element_id": element_id}])
    assert answer.json()["message"] == f"element not found by id: {element_id}"


async def test_an_element_that_is_not_ready_cannot_be_used(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    receipt = (await post(caller, ELEMENTS, element(URL))).json()["data"]
    made_by = caller.store.find(receipt["task_id"]).order.made
    answer = await caller.create(element_list=[{"element_id": int(made_by.asset_id)}])
    assert "element not found" in answer.json()["message"]


async def test_elements_and_voices_are_tasks_of_the_new_standard_too(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    mia = await made(caller, clock, ELEMENTS, element(caller.image, URL))
    grandma = await made(caller, clock, VOICES, voice())
    ids = f"{mia['task_id']},{grandma['task_id']}"
    answer = await caller.http.get("/tasks", params={"task_ids": ids})
    of_element, of_voice = (record["outputs"][0] for record in answer.json()["data"])
    assert of_element["type"] == "element"
    assert of_element["element_type"] == "multi_image_elements"
    assert [part["role"] for part in of_element["references"]] == ["frontal", "reference"]
    assert of_element["tags"] == [{"id": 102, "name": "Character", "description": ""}]
    assert (of_voice["type"], of_voice["name"], of_voice["status"]) == (
        "voice",
        "Grandma",
        "succeeded",
    )
    assert isinstance(of_element["id"], str)


async def test_an_id_of_ours_names_one_thing_of_any_kind(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    await caller.created(external_task_id="one")
    answer = await post(caller, ELEMENTS, element(URL, external_task_id="one"))
    assert answer.json()["message"] == "External_task_id one already exists"


async def test_faults_strike_elements_and_voices(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("html-502-after-accept:1", "rate-limit@queries:1")
    lost = await post(caller, ELEMENTS, element(URL, external_task_id="mia"))
    assert lost.status_code == 502
    assert (await caller.http.get(ELEMENTS)).status_code == 429
    clock.now += 10
    (listed,) = (await caller.http.get(ELEMENTS)).json()["data"]
    assert listed["task_info"] == {"external_task_id": "mia"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in list(SHORT_SIDE_PX):
        monkeypatch.setitem(SHORT_SIDE_PX, mode, 240)


def corner(content: bytes) -> tuple[int, int, int]:
    """The colour in the middle of the first small picture of the first frame."""
    with av.open(io.BytesIO(content), "r") as container:
        frame = next(container.decode(video=0)).to_image()
    side = min(frame.size) // 5
    middle = side // 8 + side // 2
    colour: tuple[int, int, int] = frame.getpixel((middle, middle))
    return colour


@pytest.mark.usefixtures("small")
async def test_an_element_is_seen_in_the_clip(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    out = io.BytesIO()
    Image.new("RGB", (400, 400), (230, 20, 20)).save(out, "PNG")
    red = base64.b64encode(out.getvalue()).decode()
    task = await made(caller, clock, ELEMENTS, element(red))
    mine = task["task_result"]["elements"][0]["element_id"]
    seen = []
    for listed in ([{"element_id": mine}], None):
        receipt = await caller.created(element_list=listed, duration="3")
        clock.now += 10
        video = (await caller.task(receipt["task_id"]))["task_result"]["videos"][0]
        seen.append(corner((await caller.http.get(video["url"])).content))
    red_seen, other = seen
    assert red_seen[0] > 180
    assert red_seen[1] < 90
    assert abs(other[0] - other[1]) < 60


async def test_a_voice_is_named_in_the_clip_and_heard(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    grandma = await made(caller, clock, VOICES, voice())
    voice_id = grandma["task_result"]["voices"][0]["voice_id"]
    mia = await made(caller, clock, ELEMENTS, element(URL, element_voice_id=voice_id))
    shown = mia["task_result"]["elements"][0]
    assert shown["element_voice_info"]["voice_name"] == "Grandma"
    receipts = [
        await caller.created(
            model_name="kling-v2-6",
            mode="pro",
            sound="on",
            prompt="<<<voice_1>>> sings",
            voice_list=[{"voice_id": voice_id}],
        ),
        await caller.created(element_list=[{"element_id": shown["element_id"]}], sound="on"),
    ]
    files = PictureFiles(caller.home / "pictures")
    for receipt in receipts:
        script = script_of(caller.store.find(receipt["task_id"]).order, files)
        assert script.labels == ("Voice: Grandma",)
        assert script.voice == voice_id


async def test_several_elements_and_a_video_are_told_apart_on_the_new_standard(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    body = element(URL) | {
        "reference_type": "video_refer",
        "element_video_list": {"refer_videos": [{"video_url": "https://example.com/mia.mp4"}]},
    }
    task = await made(caller, clock, ELEMENTS, body)
    mine = str(task["task_result"]["elements"][0]["element_id"])
    star = {"type": "element", "element_id": mine, "id": "star"}
    rosa = {"type": "element", "element_id": "160", "id": "Rosa"}
    refer = {"type": "refer_image", "url": URL}
    feature = {"type": "feature_video", "url": "https://example.com/walk.mp4"}
    cases = [
        ("kling-3.0-omni", [star, *[refer] * 4], ""),
        ("kling-3.0-omni", [star, *[refer] * 5], "max number is 4"),
        ("kling-3.0-omni", [star, feature], ""),
        ("kling-3.0-omni", [star, rosa, feature], "max number is 0"),
        ("kling-o1", [star], "video character element is not supported"),
    ]
    for model, contents, text in cases:
        sent = {
            "contents": [{"type": "prompt", "text": "@star runs"}, *contents],
            "settings": {"aspect_ratio": "1:1"},
        }
        answer = await post(caller, f"/omni-video/{model}", sent)
        assert (answer.status_code == 200) is (text == ""), answer.text
        assert text in answer.json()["message"]


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=8),
    st.sampled_from([URL, "\ud800", "o_102", "AAAA", "video_refer", "829836039416651003"]),
    st.lists(st.integers() | st.dictionaries(st.sampled_from(["tag_id"]), st.text()), max_size=2),
    st.dictionaries(
        st.sampled_from(["frontal_image", "refer_images", "refer_videos"]),
        st.sampled_from([URL, [{"image_url": URL}], [{"video_url": URL}], [], [7]]),
        max_size=3,
    ),
)
FIELDS = st.dictionaries(st.sampled_from([*element(URL), *voice(), "video_id", "x"]), ODD)


@given(FIELDS)
def test_every_body_becomes_an_element_or_voice_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, odd: dict[str, Any]
) -> None:
    files = PictureFiles(Path(tmp_path_factory.getbasetemp()) / "pictures")
    for judge in (
        lambda: new_element(
            Fields(element(URL) | odd), files, lambda kind, _: Asset(kind, "1", "a")
        ),
        lambda: new_voice(Fields(voice() | odd), lambda _: True),
    ):
        try:
            order = judge()
        except Refusal as refusal:
            assert refusal.message.encode("utf-8")  # noqa: PT017
        else:
            assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order
