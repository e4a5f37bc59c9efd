"""Over stdio every line with an id is answered, whatever it is, and the server goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def asked(id_: str, params: str = "{}") -> str:
    return f'{{"jsonrpc":"2.0","id":{id_},"method":"ping","params":{params}}}'


HALF = '"a \\ud83d"'
LINES: dict[str, tuple[bytes, list[Any], str]] = {
    name: (line if isinstance(line, bytes) else line.encode(), ids, words)
    for name, (line, ids, words) in {
        "half an emoji": (asked("1", f'{{"prompt":{HALF}}}'), [1], "half a character"),
        "half an emoji as a name": (asked("2", f"{{{HALF}:1}}"), [2], "half a character"),
        "half an emoji as the method": (
            '{"jsonrpc":"2.0","id":3,"method":"a\\ud83d"}', [3], "half a character",
        ),
        "an id of half an emoji": (asked('"\\ud83d"'), [None], "half a character"),
        "an id behind half an emoji": (f'{{"params":{{"a":[{HALF}]}},"id":"é"}}', ["é"], "half a"),
        "nested 256 deep": (asked("4", '{"a":' + "[" * 256 + "]" * 256 + "}"), [4], "too deep"),
        "nested 100,000 deep": (asked("5", '{"a":' + "[" * 10**5 + "]" * 10**5), [5], "too deep"),
        "no jsonrpc": ('{"id":6,"method":"ping"}', [6], "not a JSON-RPC 2.0 request"),
        "jsonrpc 1.0": ('{"jsonrpc":"1.0","id":7,"method":"ping"}', [7], "not a JSON-RPC 2.0"),
        "no method": ('{"jsonrpc":"2.0","id":8}', [8], "not a JSON-RPC 2.0 request"),
        "a method of 5": ('{"jsonrpc":"2.0","id":9,"method":5}', [9], "not a JSON-RPC 2.0 request"),
        "a list of params": (asked("10", "[1]"), [10], "not a JSON-RPC 2.0 request"),
        "a byte order mark": ("\ufeff" + asked("11"), [11], ""),
        "two byte order marks": ("\ufeff\ufeff" + asked("12"), [12], ""),
        "a byte order mark before no JSON": ("\ufeff" + asked("13")[:-2], [13], "not JSON"),
        "a batch": (f"[{asked('14')},{asked('15')}]", [14, 15], "a batch"),
        "a batch with half an emoji": (
            f"[{asked('16', f'[{HALF}]')},{asked('17')}]", [16, 17], "half a character",
        ),
        "a null byte": (asked("18", '{"a":"\0"}'), [18], "as an escape"),
        "a number of 5,000 digits": (asked("19", '{"a":' + "9" * 5000 + "}"), [19], "a number"),
        "a line that is cut": (asked("20")[:-4], [20], "not JSON"),
        "a line that is cut in a text": (asked("21", '{"id":7,"a":"b')[:-1], [21], "escape"),
        "an id within the params": (
            '{"params":{"id":7,"x":{"id":8}},"id":22,"method":' + HALF, [22], "half a character",
        ),
        "an escaped quotation mark": (
            '{"a\\"id":5,"id":"23\\"","m":' + HALF, ['23"'], "half a character",
        ),
        "a long line": (asked("24", '{"a":"' + "x" * 3_000_000 + '"}'), [24], ""),
        "a long line that is cut": (asked("25", '{"a":"' + "x" * 3_000_000), [25], "escape"),
        "no UTF-8": (asked("26").encode().replace(b"{}", b'{"a":"\xff\xfe"}'), [26], ""),
        "NaN": (asked("27", '{"a":NaN,"b":1e999}'), [27], ""),
        "a long id": (asked(f'"{"y" * 9999}"'), ["y" * 9999], ""),
        "a return in it": (asked("28", "{}\r"), [28], "not JSON"),
        **{f"an id of {id_}": (asked(id_), [None], "its id must be")
           for id_ in ("null", "true", "1.5", "7.0", "[1]", '{"a":1}', "1e999", "NaN")},
        "an id of 5,000 digits": (asked("9" * 5000), [None], "a number"),
        # Without an id, or as an answer to what was never asked.
        "words": ("hello", [], ""),
        "nothing": ("", [], ""),
        "spaces": ("  \t ", [], ""),
        "an empty batch": ("[]", [], ""),
        "a number": ("5", [], ""),
        "UTF-16": (asked("30").encode("utf-16"), [], ""),
        "half an emoji in a notification": (
            f'{{"jsonrpc":"2.0","method":"notifications/x","params":{{"a":{HALF}}}}}', [], "",
        ),
        "half an emoji in an answer": (f'{{"jsonrpc":"2.0","id":31,"result":{HALF}}}', [], ""),
        "half an emoji in an error": (f'{{"jsonrpc":"2.0","id":32,"error":{HALF}}}', [], ""),
    }.items()
}  # fmt: skip


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Any]], str]:
    """What one server answers to each line, and its log."""
    folder = tmp_path_factory.mktemp("stdio")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KLING_MCP_HOME": str(folder)}
    info = {"protocolVersion": "2025-11-25", "capabilities": {}}
    hello = json.dumps(info | {"clientInfo": {"name": "t", "version": "1"}})
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "kling_mcp"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env=environment, cwd=folder,
        )  # fmt: skip
        assert server.stdin
        assert server.stdout
        answers: dict[str, list[Any]] = {}
        first = asked('"first"', hello).replace("ping", "initialize").encode()
        for name, line in {
            "first": first,
            **{n: line for n, (line, _, _) in LINES.items()},
        }.items():
            server.stdin.write(line + b"\n" + asked('"then"').encode() + b"\n")
            server.stdin.flush()
            answers[name] = []
            while (said := json.loads(server.stdout.readline()))["id"] != "then":
                answers[name].append(said)
        server.stdin.close()
        assert server.wait(timeout=60) == 0
        server.stdout.close()
    return answers, (folder / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_answered_under_its_id_and_the_next_one_too(
    name: str, spoken: tuple[dict[str, list[Any]], str]
) -> None:
    _, ids, words = LINES[name]
    answers = spoken[0][name]

    assert [answer["id"] for answer in answers] == ids
    for answer in answers:
        assert ("error" in answer) is bool(words)
        if words:
            assert words in answer["error"]["message"]
            assert "nothing was sent or charged" in answer["error"]["message"]
            assert answer["error"]["code"] in (-32700, -32600)


def test_what_cannot_be_answered_is_told_to_the_log(
    spoken: tuple[dict[str, list[Any]], str], tmp_path: Path
) -> None:
    told = spoken[1].splitlines()
    unreadable = [name for name, (_, ids, words) in LINES.items() if words or not ids]

    assert len([line for line in told if "cannot be read" in line]) >= len(unreadable) - 2
    assert "Traceback" not in spoken[1]
    assert "hello" not in spoken[1]
