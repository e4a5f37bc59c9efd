"""The reader that takes base64 out of a JSON body while it streams."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_sandbox.intake import BodyTooLong, Intake, Lifted

BASE64 = st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode())
ALMOST_BASE64 = st.text(alphabet='AZaz09+/=\\"\n é', max_size=60)
BROKEN_BASE64 = st.builds(
    "".join, st.tuples(BASE64, ALMOST_BASE64 | st.sampled_from(["=", "A", "===", "\\"]), BASE64)
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf")))
    | BASE64
    | ALMOST_BASE64
    | BROKEN_BASE64,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(BASE64 | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def inflated(value: Any) -> Any:
    if isinstance(value, Lifted):
        return value.text()
    if isinstance(value, list):
        return [inflated(item) for item in value]
    if isinstance(value, dict):
        return {key: inflated(item) for key, item in value.items()}
    return value


def read(body: bytes, sizes: list[int], folder: Path, lift_from: int = 8) -> Any:
    with Intake(folder, lift_from=lift_from) as intake:
        at = 0
        for size in sizes:
            intake.feed(body[at : at + size])
            at += size
        intake.feed(body[at:])
        return inflated(intake.document())


def refuses(body: bytes, sizes: list[int], folder: Path, lift_from: int = 8) -> bool:
    try:
        read(body, sizes, folder, lift_from)
    except ValueError:
        return True
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("incoming")


@settings(max_examples=settings.default.max_examples * 3, deadline=None)
@given(
    document=DOCUMENTS,
    sizes=st.lists(st.integers(0, 12), max_size=20),
    ascii_only=st.booleans(),
    php=st.booleans(),
)
def test_any_document_in_any_pieces_reads_as_json_loads_reads_it(
    folder: Path, document: Any, sizes: list[int], ascii_only: bool, php: bool
) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only)
    if php:
        text = text.replace("/", "\\/")
    body = text.encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(body)
    except ValueError:
        assert refuses(body, sizes, folder)
    else:
        assert read(body, sizes, folder) == expected


@settings(max_examples=settings.default.max_examples * 2, deadline=None)
@given(
    body=st.text(alphabet='{}[]":,\\/=AB+ 01tn', max_size=60),
    sizes=st.lists(st.integers(0, 9), max_size=12),
)
def test_what_json_refuses_is_refused_and_the_rest_is_read_alike(
    folder: Path, body: str, sizes: list[int]
) -> None:
    try:
        expected = json.loads(body)
    except ValueError:
        assert refuses(body.encode(), sizes, folder, lift_from=3)
    else:
        assert read(body.encode(), sizes, folder, lift_from=3) == expected


TRICKY = [
    rb'"AAAAAAAA\/AA="',
    rb'"AAAAAAAA\nAAA"',
    rb'"AAAAAAAA\\/AA"',
    rb'"AAAAAAAA\"AAA"',
    rb'"AAAAAAAAAA==="',
    rb'"AAAAAAAAAA=\/"',
    rb'"AAAAAAAAAB=="',
    rb'"AAAAAAAAA"',
    rb'"AAAAAAAA=A=="',
    rb'{"AAAAAAAAAA==": "BBBBBBBB"}',
]


@pytest.mark.parametrize("body", TRICKY)
def test_a_cut_at_any_place_changes_nothing(tmp_path: Path, body: bytes) -> None:
    for first in range(len(body) + 1):
        for second in range(len(body) - first + 1):
            assert read(body, [first, second], tmp_path) == json.loads(body)


def test_nothing_of_a_request_stays_in_the_folder_unless_it_is_moved(tmp_path: Path) -> None:
    text = base64.b64encode(os.urandom(60_000)).decode()
    with Intake(tmp_path / "incoming") as intake:
        intake.feed(json.dumps({"keep": text, "drop": text, "short": "AAAA"}).encode())
        document = intake.document()
        assert document["short"] == "AAAA"
        assert document["keep"].size == 60_000
        document["keep"].path.rename(tmp_path / "kept")
    assert list((tmp_path / "incoming").iterdir()) == []
    assert base64.b64encode((tmp_path / "kept").read_bytes()).decode() == text


def test_a_picture_with_escaped_slashes_is_lifted_too(tmp_path: Path) -> None:
    body = json.dumps({"image": "//" * 20_000}).replace("/", "\\/").encode()
    with Intake(tmp_path) as intake:
        for at in range(0, len(body), 1001):
            intake.feed(body[at : at + 1001])
        image = intake.document()["image"]
        assert isinstance(image, Lifted)
        assert image.text() == "//" * 20_000


@pytest.mark.parametrize(
    "body", ["", "{", '{"a": NaN}', '["AAAA', "[" * 100_000, '"\\u12"', "\xff"]
)
def test_what_is_not_json_is_a_value_error(tmp_path: Path, body: str) -> None:
    with Intake(tmp_path, lift_from=4) as intake:
        intake.feed(body.encode("latin-1"))
        with pytest.raises(ValueError, match=r"\w"):
            intake.document()


@pytest.mark.parametrize("text", ["A" * 6_000_000 + "!", "word " * 1_000_000])
def test_a_body_of_megabytes_that_is_no_picture_is_refused(tmp_path: Path, text: str) -> None:
    body = json.dumps({"prompt": text}).encode()
    with Intake(tmp_path) as intake, pytest.raises(BodyTooLong):
        intake.feed(body)
    assert list(tmp_path.iterdir()) == []


MEASURE = """
import json, resource, sys
from pathlib import Path
from kling_sandbox.intake import Intake

def peak_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def body():
    yield b'{"image_list": ['
    for number in range(4):
        yield b'%s{"image": "' % (b", " if number else b"")
        for _ in range(10 * 1024 * 1024 // 49152):
            yield b"QUJD" * 16384
        yield b'"}'
    yield b']}'

with Intake(Path(sys.argv[1])) as warm:
    warm.feed(b'{"image": "' + b"QUJD" * 32768 + b'"}')
    warm.document()
before = peak_kb()
total = 0
with Intake(Path(sys.argv[1])) as intake:
    for chunk in body():
        total += len(chunk)
        intake.feed(chunk)
    pictures = [item["image"] for item in intake.document()["image_list"]]
    print(json.dumps([total, sum(picture.size for picture in pictures), peak_kb() - before]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is read from getrusage")
def test_four_pictures_of_ten_megabytes_cost_less_than_five_of_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    sent, decoded, extra_kb = json.loads(done.stdout)
    assert sent > 55_000_000
    assert decoded == sent // 4 * 3 or abs(decoded - sent * 3 / 4) < 200
    assert extra_kb < 5_000
