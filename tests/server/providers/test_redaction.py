"""No secret leaves, however a provider writes it: not in an answer, the ledger, or the log."""

import base64
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from tests.sampling import sampled
from tests.server.scripted import KEY, Scripted, ends, facts, make, talking_to, task, words
from tests.server.serving import no_sleep, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server
from kling_mcp.providers.auth import SignedToken
from kling_mcp.providers.redaction import Redactor, guard_logs

SECRET = "sk-a+b/c=d&e-Secret_0123456789"
ACCESS = "AKaccess+Access/Access-0123456789"


def escaped(text: str) -> str:
    """As JSON may spell it: every character by its number."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "numbers of JSON": escaped,
    "numbers of JSON in a text of JSON": lambda text: escaped(text).replace("\\", "\\\\"),
    "slashes of JSON": lambda text: json.dumps(text).replace("/", "\\/")[1:-1],
    "PHP": lambda text: text.replace("/", "\\/").replace("+", "\\u002b").replace("-", "\\u002D"),
    "x of Python": lambda text: "".join(f"\\x{ord(c):02x}" for c in text),
    "a URL": lambda text: quote(text, safe=""),
    "each character of a URL": lambda text: "".join(f"%{ord(c):02X}" for c in text),
    "a URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "numbers of HTML": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "hexadecimal of HTML": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "names of HTML": lambda text: text.replace("&", "&amp;").replace("+", "&plus;"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a pair": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    "base64 of a header": lambda text: base64.urlsafe_b64encode(f"x {text} y".encode()).decode(),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
}


def holds(text: str, secret: str) -> bool:
    """Whether somebody who reads the text could have the secret, in whichever way."""
    return any(way(secret)[4:-6].casefold() in text.casefold() for way in WAYS.values())


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_taken_out_however_it_is_written(way: str) -> None:
    said = f"Incorrect key {WAYS[way](SECRET)}, and more words"

    shown = Redactor([SECRET]).text(said)

    assert shown == "Incorrect key ..., and more words" or not holds(shown, SECRET)
    assert shown.startswith("Incorrect key ")
    assert shown.endswith(", and more words")


@given(st.text(), st.lists(st.sampled_from([*WAYS]), max_size=3))
def test_what_holds_no_secret_is_left_as_it_is(text: str, ways: list[str]) -> None:
    for way in ways:
        text += WAYS[way]("another word")

    assert Redactor([SECRET, ACCESS, "short"]).text(text) == text


def test_a_token_and_the_one_before_it_are_known_while_they_are_in_use() -> None:
    now = [1_000_000.0]
    pair = SignedToken(ACCESS, SECRET, clock=lambda: now[0])
    redactor = Redactor(credentials=[pair])
    first = pair.token()
    now[0] += 5_000
    second = pair.token()

    assert first != second
    for secret in (first, second, ACCESS, SECRET):
        assert redactor.text(f"<{secret}>") == "<...>"


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize("way", sampled((w for w in WAYS if not w.startswith("base64 of")), 2))
async def test_a_provider_that_repeats_the_key_puts_it_neither_in_an_answer_nor_in_the_ledger(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f'{{"code":1201,"message":"bad {WAYS[way](KEY)} key","request_id":"r"}}'
    failed = f"no {WAYS[way](KEY)} here"
    refuses = Scripted(lambda _: httpx.Response(400, content=body.encode()))
    fails = Scripted(ends(task_status="failed", task_status_msg=failed))
    for number, provider in enumerate((refuses, fails)):
        folder = tmp_path / str(number)
        async with talking_to(provider, folder, monkeypatch) as client:
            made = await make(client, folder)
            task_id = facts(made).get("task_id", "t-1")
            looked = await client.call_tool("kling_get_task", {"task_id": task_id})
            listed = await client.call_tool("kling_list_tasks", {})
        said = "".join(f"{words(answer)}{facts(answer)}" for answer in (made, looked, listed))
        kept = b"".join(p.read_bytes() for p in folder.rglob("*sqlite*")).decode("latin-1")

        assert not holds(said, KEY)
        assert not holds(kept, KEY)
    assert "no" in said


@pytest.mark.anyio
async def test_no_other_secret_of_the_process_is_repeated_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_GATEWAY_API_KEY", SECRET)
    monkeypatch.setenv("HTTPS_PROXY_OF_MINE", "http://me:proxypassword@proxy.example:8080")
    others = {"cometapi_api_key": "sk-comet-0123456789", "newapi_api_key": "sk-newapi-0123456789"}
    secrets = (SECRET, "proxypassword", *others.values())
    provider = Scripted(lambda _: task(task_status="failed", task_status_msg=" ".join(secrets)))
    more: dict[str, Any] = {**others, "newapi_base_url": "https://newapi.example"}
    async with talking_to(provider, tmp_path, monkeypatch, **more) as client:
        result = await make(client, tmp_path)
        looked = await client.call_tool("kling_get_task", {"task_id": "t-1"})

    for secret in secrets:
        assert secret not in f"{words(result)}{facts(result)}{words(looked)}{facts(looked)}"


@pytest.mark.anyio
async def test_what_a_caller_says_itself_is_answered_without_the_key(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, provider="kling", kling_api_key=KEY)
    wish = {"image": picture(tmp_path), "prompt": f"a sign that reads {KEY}", "dry_run": "full"}
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        made = await client.call_tool("kling_image_to_video", wish)
        with pytest.raises(Exception, match="Unknown tool") as unknown:
            await client.call_tool(f"x{KEY}", {})

    assert KEY not in f"{words(made)}{facts(made)}{unknown.value}"
    assert "a sign that reads ..." in json.dumps(facts(made))


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("GET https://a.example/v.mp4?sig=abc&e=1 done", "GET https://a.example/v.mp4?... done"),
        ('"url":"https://a.example/v?x=1"', '"url":"https://a.example/v?..."'),
        (
            "GET /videos/1/a.mp4?expires=9&signature=" + "a" * 43,
            "GET /videos/1/a.mp4?expires=9&...",
        ),
        ("Authorization: Bearer " + "a" * 20, "Authorization: Bearer ..."),
        ("a key {}".format(WAYS["PHP"](SECRET)), "a key ..."),
        ("login kmcp_" + "b" * 43, "login ..."),
        ("POST /callbacks/" + "c" * 32, "POST /callbacks/..."),
        ("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJ4In0.abc-_", "..."),
    ],
)
def test_no_line_of_the_log_holds_a_secret_or_a_signed_link(
    said: str, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard_logs(Redactor([SECRET]))

    logging.getLogger("somebody.else").warning("%s", said)
    try:
        raise ValueError(said)
    except ValueError:
        logging.getLogger("somebody.else").exception("It broke")

    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].replace("signature=...", "...") == written
    assert said not in caplog.text
    assert written.split()[-1].split("&")[0] in caplog.text


def test_a_line_of_the_log_is_never_long(caplog: pytest.LogCaptureFixture) -> None:
    guard_logs(Redactor([SECRET]))
    for size in range(19_980, 20_000):
        logging.getLogger("x").warning("%s%s%s", "a" * size, SECRET, "b" * 1_000_000)

    assert max(len(record.getMessage()) for record in caplog.records) <= 20_001
    assert SECRET[:12] not in caplog.text


@pytest.mark.parametrize(
    "piece", sampled(["\\", "%2d", "&amp", "\\u002d", "eyJ", "https://", "?a=", "x "], 2)
)
def test_what_a_provider_and_a_log_say_is_read_in_time_with_its_length(piece: str) -> None:
    redactor = Redactor([f"{SECRET}{number}" for number in range(12)])
    said = piece * (2_000_000 // len(piece))
    began = time.process_time()
    with suppress(ValueError):
        redactor.value({"message": said})
    redactor.line(said)

    assert time.process_time() - began < 3
