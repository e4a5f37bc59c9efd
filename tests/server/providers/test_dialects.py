"""A task read from every shape: as recorded, as documented, and as nobody should send it."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kling_mcp.providers.dialects import Kind, read_task, read_tasks
from kling_mcp.providers.responses import Answer, read_document
from kling_mcp.providers.rows import PROVIDERS, SANDBOX, Shape
from kling_mcp.providers.task import Task, Video, task_status
from kling_tools.errors import ProviderDown, ProviderError

GATEWAYS = tuple(name for name in PROVIDERS if name not in ("kling", SANDBOX))

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


COMETAPI_ONE_PICTURE: dict[str, Any] = {
    "code": 0,
    "message": "success",
    "data": {
        "task_id": "2032273942220931072",
        "task_status": "submitted",
        "task_info": {},
        "created_at": 1773366840306,
        "updated_at": 1773366840306,
    },
}
COMETAPI_SEVERAL: dict[str, Any] = {
    "code": 0,
    "message": "SUCCEED",
    "data": {
        "task_id": "861309198188019719",
        "task_status": "submitted",
        "task_info": {},
        "created_at": 1773380633979,
        "updated_at": 1773380633979,
    },
}
ANYFAST: dict[str, Any] = {
    "id": "860260753860210752",
    "task_id": "860260753860210752",
    "object": "video",
    "model": "kling-v2-master",
    "status": "<string>",
    "progress": 0,
    "created_at": 1773130665,
}
"""The answers to creates on the pages of CometAPI and AnyFast."""


def read(document: object, provider: str = "kling", http_status: int = 200) -> Task:
    """The task of an answer, read as the provider's client reads it."""
    sent = json.dumps(document).encode()
    answer = read_document(Answer(http_status, sent, provider=provider))
    return read_task(answer, PROVIDERS[provider].shapes, provider)


def kling(**data: Any) -> Task:
    return read({"code": 0, "data": {"task_id": "1", **data}})


def wrapped(status: object, provider: str = "newapi", **data: Any) -> Task:
    """The task of new-api's wrapper around the state of task `t-1`."""
    document = {
        "code": "success",
        "message": "",
        "data": {"task_id": "t-1", "status": status, **data},
    }
    return read(document, provider)


def upstream(status: str = "succeed", **data: Any) -> dict[str, Any]:
    """What Kling said to the gateway, with Kling's own id."""
    videos = {"task_result": {"videos": [{"url": URL, "duration": "5.041", "id": "v"}]}}
    shown = videos if status == "succeed" else {"task_result": {}}
    return {
        "code": 0,
        "message": "SUCCEED",
        "data": {"task_id": "k-9", "task_status": status, "task_info": {}, **shown, **data},
    }


def unread(document: object, provider: str = "kling") -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        read(document, provider)
    assert type(raised.value) is ProviderDown
    assert raised.value.charged == "unknown"
    assert raised.value.provider == provider
    return raised.value


def test_a_recorded_create_is_a_submitted_task() -> None:
    assert read(CREATED) == Task(
        task_id="CjI17WevH1IAAAAAAHmgsw",
        status="submitted",
        created_at=1739744384.259,
        updated_at=1739744384.259,
    )


def test_a_recorded_success_has_its_video() -> None:
    assert read(SUCCEEDED) == Task(
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
    task = kling(task_status="failed", task_status_msg=message)

    assert (task.status, task.message) == ("failed", message)


@pytest.mark.parametrize(
    ("document", "task_id", "created_at"),
    [
        (COMETAPI_ONE_PICTURE, "2032273942220931072", 1773366840.306),
        (COMETAPI_SEVERAL, "861309198188019719", 1773380633.979),
    ],
)
def test_the_creates_of_cometapi_s_pages_are_submitted_tasks(
    document: dict[str, Any], task_id: str, created_at: float
) -> None:
    assert read(document, "cometapi") == Task(
        task_id=task_id, status="submitted", created_at=created_at, updated_at=created_at
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("<string>", "unknown"),
        ("submitted", "submitted"),
        ("queued", "submitted"),
        ("", "submitted"),
        (None, "submitted"),
        ("IN_PROGRESS", "processing"),
    ],
)
def test_the_create_of_anyfast_s_page_names_a_task_whatever_its_status(
    word: object, status: str
) -> None:
    assert read({**ANYFAST, "status": word}, "anyfast") == Task(
        task_id="860260753860210752", status=task_status(status), created_at=1773130665.0
    )


@pytest.mark.parametrize("provider", GATEWAYS)
@pytest.mark.parametrize(
    ("document", "task_id"),
    [
        (CREATED, "CjI17WevH1IAAAAAAHmgsw"),
        (COMETAPI_ONE_PICTURE, "2032273942220931072"),
        ({**ANYFAST, "status": "queued", "id": "task_aBc", "task_id": "task_aBc"}, "task_aBc"),
        ({"id": "task_aBc", "object": "video", "status": "queued"}, "task_aBc"),
        ({"task_id": "task_aBc"}, "task_aBc"),
        ({"code": "success", "data": {"task_id": "task_aBc", "status": "SUBMITTED"}}, "task_aBc"),
        ({"code": "success", "data": {"id": "task_aBc", "status": "NOT_START"}}, "task_aBc"),
        ({"code": 0, "data": {"task_id": "task_aBc"}}, "task_aBc"),
    ],
)
def test_every_gateway_may_answer_a_create_in_any_shape(
    provider: str, document: dict[str, Any], task_id: str
) -> None:
    task = read(document, provider)

    assert task.task_id == task_id
    assert task.status in ("submitted", "unknown")
    assert task.videos == ()


def test_every_documented_field_is_read() -> None:
    task = kling(
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


@pytest.mark.parametrize(
    "document",
    [
        {"code": 0},
        {"code": 0, "data": None},
        {"code": 0, "data": []},
        {"code": 0, "data": "task_aBc"},
        {"code": 0, "data": {}},
        {"code": 0, "data": {"task_id": ""}},
        {"code": 0, "data": {"task_id": None, "task_status": "submitted"}},
        {"code": "success", "data": {"status": "SUBMITTED"}},
        {"code": "success", "data": {"status": "SUCCESS", "data": {"data": {"task_id": "k"}}}},
        {"code": 0, "object": "video", "status": "queued", "progress": 0},
    ],
)
@pytest.mark.parametrize("provider", ["kling", *GATEWAYS])
def test_a_success_with_neither_id_leaves_open_whether_a_task_was_made(
    provider: str, document: dict[str, Any]
) -> None:
    assert "names no task" in unread(document, provider).message


def test_kling_itself_never_speaks_as_a_gateway() -> None:
    unread(ANYFAST)
    unread({"code": "success", "data": {"task_id": "t-1", "status": "SUBMITTED"}})


@pytest.mark.parametrize("result", [{}, None, {"videos": []}, {"videos": None}, [], "none"])
@pytest.mark.parametrize("status", ["submitted", "processing"])
def test_a_pending_task_has_no_result_in_whatever_form(status: str, result: object) -> None:
    task = kling(task_status=status, task_result=result, task_info=None)

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
@pytest.mark.parametrize("around", ["kling", "newapi", "anyfast"])
def test_succeed_without_a_url_is_never_success(around: str, result: object) -> None:
    data = {"task_id": "1", "task_status": "succeed", "task_result": result}
    wrapper = {"task_id": "t-1", "status": "SUCCESS", "data": {"code": 0, "data": data}}
    document = {"code": 0, "data": data if around == "kling" else wrapper}

    error = unread(document, around)

    assert error.retryable
    assert "no video" in error.message


SHOWN = {"images": [{"url": "https://a/1.png"}, {"url": "https://a/2.png"}]}


@pytest.mark.parametrize(
    ("result", "beside", "kind", "urls"),
    [
        (SHOWN, {}, "picture", ["https://a/1.png", "https://a/2.png"]),
        (
            SHOWN,
            {"result_url": "https://a/1.png"},
            "picture",
            ["https://a/1.png", "https://a/2.png"],
        ),
        (SHOWN, {"result_url": "https://a/1.mp4"}, "video", ["https://a/1.mp4"]),
        ({}, {"result_url": "https://a/1.png"}, "picture", ["https://a/1.png"]),
    ],
)
def test_the_files_of_a_gateway_are_of_the_kind_that_was_asked_for(
    result: object, beside: dict[str, Any], kind: Kind, urls: list[str]
) -> None:
    data = {"task_id": "1", "task_status": "succeed", "task_result": result}
    wrapper = {"task_id": "t-1", "status": "SUCCESS", "data": {"code": 0, "data": data}, **beside}

    task = read_task({"code": 0, "data": wrapper}, ("wrapper",), "newapi", kind)

    assert [(file.kind, file.url) for file in task.videos] == [(kind, url) for url in urls]


def test_pictures_are_not_made_without_a_picture() -> None:
    data = {"task_id": "1", "task_status": "succeed", "task_result": {}}
    with pytest.raises(ProviderDown, match="gives no picture"):
        read_task({"code": 0, "data": data}, ("envelope",), "kling", "picture")


def test_a_list_of_videos_leaves_out_what_gives_pictures_alone() -> None:
    data = [{"task_id": "1", "task_status": "succeed", "task_result": SHOWN}]

    assert read_tasks({"code": 0, "data": data}) == []
    assert len(read_tasks({"code": 0, "data": data}, "picture")) == 1


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
        ("REVOKED", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        (99, "unknown"),
    ],
)
def test_status_words_of_all_providers_are_understood_and_others_are_never_success(
    word: object, status: str
) -> None:
    assert task_status(word) == status
    if status != "succeed":
        assert kling(task_status=word).status == status
        assert wrapped(word).status == status


WRAPPED: tuple[tuple[str, Any, str], ...] = (
    ("NOT_START", "0%", "submitted"),
    ("SUBMITTED", "10%", "submitted"),
    ("QUEUED", 10, "submitted"),
    ("IN_PROGRESS", "30%", "processing"),
    ("PROCESSING", 30, "processing"),
    ("FAILURE", "100%", "failed"),
    ("FAILED", 100, "failed"),
    ("SUCCESS", "100%", "succeed"),
    ("SUCCESS", 100, "succeed"),
)


@pytest.mark.parametrize(("word", "progress", "status"), WRAPPED)
@pytest.mark.parametrize("provider", GATEWAYS)
def test_the_wrapper_s_words_and_progress_are_read_at_every_gateway(
    provider: str, word: str, progress: object, status: str
) -> None:
    task = wrapped(word, provider, progress=progress, result_url=URL, data=None)

    assert (task.task_id, task.status) == ("t-1", status)
    assert bool(task.videos) is (status == "succeed")


def test_a_video_in_the_upstream_s_envelope_is_read_with_what_it_cost() -> None:
    told = upstream(final_unit_deduction="1.5")

    task = wrapped("SUCCESS", "anyfast", fail_reason="", progress="100%", data=told)

    assert task.task_id == "t-1"
    assert task.videos == (Video(URL, 5.041, "", "v"),)
    assert task.units == 1.5


@pytest.mark.parametrize(
    "told",
    [
        upstream(),
        upstream()["data"],
        {"data": upstream()},
        {"code": "success", "data": {"status": "SUCCESS", "data": upstream()}},
    ],
    ids=["envelope", "bare", "twice", "a gateway behind a gateway"],
)
def test_the_upstream_s_task_is_found_below_any_envelopes(told: dict[str, Any]) -> None:
    assert wrapped("SUCCESS", data=told).videos == (Video(URL, 5.041, "", "v"),)


def test_the_upstream_s_video_goes_before_the_gateway_s_copy() -> None:
    copy = "https://gateway.example/v1/videos/t-1/content"

    task = wrapped("SUCCESS", result_url=copy, data=upstream())

    assert [video.url for video in task.videos] == [URL]


@pytest.mark.parametrize(
    "place",
    [
        {"result_url": URL},
        {"result_url": URL.replace("https", "HTTPS"), "fail_reason": ""},
        {"fail_reason": URL},
        {"fail_reason": URL, "result_url": ""},
        {"fail_reason": "nothing", "result_url": URL, "data": {}},
        {"url": URL, "data": upstream("processing")},
    ],
)
def test_the_address_is_found_where_each_version_of_the_gateway_puts_it(
    place: dict[str, Any],
) -> None:
    (video,) = wrapped("SUCCESS", **place).videos

    assert video.url.lower() == URL.lower()


@pytest.mark.parametrize("place", ["result_url", "fail_reason", "url"])
@pytest.mark.parametrize("words", ["", "done", "/v1/files/a.mp4", "ftp://a/1.mp4", None, 5, [URL]])
def test_what_is_no_address_is_no_video(place: str, words: object) -> None:
    document = {"code": "success", "data": {"task_id": "t", "status": "SUCCESS", place: words}}

    assert "no video" in unread(document, "newapi").message


REASON = "Failure to pass the risk control system"
REFUSED = {"code": 1301, "message": REASON, "request_id": "r"}


@pytest.mark.parametrize(
    "place",
    [
        {"fail_reason": REASON},
        {"fail_reason": REASON, "result_url": REASON},
        {"result_url": REASON},
        {"data": upstream("failed", task_status_msg=REASON)},
        {"fail_reason": "", "data": upstream("failed", task_status_msg=REASON)["data"]},
        {"fail_reason": URL, "data": upstream("failed", task_status_msg=REASON)},
        {"data": REFUSED},
        {"data": {"code": "success", "message": "fine", "data": REFUSED}},
        {"data": {"error": {"code": "1301", "message": REASON}}},
        {"data": {"error": REASON}},
        {"error": {"message": REASON}},
        {"message": REASON},
    ],
)
@pytest.mark.parametrize("word", ["FAILURE", "failed"])
def test_a_failed_task_s_reason_is_found_wherever_the_gateway_hides_it(
    word: str, place: dict[str, Any]
) -> None:
    task = wrapped(word, **place)

    assert (task.status, task.message, task.videos) == ("failed", REASON, ())


@pytest.mark.parametrize("error", [{"code": "1301", "message": REASON}, REASON])
def test_an_openai_like_object_may_say_that_the_task_failed(error: object) -> None:
    task = read({"id": "v-1", "object": "video", "status": "failed", "error": error}, "anyfast")

    assert (task.task_id, task.status, task.message) == ("v-1", "failed", REASON)


@pytest.mark.parametrize("place", [{"url": URL}, {"metadata": {"url": URL}}])
def test_an_openai_like_object_may_have_the_video(place: dict[str, Any]) -> None:
    document = {"id": "v-1", "status": "completed", "created_at": 1, "completed_at": 2, **place}

    assert read(document, "newapi") == Task(
        "v-1", "succeed", videos=(Video(URL),), created_at=1, updated_at=2
    )


def test_an_openai_like_success_without_a_video_is_none() -> None:
    assert "no video" in unread({"id": "v-1", "status": "completed"}, "newapi").message


@pytest.mark.parametrize("word", ["REVOKED", "RETRYING", "paused"])
@pytest.mark.parametrize("inner", ["succeed", "failed", "processing"])
def test_a_word_that_is_not_known_is_unknown_whatever_lies_below(word: str, inner: str) -> None:
    task = wrapped(word, result_url=URL, data=upstream(inner))

    assert (task.status, task.videos, task.message) == ("unknown", (), "")


@pytest.mark.parametrize("word", ["", "UNKNOWN", None])
@pytest.mark.parametrize("inner", ["succeed", "failed", "processing", "submitted"])
def test_a_wrapper_without_a_word_has_the_upstream_s(word: object, inner: str) -> None:
    assert wrapped(word, data=upstream(inner)).status == inner


def test_a_gateway_s_success_is_not_undone_by_an_upstream_that_was_asked_before() -> None:
    task = wrapped("SUCCESS", result_url=URL, data=upstream("processing"))

    assert (task.status, [video.url for video in task.videos]) == ("succeed", [URL])


def test_ids_are_text_even_where_a_gateway_sends_numbers() -> None:
    assert kling(task_id=829611643369439283).task_id == "829611643369439283"
    assert wrapped("QUEUED", task_id=829611643369439283).task_id == "829611643369439283"


def test_the_number_of_a_gateway_s_row_is_no_id_where_there_is_one() -> None:
    assert wrapped("QUEUED", id=77).task_id == "t-1"


@pytest.mark.parametrize("task_id", [True, 1.5, ["1"], {"id": "1"}])
def test_what_is_neither_text_nor_a_whole_number_is_no_id(task_id: object) -> None:
    with pytest.raises(ProviderDown):
        kling(task_id=task_id)


@pytest.mark.parametrize(
    "task_id",
    [
        "a\ud800b",
        "../../etc/passwd",
        "a.b",
        "[click](https://a.example)",
        "**t**",
        "`id`",
        "a" * 129,
    ],
)
def test_what_a_url_a_file_or_markdown_would_take_apart_is_no_id(task_id: str) -> None:
    with pytest.raises(ProviderDown):
        kling(task_id=task_id)


@pytest.mark.parametrize(
    ("value", "number"),
    [("5.041", 5.041), (5, 5.0), ("five", None), (None, None), (-1, None), ([5], None)],
)
def test_a_duration_and_a_price_that_cannot_be_read_are_none(
    value: object, number: float | None
) -> None:
    video = {"url": "https://a/1.mp4", "duration": value}
    task = kling(task_status="succeed", task_result={"videos": [video]}, final_unit_deduction=value)

    assert task.units == number
    assert task.videos[0].duration_s == number


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (1739744384259, 1739744384.259),
        (1739744384, 1739744384.0),
        ("1739744384259", 1739744384.259),
        ("1739744384", 1739744384.0),
    ],
)
def test_times_are_seconds_whether_they_come_in_seconds_or_milliseconds(
    sent: object, seconds: float
) -> None:
    assert kling(created_at=sent, updated_at=sent) == Task(
        "1", "unknown", created_at=seconds, updated_at=seconds
    )
    assert wrapped("QUEUED", submit_time=sent, finish_time=0).created_at == seconds
    assert wrapped("FAILED", created_at=sent, updated_at=sent).updated_at == seconds
    assert read({**ANYFAST, "created_at": sent}, "anyfast").created_at == seconds


def test_a_list_holds_what_can_be_read_of_it() -> None:
    items = [{"task_id": "2", "task_status": "processing"}, {}, "x", None, SUCCEEDED["data"]]
    broken = {"task_id": "3", "task_status": "succeed"}

    tasks = read_tasks({"code": 0, "data": [*items, broken]})

    assert [task.task_id for task in tasks] == ["2", "CjI17WevH1IAAAAAAHmgsw"]


@pytest.mark.parametrize("data", [None, {}, "none", 5])
def test_a_list_without_an_array_is_empty(data: object) -> None:
    assert read_tasks({"code": 0, "data": data}) == []


_words = st.sampled_from(
    ["succeed", "SUCCESS", "completed", "failed", "FAILURE", "queued", "REVOKED", ""]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["0", "success", "1201", "https://a/1.mp4", "\ud800", "100%"])
)
_FIELDS = (
    *("code", "message", "error", "id", "task_id", "status", "task_status", "task_status_msg"),
    *("data", "task_result", "videos", "url", "result_url", "fail_reason", "metadata"),
    *("task_info", "final_unit_deduction", "created_at", "submit_time", "duration"),
)
_values = st.recursive(
    _scalars | _words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5)
    ),
    max_leaves=12,
)
_result = st.fixed_dictionaries(
    {"videos": st.lists(st.fixed_dictionaries({"url": _scalars}) | _values, max_size=2)}
)
_task = st.fixed_dictionaries(
    {"task_id": st.just("1") | _values, "task_status": _words | _values},
    optional={"task_result": _result | _values, "created_at": _values, "task_info": _values},
)
_envelopes = st.fixed_dictionaries(
    {"code": st.sampled_from([0, "0", "success", 1201]) | _values, "data": _task | _values},
    optional={"message": _values, "error": _values},
)
_wrappers = st.fixed_dictionaries(
    {
        "code": st.just("success"),
        "data": st.fixed_dictionaries(
            {"task_id": st.just("1") | _values, "status": _words | _values},
            optional={
                "data": _envelopes | _values,
                **dict.fromkeys(("result_url", "fail_reason", "url", "id", "error"), _values),
            },
        ),
    }
)
_openai = st.fixed_dictionaries(
    {"id": st.just("1") | _values},
    optional={**dict.fromkeys(("task_id", "error", "url", "metadata"), _values), "status": _words},
)
_documents = _envelopes | _wrappers | _openai | _values
_shapes = st.permutations(["envelope", "wrapper", "openai"]).flatmap(
    lambda order: st.integers(1, 3).map(lambda count: order[:count])
)


def assert_sound(task: Task) -> None:
    texts = [task.task_id, task.message, task.external_task_id]
    texts += [text for video in task.videos for text in (video.url, video.watermark_url, video.id)]
    for text in texts:
        text.encode()
    assert task.task_id
    assert all(video.url for video in task.videos)
    assert task.videos or task.status != "succeed"


@settings(deadline=None)
@given(
    st.binary(max_size=60) | _documents.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([200, 200, 200, 204, 301, 400, 401, 429, 502]),
    _shapes,
)
@example(
    b'{"code": 0, "data": {"task_id": "1", "created_at": 1' + b"0" * 400 + b"}}", 200, ["envelope"]
)
@example(b'{"code": 0, "data": ' + b'{"data": ' * 5000 + b"1" + b"}" * 5001, 200, ["wrapper"])
def test_no_bytes_make_the_readers_raise_anything_but_a_provider_error_or_claim_a_video(
    body: bytes, http_status: int, shapes: list[Shape]
) -> None:
    try:
        task = read_task(read_document(Answer(http_status, body)), shapes, "newapi")
    except ProviderError as error:
        f"{error} {error.facts()}".encode()
    else:
        assert http_status < 400
        assert_sound(task)


@settings(deadline=None)
@given(_documents, _shapes)
def test_no_document_makes_the_task_reader_raise_anything_but_a_provider_error(
    document: Any, shapes: list[Shape]
) -> None:
    if not isinstance(document, dict):
        return
    try:
        task = read_task(document, shapes, "newapi")
    except ProviderError:
        return
    assert_sound(task)


@settings(deadline=None)
@given(st.lists(_task | _values, max_size=4))
def test_no_list_makes_the_reader_raise_or_claim_a_video(items: list[Any]) -> None:
    for task in read_tasks({"code": 0, "data": items}):
        assert_sound(task)
