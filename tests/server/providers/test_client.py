"""The client against a scripted wire: what is sent, what is repeated, what every failure says."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from kling_mcp.inputs.held import SourceChanged, StreamedBase64
from kling_mcp.providers import client as client_module
from kling_mcp.providers.auth import ApiKey, Credentials, SignedToken
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.json_body import JsonBody
from kling_mcp.providers.responses import VideoStream
from kling_mcp.providers.rows import PROVIDERS, SANDBOX
from kling_mcp.providers.transport import Connection
from kling_tools.errors import (
    AuthFailed,
    ContentRefused,
    ImageRejected,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    RateLimited,
    RequestRefused,
    TaskNotFound,
    UnsafeUrl,
)

pytestmark = pytest.mark.anyio

GATEWAYS = tuple(name for name in PROVIDERS if name not in ("kling", SANDBOX))
BASE = "https://kling.example"
KEY = "key-of-a-test"
SUBMITTED = {"code": 0, "data": {"task_id": "t-1", "task_status": "submitted"}}
BODY = JsonBody({"model_name": "kling-v2-6", "duration": "5"})
VIDEO = "https://cdn.example/a.mp4?sign=abc"
MP4 = bytes(range(256)) * 8

Answering = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Wire(httpx.AsyncBaseTransport):
    """Gives its answers one after the other, the last one for ever, and keeps what was sent."""

    def __init__(self, *answers: Answering) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.bodies.append(b"".join([chunk async for chunk in request.stream]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


class Silent(httpx.AsyncBaseTransport):
    """Takes a request and never answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError


def answer(http_status: int = 200, headers: dict[str, str] | None = None, **body: Any) -> Answering:
    return lambda _: httpx.Response(http_status, json=body, headers=headers)


def html(http_status: int) -> Answering:
    return lambda _: httpx.Response(http_status, html="<h1>Bad Gateway at 10.0.0.7</h1>")


def refused(http_status: int, code: int, **headers: str) -> Answering:
    return answer(http_status, headers, code=code, message="no")


@asynccontextmanager
async def client_of(
    transport: httpx.AsyncBaseTransport,
    *,
    credentials: Credentials | None = None,
    loopback: bool = False,
    provider: str = "kling",
) -> AsyncIterator[KlingClient]:
    async with (
        httpx.AsyncClient(base_url=BASE, transport=transport) as api,
        httpx.AsyncClient(transport=transport) as files,
    ):
        connection = Connection(api, files, credentials or ApiKey(KEY), loopback)
        yield KlingClient(PROVIDERS[provider], connection)


@pytest.fixture(autouse=True)
def four_attempts_without_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4):
        yield


async def test_a_create_is_one_post_of_its_json_with_its_length() -> None:
    wire = Wire(answer(**SUBMITTED))
    async with client_of(wire) as client:
        task = await client.create("image2video", BODY)

    (request,) = wire.requests
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/v1/videos/image2video")
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Content-Length"] == str(len(wire.bodies[0]))
    assert "Transfer-Encoding" not in request.headers
    assert json.loads(wire.bodies[0]) == {"model_name": "kling-v2-6", "duration": "5"}
    assert (task.task_id, task.status) == ("t-1", "submitted")


@pytest.mark.parametrize("provider", GATEWAYS)
async def test_a_gateway_is_asked_below_its_own_prefix_and_read_in_its_shape(
    provider: str,
) -> None:
    receipt = {"id": "task_aBc", "object": "video", "status": "queued", "progress": 0}
    wrapper = {"task_id": "task_aBc", "status": "IN_PROGRESS", "progress": "30%"}
    wire = Wire(answer(**receipt), answer(code="success", data=wrapper))
    async with client_of(wire, provider=provider) as client:
        made = await client.create("image2video", BODY)
        seen = await client.task("image2video", made.task_id)

    assert (made.task_id, made.status) == ("task_aBc", "submitted")
    assert (seen.task_id, seen.status) == ("task_aBc", "processing")
    assert [str(request.url) for request in wire.requests] == [
        f"{BASE}/kling/v1/videos/image2video",
        f"{BASE}/kling/v1/videos/image2video/task_aBc",
    ]
    assert {request.headers["Authorization"] for request in wire.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("provider", GATEWAYS)
@pytest.mark.parametrize(
    ("failure", "error", "charged"),
    [
        (
            lambda _: httpx.Response(200, html="<h1>Sign in at 10.0.0.7</h1>"),
            ProviderDown,
            "unknown",
        ),
        (lambda _: httpx.Response(200), ProviderDown, "unknown"),
        (lambda _: httpx.Response(200, json={"error": {"message": "no"}}), ProviderDown, "unknown"),
        (lambda _: httpx.Response(200, json={"code": "success"}), ProviderDown, "unknown"),
        (lambda _: httpx.Response(200, json={"object": "video"}), ProviderDown, "unknown"),
        (lambda _: httpx.Response(401, json={"error": {"message": "no"}}), AuthFailed, "no"),
        (
            lambda _: httpx.Response(503, json={"error": {"code": "model_not_found"}}),
            RequestRefused,
            "no",
        ),
        (
            lambda _: httpx.Response(403, json={"code": "quota_not_enough", "data": None}),
            PaymentRequired,
            "no",
        ),
    ],
)
async def test_whatever_a_gateway_answers_a_create_it_is_one_error_with_what_is_known_of_the_money(
    failure: Answering, error: type[ProviderError], charged: str, provider: str
) -> None:
    wire = Wire(failure)
    async with client_of(wire, provider=provider) as client:
        with pytest.raises(ProviderError) as raised:
            await client.create("image2video", BODY)

    assert type(raised.value) is error
    assert (raised.value.charged, raised.value.provider) == (charged, provider)
    assert "10.0.0.7" not in str(raised.value)
    assert len(wire.requests) == 1


async def test_a_task_is_asked_for_below_its_product() -> None:
    wire = Wire(answer(**SUBMITTED))
    async with client_of(wire) as client:
        task = await client.task("omni-video", "t-1")

    (request,) = wire.requests
    assert (request.method, str(request.url)) == ("GET", f"{BASE}/v1/videos/omni-video/t-1")
    assert wire.bodies == [b""]
    assert task.task_id == "t-1"


@pytest.mark.parametrize(
    ("any_id", "segment"),
    [
        ("a/b", b"a%2Fb"),
        ("a b?c=1#d", b"a%20b%3Fc%3D1%23d"),
        ("..", b"%2E%2E"),
        ("../../account/costs", b"%2E%2E%2F%2E%2E%2Faccount%2Fcosts"),
        ("100%", b"100%25"),
        ("片段-1", b"%E7%89%87%E6%AE%B5-1"),
        ("\ud800", b"%3F"),
        ("kmcp-0123456789abcdef", b"kmcp-0123456789abcdef"),
    ],
)
async def test_an_id_is_one_segment_of_the_path_whatever_it_holds(
    any_id: str, segment: bytes
) -> None:
    repeated = any_id.encode(errors="replace").decode()
    told = {"task_id": "t-1", "task_info": {"external_task_id": repeated}}
    wire = Wire(answer(code=0, data=told))
    async with client_of(wire) as client:
        await client.task("image2video", any_id)

    assert wire.requests[0].url.raw_path == b"/v1/videos/image2video/" + segment


async def test_a_page_of_the_list_has_what_can_be_read_of_it() -> None:
    items = [{"task_id": "t-2"}, {}, "x", {"task_id": "t-1", "task_status": "succeed"}]
    wire = Wire(answer(code=0, data=items))
    async with client_of(wire) as client:
        tasks = await client.tasks("image2video", 3, 100)

    assert [task.task_id for task in tasks] == ["t-2"]
    assert wire.requests[0].url.raw_path == b"/v1/videos/image2video?pageNum=3&pageSize=100"


@pytest.mark.parametrize("data", [None, {}, "none"])
async def test_a_list_without_an_array_is_empty(data: object) -> None:
    async with client_of(Wire(answer(code=0, data=data))) as client:
        assert await client.tasks("image2video", 1, 30) == []


PASSING: tuple[Answering, ...] = (
    refused(429, 1302),
    refused(429, 1303),
    refused(500, 5000),
    refused(503, 5001),
    refused(504, 5002),
    refused(200, 5000),
    html(502),
    html(200),
    answer(code=0),
    httpx.ReadTimeout("silence"),
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("closed"),
    httpx.ConnectError("refused"),
)


@pytest.mark.parametrize("failure", PASSING)
async def test_a_read_is_repeated_when_the_failure_may_pass(failure: Answering) -> None:
    wire = Wire(failure, failure, failure, answer(**SUBMITTED))
    async with client_of(wire) as client:
        assert (await client.task("image2video", "t-1")).task_id == "t-1"

    assert len(wire.requests) == 4


@pytest.mark.parametrize("failure", PASSING)
async def test_a_read_ends_with_its_last_failure_and_never_says_that_it_cost(
    failure: Answering,
) -> None:
    wire = Wire(failure)
    async with client_of(wire) as client:
        with pytest.raises(ProviderError) as raised:
            await client.task("image2video", "t-1")

    assert len(wire.requests) == 4
    assert raised.value.charged == "no"
    assert raised.value.provider == "kling"
    assert "10.0.0.7" not in str(raised.value)


@pytest.mark.parametrize("failure", PASSING)
async def test_a_create_is_never_repeated(failure: Answering) -> None:
    wire = Wire(failure, answer(**SUBMITTED))
    async with client_of(wire) as client:
        with pytest.raises(ProviderError):
            await client.create("image2video", BODY)

    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (refused(401, 1002), AuthFailed),
        (refused(429, 1101), PaymentRequired),
        (refused(429, 1102), PaymentRequired),
        (refused(429, 1304), AuthFailed),
        (refused(400, 1201), RequestRefused),
        (refused(400, 1301), ContentRefused),
        (answer(400, code=1201, message="Task not found by id/external id: x"), TaskNotFound),
        (html(404), RequestRefused),
        (html(301), RequestRefused),
    ],
)
async def test_a_read_is_not_repeated_when_waiting_does_not_help(
    failure: Answering, error: type[ProviderError]
) -> None:
    wire = Wire(failure)
    async with client_of(wire) as client:
        with pytest.raises(error) as raised:
            await client.task("image2video", "t-1")

    assert type(raised.value) is error
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("failure", "charged"),
    [
        (httpx.ConnectError("no address for that name"), "no"),
        (httpx.ConnectTimeout("nobody there"), "no"),
        (httpx.PoolTimeout("busy"), "no"),
        (httpx.ProxyError("407 before the tunnel"), "no"),
        (httpx.UnsupportedProtocol("gopher"), "no"),
        (httpx.WriteError("broken pipe"), "unknown"),
        (httpx.WriteTimeout("slow"), "unknown"),
        (httpx.ReadError("reset"), "unknown"),
        (httpx.ReadTimeout("silence"), "unknown"),
        (httpx.RemoteProtocolError("closed"), "unknown"),
        (httpx.DecodingError("not gzip"), "unknown"),
        (html(502), "unknown"),
        (html(200), "unknown"),
        (html(301), "no"),
        (html(404), "no"),
        (html(408), "no"),
        (html(413), "no"),
        (html(429), "no"),
        (refused(500, 5000), "unknown"),
        (refused(200, 5002), "unknown"),
        (refused(500, 1201), "unknown"),
        (refused(200, 1201), "no"),
        (refused(429, 1302), "no"),
        (refused(429, 1303), "no"),
        (refused(401, 1004), "no"),
        (answer(), "unknown"),
        (answer(code=0), "unknown"),
        (answer(code=0, data={}), "unknown"),
        (answer(code=0, data=[]), "unknown"),
        (answer(code=7, message="what?"), "unknown"),
    ],
)
async def test_after_a_failed_create_it_is_told_whether_it_can_have_cost(
    failure: Answering, charged: str
) -> None:
    async with client_of(Wire(failure)) as client:
        with pytest.raises(ProviderError) as raised:
            await client.create("image2video", BODY)

    assert raised.value.charged == charged
    assert "10.0.0.7" not in str(raised.value)


@pytest.mark.parametrize("http_status", [401, 200])
@pytest.mark.parametrize("code", [1003, 1004])
async def test_a_token_refused_for_its_age_is_renewed_once_and_the_same_bytes_go_out_again(
    code: int, http_status: int
) -> None:
    class Pictures:
        size = 500_000

        def read_at(self, offset: int, length: int) -> bytes:
            return bytes([offset % 251]) * length

    now = 1_700_000_000.0
    signed = SignedToken("access", "secret-0123456789abcdef0123456789abcdef", lambda: now)
    body = JsonBody({"image": StreamedBase64(Pictures(), "photo.png"), "duration": "5"})

    def too_old(_: httpx.Request) -> httpx.Response:
        nonlocal now
        now += 1
        return httpx.Response(http_status, json={"code": code, "message": "token expired"})

    wire = Wire(too_old, answer(**SUBMITTED))
    async with client_of(wire, credentials=signed) as client:
        assert (await client.create("image2video", body)).task_id == "t-1"

    first, second = wire.requests
    assert first.method == second.method == "POST"
    assert wire.bodies[0] == wire.bodies[1]
    assert len(wire.bodies[0]) == body.content_length > 600_000
    assert second.headers["Authorization"] == f"Bearer {signed.token()}"


async def test_a_token_is_renewed_only_once() -> None:
    signed = SignedToken("access", "secret-0123456789abcdef0123456789abcdef")
    wire = Wire(refused(401, 1004))
    async with client_of(wire, credentials=signed) as client:
        with pytest.raises(AuthFailed) as raised:
            await client.task("image2video", "t-1")

    assert len(wire.requests) == 2
    assert raised.value.code == "1004"
    assert "clock" in raised.value.advice


@pytest.mark.parametrize("code", [1000, 1001, 1002])
async def test_a_key_that_is_wrong_is_not_tried_again(code: int) -> None:
    signed = SignedToken("access", "secret-0123456789abcdef0123456789abcdef")
    wire = Wire(refused(401, code))
    async with client_of(wire, credentials=signed) as client:
        with pytest.raises(AuthFailed):
            await client.create("image2video", BODY)

    assert len(wire.requests) == 1


async def test_an_api_key_has_no_other_token_to_try() -> None:
    wire = Wire(refused(401, 1004))
    async with client_of(wire) as client:
        with pytest.raises(AuthFailed):
            await client.task("image2video", "t-1")

    assert len(wire.requests) == 1


async def test_the_renewed_create_may_get_lost_like_any_other() -> None:
    signed = SignedToken("access", "secret-0123456789abcdef0123456789abcdef")
    wire = Wire(refused(401, 1004), httpx.ReadError("reset"))
    async with client_of(wire, credentials=signed) as client:
        with pytest.raises(ProviderDown) as raised:
            await client.create("image2video", BODY)

    assert raised.value.charged == "unknown"


class FirstPause(Exception):
    """Raised where stamina would pause, so that nothing does."""


async def paused_after(failure: Answering) -> float | None:
    """Seconds of the first pause between two reads; None when there was no second read."""

    def stop(details: RetryDetails) -> None:
        raise FirstPause(details.wait_for)

    set_on_retry_hooks([stop])
    try:
        with stamina.set_testing(False):
            async with client_of(Wire(failure)) as client:
                await client.task("image2video", "t-1")
    except FirstPause as pause:
        return float(pause.args[0])
    except ProviderError:
        return None
    finally:
        set_on_retry_hooks(None)
    raise AssertionError("the read must fail")


@pytest.mark.parametrize("failure", [refused(429, 1302), refused(503, 5001), html(503)])
async def test_a_read_waits_as_long_as_the_provider_asks_for(failure: Answering) -> None:
    def late(request: httpx.Request) -> httpx.Response:
        assert callable(failure)
        response = failure(request)
        response.headers["Retry-After"] = "19"
        return response

    assert await paused_after(late) == 19


async def test_without_a_wish_of_the_provider_the_pause_is_short() -> None:
    seconds = await paused_after(refused(429, 1302))

    assert seconds is not None
    assert 0.3 <= seconds <= 1.3


async def test_a_wait_longer_than_a_tool_call_is_left_to_the_caller() -> None:
    assert await paused_after(refused(429, 1302, **{"Retry-After": "60"})) is None


async def test_the_wait_that_was_asked_for_is_told() -> None:
    async with client_of(Wire(refused(429, 1302, **{"Retry-After": "60"}))) as client:
        with pytest.raises(RateLimited) as raised:
            await client.create("image2video", BODY)

    assert raised.value.retry_after_s == 60


async def test_a_create_without_an_answer_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "CREATE_DEADLINE_S", 0.01)
    async with client_of(Silent()) as client:
        with anyio.fail_after(60), pytest.raises(ProviderDown) as raised:
            await client.create("image2video", BODY)

    assert raised.value.charged == "unknown"
    assert "did not answer in time" in raised.value.message


async def test_all_attempts_of_a_read_have_one_deadline_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "READ_DEADLINE_S", 0.01)
    async with client_of(Silent()) as client:
        began = anyio.current_time()
        with anyio.fail_after(60), pytest.raises(ProviderDown) as raised:
            await client.task("image2video", "t-1")

    assert anyio.current_time() - began < 30
    assert raised.value.charged == "no"


async def test_a_second_attempt_has_only_the_time_that_the_first_one_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = 0.0
    monkeypatch.setattr(anyio, "current_time", lambda: passed)

    class SlowThenSilent(Silent):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal passed
            if passed:
                return await super().handle_async_request(request)
            passed = client_module.READ_DEADLINE_S - 0.01
            return httpx.Response(503)

    async with client_of(SlowThenSilent()) as client:
        with anyio.fail_after(60), pytest.raises(ProviderDown) as raised:
            await client.task("image2video", "t-1")

    assert "did not answer in time" in raised.value.message


async def test_a_cancelled_read_is_not_an_error_of_the_provider() -> None:
    async with client_of(Silent()) as client:
        with anyio.move_on_after(0.01) as scope:
            await client.task("image2video", "t-1")

    assert scope.cancelled_caught


async def test_an_answer_larger_than_any_answer_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_LIMIT", 1000)
    given = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            given.append(1)
            yield b" " * 400

    async with client_of(Wire(lambda _: httpx.Response(200, content=endless()))) as client:
        with pytest.raises(ProviderDown) as raised:
            await client.create("image2video", BODY)

    assert len(given) == 3
    assert raised.value.charged == "unknown"


async def test_a_picture_that_changes_while_it_is_sent_ends_the_create_as_a_refusal() -> None:
    class Changed:
        size = 10

        def read_at(self, offset: int, length: int) -> bytes:
            raise SourceChanged("photo.png was changed")

    body = JsonBody({"image": StreamedBase64(Changed(), "photo.png")})
    async with client_of(Wire(answer(**SUBMITTED))) as client:
        with pytest.raises(ImageRejected):
            await client.create("image2video", body)


@pytest.mark.parametrize("to", ["data:text/html,moved", "https://[::1", "https://a:port/"])
async def test_a_redirect_that_cannot_be_read_is_the_provider_being_broken(to: str) -> None:
    async with client_of(Wire(moved(to))) as client:
        with pytest.raises(ProviderError):
            await client.create("image2video", BODY)


async def test_over_a_real_socket_a_closed_port_did_not_get_the_create() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    async with tcp_client(port) as client:
        with pytest.raises(ProviderDown) as raised:
            await client.create("image2video", BODY)

    assert raised.value.charged == "no"
    assert "cannot be reached" in raised.value.message


async def test_over_a_real_socket_a_connection_closed_after_the_request_may_have_got_it() -> None:
    received = []

    async def take_and_close(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            received.append(await stream.receive())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, take_and_close)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with tcp_client(port) as client:
            with pytest.raises(ProviderDown) as raised:
                await client.create("image2video", BODY)
        group.cancel_scope.cancel()

    assert received[0].startswith(b"POST /v1/videos/image2video HTTP/1.1\r\n")
    assert raised.value.charged == "unknown"
    assert "broke the connection" in raised.value.message


@asynccontextmanager
async def tcp_client(port: int) -> AsyncIterator[KlingClient]:
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as api,
        httpx.AsyncClient(trust_env=False) as files,
    ):
        yield KlingClient(PROVIDERS["kling"], Connection(api, files, ApiKey(KEY), True))


def mp4(http_status: int, *chunks: bytes | Exception, **headers: str) -> Answering:
    async def flow() -> AsyncIterator[bytes]:
        for chunk in chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(http_status, headers=named, content=flow())


def moved(to: str, http_status: int = 302) -> Answering:
    return lambda _: httpx.Response(http_status, headers={"Location": to})


async def read(stream: VideoStream) -> bytes:
    return b"".join([chunk async for chunk in stream.chunks])


async def test_a_video_is_streamed_from_its_signed_url_without_the_key() -> None:
    wire = Wire(mp4(200, MP4[:1000], MP4[1000:], Content_Length=str(len(MP4))))
    async with client_of(wire) as client, client.open_video(VIDEO) as stream:
        assert (stream.offset, stream.total_bytes) == (0, len(MP4))
        assert await read(stream) == MP4

    (request,) = wire.requests
    assert str(request.url) == VIDEO
    assert "Authorization" not in request.headers
    assert KEY not in str(request.headers)
    assert "Range" not in request.headers
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("content_range", "offset", "total"),
    [
        ("bytes 1000-2047/2048", 1000, 2048),
        ("bytes 1000-2047/*", 1000, None),
        ("bytes 0-2047/2048", 0, 2048),
        ("lines 1-2", 1000, None),
        ("", 1000, None),
    ],
)
async def test_a_video_goes_on_where_the_provider_says(
    content_range: str, offset: int, total: int | None
) -> None:
    wire = Wire(mp4(206, MP4[1000:], Content_Range=content_range, Content_Length="1048"))
    async with client_of(wire) as client, client.open_video(VIDEO, 1000) as stream:
        assert (stream.offset, stream.total_bytes) == (offset, total)
        assert await read(stream) == MP4[1000:]

    assert wire.requests[0].headers["Range"] == "bytes=1000-"


@pytest.mark.parametrize(("length", "total"), [("2048", 2048), ("many", None), (None, None)])
async def test_a_200_starts_over_whatever_was_asked_for(
    length: str | None, total: int | None
) -> None:
    headers = {"Content_Length": length} if length else {}
    async with (
        client_of(Wire(mp4(200, MP4, **headers))) as client,
        client.open_video(VIDEO, 1000) as stream,
    ):
        assert (stream.offset, stream.total_bytes) == (0, total)


@pytest.mark.parametrize("http_status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_to_other_hosts_with_the_range(http_status: int) -> None:
    wire = Wire(
        moved("/b.mp4", http_status),
        moved("https://other.example/c.mp4", http_status),
        moved("//third.example/d.mp4", http_status),
        mp4(206, MP4[5:], Content_Range="bytes 5-2047/2048"),
    )
    async with client_of(wire) as client, client.open_video(VIDEO, 5) as stream:
        assert await read(stream) == MP4[5:]

    assert [str(request.url) for request in wire.requests] == [
        VIDEO,
        "https://cdn.example/b.mp4",
        "https://other.example/c.mp4",
        "https://third.example/d.mp4",
    ]
    for request in wire.requests:
        assert request.headers["Range"] == "bytes=5-"
        assert "Authorization" not in request.headers


async def test_redirects_in_a_circle_end() -> None:
    wire = Wire(moved(VIDEO))
    async with client_of(wire) as client:
        with pytest.raises(ProviderDown) as raised:
            async with client.open_video(VIDEO):
                pass

    assert len(wire.requests) == 4
    assert "circle" in raised.value.message


UNSAFE = (
    "http://cdn.example/a.mp4",
    "HTTP://cdn.example/a.mp4",
    "ftp://cdn.example/a.mp4",
    "file:///etc/passwd",
    "data:video/mp4;base64,AAAA",
)


@pytest.mark.parametrize(
    "url",
    [
        *UNSAFE,
        "/v1/files/a.mp4",
        "https://",
        "https://[::1/a.mp4",
        "https://cdn.example:port/a.mp4",
        "https://cdn.example/\x00",
        "",
    ],
)
async def test_only_https_is_fetched(url: str) -> None:
    wire = Wire(mp4(200, MP4))
    async with client_of(wire) as client:
        with pytest.raises(UnsafeUrl) as raised:
            async with client.open_video(url):
                pass

    assert wire.requests == []
    assert raised.value.charged == "no"


@pytest.mark.parametrize("url", [*UNSAFE, "https://[::1/a.mp4", "https://cdn.example:port/a.mp4"])
async def test_a_redirect_leads_nowhere_else_than_to_https(url: str) -> None:
    wire = Wire(moved(url), mp4(200, MP4))
    async with client_of(wire) as client:
        with pytest.raises((UnsafeUrl, ProviderDown)):
            async with client.open_video(VIDEO):
                pass

    assert len(wire.requests) == 1


async def test_a_redirect_to_nowhere_is_not_a_video() -> None:
    async with client_of(Wire(lambda _: httpx.Response(304))) as client:
        with pytest.raises(UnsafeUrl):
            async with client.open_video(VIDEO):
                pass


async def test_http_is_fetched_from_a_provider_on_this_machine() -> None:
    url = "http://127.0.0.1:8765/videos/a.mp4"
    async with (
        client_of(Wire(mp4(200, MP4)), loopback=True) as client,
        client.open_video(url) as stream,
    ):
        assert await read(stream) == MP4


@pytest.mark.parametrize(
    ("http_status", "retry_after", "wait_s"), [(403, None, None), (404, "5", 5), (503, "2", 2)]
)
async def test_a_url_that_has_no_video_says_so(
    http_status: int, retry_after: str | None, wait_s: float | None
) -> None:
    headers = {"Retry_After": retry_after} if retry_after else {}
    async with client_of(Wire(mp4(http_status, b"<Error/>", **headers))) as client:
        with pytest.raises(ProviderDown) as raised:
            async with client.open_video(VIDEO):
                pass

    assert raised.value.http_status == http_status
    assert raised.value.retry_after_s == wait_s
    assert "sign=abc" not in str(raised.value)


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), httpx.ReadTimeout("silence")])
async def test_a_video_host_that_is_not_there_is_the_provider_being_down(
    error: httpx.HTTPError,
) -> None:
    async with client_of(Wire(error)) as client:
        with pytest.raises(ProviderDown) as raised:
            async with client.open_video(VIDEO):
                pass

    assert "cdn.example" in raised.value.message
    assert raised.value.charged == "no"


async def test_a_stream_that_breaks_says_so_after_what_came() -> None:
    wire = Wire(mp4(200, MP4[:100], httpx.ReadError("reset"), Content_Length="2048"))
    async with client_of(wire) as client, client.open_video(VIDEO) as stream:
        chunks = aiter(stream.chunks)

        assert await anext(chunks) == MP4[:100]
        with pytest.raises(ProviderDown):
            await anext(chunks)


async def test_an_error_of_whoever_reads_the_video_is_not_the_provider_s() -> None:
    closed = []

    class Flow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield MP4

        async def aclose(self) -> None:
            closed.append(1)

    async with client_of(Wire(lambda _: httpx.Response(200, stream=Flow()))) as client:
        with pytest.raises(OSError, match="disk full"):
            async with client.open_video(VIDEO):
                raise OSError("disk full")

    assert closed
