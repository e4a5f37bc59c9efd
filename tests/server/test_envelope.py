"""Kling's answers, as recorded, as documented, and as nobody should send them."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kling_mcp.envelope import Answer, read_data, read_task
from kling_mcp.tasks import Task, Video, task_status
from kling_tools.errors import ProviderDown, ProviderError, RateLimited, RequestRefused

CREATED: dict[str, Any] = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "CjI17WevH1IAAAAAAHmgsw",
    "data": {
        "task_id": "CjI17WevH1IAAAAAAHmgsw",
        "task_status": "submitted",
        "created_at": 1739744384259,
        "updated_at": 1739744384259,
    },
}
"""Recorded in February 2025."""

URL = (
    "https://cdn.klingai.com/bs2/upload-kling-api/5739745938/image2video/"
    "CjI17WevH1IAAAAAAHmgsw-0_raw_video_1.mp4"
)
SUCCEEDED: dict[str, Any] = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "CjnVU2evHRAAAAAAAKDHAg",
    "data": {
        "task_id": "CjI17WevH1IAAAAAAHmgsw",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_result": {
            "videos": [
                {
                    "id": "28444a6c-b923-4d7c-be2c-e0898ea73dc0",
                    "url": URL,
                    "duration": "5.1",
                }
            ]
        },
        "created_at": 1739744384259,
        "updated_at": 1739744621359,
    },
}
"""Recorded in February 2025."""


def data_of(http_status: int = 200, body: bytes | None = None, **envelope: Any) -> Any:
    sent = json.dumps(envelope).encode() if body is None else body
    return read_data(Answer(http_status, sent, provider="kling"))


def task_of(**data: Any) -> Task:
    return read_task({"task_id": "1", **data}, "kling")


def test_a_recorded_create_is_a_submitted_task() -> None:
    assert read_task(data_of(**CREATED), "kling") == Task(
        task_id="CjI17WevH1IAAAAAAHmgsw",
        status="submitted",
        created_at=1739744384.259,
        updated_at=1739744384.259,
    )


def test_a_recorded_success_has_its_video() -> None:
    assert read_task(data_of(**SUCCEEDED), "kling") == Task(
        task_id="CjI17WevH1IAAAAAAHmgsw",
        status="succeed",
        videos=(Video(url=URL, duration_s=5.1, id="28444a6c-b923-4d7c-be2c-e0898ea73dc0"),),
        created_at=1739744384.259,
        updated_at=1739744621.359,
    )


@pytest.mark.parametrize(
    "message",
    [
        "Failure to pass the risk control system",
        "The resolution or aspect ratio of the input image is invalid. Please ensure it meets "
        "the required specifications.",
    ],
)
def test_a_recorded_failure_keeps_kling_s_reason(message: str) -> None:
    task = task_of(task_status="failed", task_status_msg=message)

    assert (task.status, task.message) == ("failed", message)


def test_every_documented_field_is_read() -> None:
    task = task_of(
        task_status="succeed",
        task_status_msg="ready",
        task_info={"external_task_id": "mine-1"},
        task_result={
            "videos": [
                {"id": "v1", "url": "https://a/1.mp4", "watermark_url": "https://a/w.mp4"},
                {"id": "v2", "url": "https://a/2.mp4", "duration": "10.04"},
            ]
        },
        watermark_info={"enabled": True},
        final_unit_deduction="3.5",
    )

    assert task.external_task_id == "mine-1"
    assert task.units == 3.5
    assert task.videos == (
        Video("https://a/1.mp4", None, "https://a/w.mp4", "v1"),
        Video("https://a/2.mp4", 10.04, "", "v2"),
    )


@pytest.mark.parametrize("message", ["SUCCEED", "success", "", None, "failed", {"a": 1}])
@pytest.mark.parametrize("code", [0, "0"])
def test_code_0_is_success_whatever_the_message_says(code: object, message: object) -> None:
    assert data_of(code=code, message=message, data={"task_id": "1"}) == {"task_id": "1"}


@pytest.mark.parametrize("envelope", [{"code": 0}, {"code": 0, "data": None}])
def test_a_success_without_data_names_no_task(envelope: dict[str, Any]) -> None:
    with pytest.raises(ProviderDown) as raised:
        read_task(data_of(**envelope), "kling")

    assert "names no task" in raised.value.message
    assert raised.value.charged == "unknown"


@pytest.mark.parametrize(
    "envelope",
    [{}, {"code": None}, {"code": False, "data": {}}, {"code": 0.5}, {"task_id": "1"}],
)
def test_an_object_that_neither_succeeds_nor_refuses_leaves_open_what_happened(
    envelope: dict[str, Any],
) -> None:
    with pytest.raises(ProviderDown) as raised:
        data_of(**envelope)

    assert raised.value.charged == "unknown"
    assert raised.value.code is None


def test_a_refusal_without_a_request_id_is_told_without_one() -> None:
    with pytest.raises(RequestRefused) as raised:
        data_of(400, code=1201, message="image can not be null")

    assert raised.value.request_id is None
    assert "request_id" not in raised.value.facts()


def test_the_wait_that_was_asked_for_and_the_provider_are_passed_on() -> None:
    for body in (b'{"code": 1302}', b"<html>slow down</html>"):
        with pytest.raises(RateLimited) as raised:
            read_data(Answer(429, body, retry_after_s=7.0, provider="kling"))

        assert raised.value.retry_after_s == 7.0
        assert raised.value.provider == "kling"


@pytest.mark.parametrize(
    ("http_status", "charged"), [(200, "unknown"), (301, "no"), (404, "no"), (502, "unknown")]
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>Bad Gateway</h1>\xff</html>",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"code": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_never_shown(http_status: int, charged: str, body: bytes) -> None:
    with pytest.raises(ProviderError) as raised:
        data_of(http_status, body=body)

    assert raised.value.http_status == http_status
    assert raised.value.charged == charged
    assert "Gateway" not in str(raised.value)
    assert f"(HTTP {http_status}, not JSON)" in raised.value.message


@pytest.mark.parametrize("result", [{}, None, {"videos": []}, {"videos": None}, [], "none"])
@pytest.mark.parametrize("status", ["submitted", "processing"])
def test_a_pending_task_has_no_result_in_whatever_form(status: str, result: object) -> None:
    task = task_of(task_status=status, task_result=result, task_info=None)

    assert (task.status, task.videos, task.external_task_id) == (status, (), "")


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"videos": []},
        {"videos": [{}]},
        {"videos": [{"id": "v1", "url": ""}]},
        {"videos": [{"url": None, "watermark_url": "https://a/w.mp4"}]},
        {"videos": {"url": "https://a/1.mp4"}},
        {"videos": ["https://a/1.mp4"]},
        {"images": [{"url": "https://a/1.png"}]},
    ],
)
def test_succeed_without_a_url_is_never_success(result: object) -> None:
    with pytest.raises(ProviderDown) as raised:
        task_of(task_status="succeed", task_result=result)

    assert raised.value.retryable


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", "submitted"),
        ("queued", "submitted"),
        ("NOT_START", "submitted"),
        ("processing", "processing"),
        ("IN_PROGRESS", "processing"),
        ("running", "processing"),
        ("pending", "processing"),
        ("succeed", "succeed"),
        ("SUCCEEDED", "succeed"),
        ("success", "succeed"),
        ("completed", "succeed"),
        (" Failed ", "failed"),
        ("FAILURE", "failed"),
        ("cancelled", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        (99, "unknown"),
    ],
)
def test_status_words_of_all_providers_are_understood_and_others_are_never_success(
    word: object, status: str
) -> None:
    assert task_status(word) == status


@pytest.mark.parametrize("data", [None, [], "1", 1, {}, {"task_id": ""}, {"task_id": None}])
def test_what_names_no_task_is_not_a_task(data: object) -> None:
    with pytest.raises(ProviderDown):
        read_task(data, "kling")


def test_ids_are_text_even_where_a_gateway_sends_numbers() -> None:
    data = data_of(body=b'{"code": 0, "data": {"task_id": 829611643369439283}}')

    assert read_task(data, "kling").task_id == "829611643369439283"


@pytest.mark.parametrize("task_id", [True, 1.5, ["1"], {"id": "1"}])
def test_what_is_neither_text_nor_a_whole_number_is_no_id(task_id: object) -> None:
    with pytest.raises(ProviderDown):
        task_of(task_id=task_id)


def test_half_a_character_does_not_reach_urls_and_files() -> None:
    data = data_of(body=rb'{"code": 0, "data": {"task_id": "a\ud800b"}}')

    assert read_task(data, "kling").task_id == "a?b"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5.041", 5.041),
        (5, 5.0),
        (0, 0.0),
        ("0", 0.0),
        ("", None),
        ("five", None),
        (None, None),
        (-1, None),
        ("nan", None),
        (float("inf"), None),
        (10**400, None),
        ([5], None),
    ],
)
def test_numbers_come_as_text_or_numbers_and_what_is_none_is_none(
    value: object, number: float | None
) -> None:
    video = {"url": "https://a/1.mp4", "duration": value}
    task = task_of(
        task_status="succeed", task_result={"videos": [video]}, final_unit_deduction=value
    )

    assert task.units == number
    assert task.videos[0].duration_s == number


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (1739744384259, 1739744384.259),
        (1739744384, 1739744384.0),
        ("1739744384259", 1739744384.259),
    ],
)
def test_times_are_seconds_whether_they_come_in_seconds_or_milliseconds(
    sent: object, seconds: float
) -> None:
    assert task_of(created_at=sent).created_at == seconds


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["0", "1201", "https://a/1.mp4", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["videos", "url", "duration", "id", "task_id"]), inner)
    ),
    max_leaves=8,
)
_tasks = st.fixed_dictionaries(
    {"task_id": st.just("1") | _values},
    optional={
        "task_status": st.sampled_from(["succeed", "processing", "failed"]) | _values,
        "task_result": st.fixed_dictionaries({"videos": st.lists(_values)}) | _values,
        **dict.fromkeys(
            ("task_info", "task_status_msg", "final_unit_deduction", "created_at"), _values
        ),
    },
)
_envelopes = st.fixed_dictionaries(
    {"code": st.sampled_from([0, "0", 1201, 5000]) | _values},
    optional={"message": _values, "request_id": _values, "data": _tasks | _values},
)
_bodies = st.binary(max_size=60) | (_envelopes | _values).map(lambda v: json.dumps(v).encode())


def assert_sound(task: Task) -> None:
    texts = [task.task_id, task.message, task.external_task_id]
    texts += [text for video in task.videos for text in (video.url, video.watermark_url, video.id)]
    for text in texts:
        text.encode()
    assert task.task_id
    assert all(video.url for video in task.videos)
    assert task.videos or task.status != "succeed"


@settings(deadline=None)
@given(_bodies, st.sampled_from([200, 200, 204, 301, 400, 401, 429, 502]))
@example(b'{"code": 0, "data": {"task_id": "1", "created_at": 1' + b"0" * 400 + b"}}", 200)
def test_no_bytes_make_the_readers_raise_anything_but_a_provider_error(
    body: bytes, http_status: int
) -> None:
    try:
        task = read_task(read_data(Answer(http_status, body)), "kling")
    except ProviderError as error:
        f"{error} {error.facts()}".encode()
    else:
        assert_sound(task)


@settings(deadline=None)
@given(_tasks | _values)
def test_no_data_makes_the_task_reader_raise_anything_but_a_provider_error(data: Any) -> None:
    try:
        task = read_task(data, "kling")
    except ProviderError:
        return
    assert_sound(task)
