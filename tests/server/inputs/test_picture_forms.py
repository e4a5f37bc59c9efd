import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.inputs.made_pictures import (
    looked_at,
    opened,
    picture_bytes,
    rules,
    saved,
    sent,
    warned,
)

from kling_mcp.inputs import inline
from kling_mcp.inputs.inline import decode_base64, decode_data_uri
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.inputs.refusal import Refusal

NOWHERE = PicturePolicy(roots=())
PNG = picture_bytes()
PNG_TEXT = base64.b64encode(PNG).decode()
JPEG = picture_bytes("JPEG")


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("file", "{path}"),
        ("file", "  {path}\n"),
        ("file", "photo.png"),
        ("file", "file://{path}"),
        ("file", "file:{path}"),
        ("file", "FILE://localhost{path}"),
        ("data", "data:image/png;base64,{text}"),
        ("data", "DATA:image/jpeg;charset=utf-8;base64,{text}"),
        ("data", "data:;base64,{quoted}"),
        ("data", "data:image/png,{percent}"),
        ("base64", "{text}"),
        ("base64", "{lines}"),
        ("base64", "{urlsafe}"),
        ("base64", "{bare}"),
    ],
)
def test_every_form_of_a_picture_sends_the_same_base64(tmp_path, kind, form):
    value = form.format(
        path=saved(tmp_path, "photo.png", PNG),
        text=PNG_TEXT,
        quoted=PNG_TEXT.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        percent="".join(f"%{byte:02x}" for byte in PNG),
        lines="\r\n".join(PNG_TEXT[at : at + 76] for at in range(0, len(PNG_TEXT), 76)),
        urlsafe=base64.urlsafe_b64encode(PNG).decode(),
        bare=PNG_TEXT.rstrip("="),
    )

    with opened([("image", value)], PicturePolicy((tmp_path,))) as ((picture,), verdict):
        assert sent(picture) == PNG_TEXT.encode()
        assert picture.kind == kind
        assert (picture.width, picture.height, picture.format) == (640, 480, "PNG")
        assert picture.size_bytes == len(PNG)
        assert picture.sha256 == hashlib.sha256(PNG).hexdigest()
        assert PNG_TEXT[:20] not in picture.label + repr(picture)
    assert verdict.faults == verdict.warnings == []


def test_the_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saved(tmp_path, "photo.png", PNG)

    picture, _ = looked_at("~/photo.png", PicturePolicy((tmp_path,)))

    assert picture.label == "photo.png"


@pytest.mark.parametrize("url", ["https://pics.example.com/a/b.jpg?sig=abc", "HTTP://1.1.1.1/x"])
def test_a_url_is_passed_on_as_it_is(url):
    picture, verdict = looked_at(url, NOWHERE)

    assert picture.wire() == url
    assert (picture.kind, picture.width, picture.height, picture.size_bytes) == (
        "url",
        None,
        None,
        None,
    )
    assert picture.sha256 == hashlib.sha256(url.encode()).hexdigest()
    assert verdict.faults == []
    assert [w.rule for w in verdict.warnings] == (["url_http"] if url.startswith("HTTP:") else [])


def test_the_label_of_a_url_has_no_query():
    picture, _ = looked_at("https://pics.example.com/a/b.jpg?sig=secret#top", NOWHERE)

    assert picture.label == "pics.example.com/a/b.jpg"
    assert "secret" not in repr(picture)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "image_missing"),
        (" \n", "image_missing"),
        ("https://", "url_unreadable"),
        ("https://[::1/x.png", "url_unreadable"),
        ("https://host:99999/x.png", "url_unreadable"),
        ("https://host/a b.png", "url_unreadable"),
        ("https://host/a\x00b.png", "url_unreadable"),
        ("https://host/\ud800.png", "url_unreadable"),
        ("https://me:secret@host/x.png", "url_credentials"),
        ("https://me@host/x.png", "url_credentials"),
        ("ftp://host/x.png", "url_scheme"),
        ("s3://bucket/x.png", "url_scheme"),
        ("kling://tasks/123/frames/last", "task_picture"),
        ("file://server/share/x.png", "file_url_host"),
        ("data:image/png;base64", "base64_unreadable"),
        ("data:image/png;base64,iVBO*w0KGgo", "base64_unreadable"),
        ("data:image/png;base64,iVBOR", "base64_unreadable"),
        ("data:image/png,é", "base64_unreadable"),
        ("data:image/png;base64,", "image_type"),
        (PNG_TEXT[:400] + "=" + PNG_TEXT[400:], "base64_unreadable"),
        (PNG_TEXT[:1500] + "*" + PNG_TEXT[1500:], "base64_unreadable"),
        ("QUJD" * 2000, "base64_unreadable"),
    ],
)
def test_what_is_no_picture_gets_one_fault_that_names_its_field(tmp_path, value, rule):
    picture, verdict = looked_at(value, PicturePolicy((tmp_path,)), "image_list[1].image")

    assert picture is None
    assert rules(verdict) == [rule]
    assert verdict.faults[0].field == "image_list[1].image"
    assert len(str(verdict.faults[0])) < 400


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_above_the_limit_is_not_decoded(prefix, monkeypatch):
    assert inline.TEXT_MAX == 100 * 1024 * 1024
    monkeypatch.setattr(inline, "TEXT_MAX", 1000)

    _, verdict = looked_at(prefix + PNG_TEXT, NOWHERE)

    assert rules(verdict) == ["image_bytes"]


def test_an_existing_file_wins_over_text_that_could_be_base64(tmp_path):
    name = base64.b64encode(PNG).decode()[:16]
    saved(tmp_path, name, JPEG)

    picture, _ = looked_at(name, PicturePolicy((tmp_path,)))

    assert (picture.kind, picture.format) == ("file", "JPEG")


def test_jpeg_base64_that_begins_with_a_slash_is_no_path():
    text = base64.b64encode(JPEG).decode()

    picture, _ = looked_at(text, NOWHERE)

    assert text.startswith("/9j/")
    assert (picture.kind, picture.format) == ("base64", "JPEG")


@pytest.mark.parametrize(
    "value", [r"C:\Users\me\cat.png", "C:/Users/me/cat.png", r"\\pc\share\c.png"]
)
def test_a_windows_path_is_told_from_a_url(tmp_path, value):
    _, verdict = looked_at(value, PicturePolicy((tmp_path,)))

    assert rules(verdict) == ["path_missing"]
    assert "Windows path" in verdict.faults[0].message


@pytest.mark.parametrize(
    "host", ["localhost:8080", "127.0.0.1", "192.168.1.7", "[::1]", "nas.local"]
)
def test_an_address_that_kling_cannot_reach_is_a_warning(host):
    picture, verdict = looked_at(f"http://{host}/x.png", NOWHERE)

    assert picture is not None
    assert warned(verdict) == ["url_private"]
    assert verdict.warnings[0].field == "image"


def test_a_url_that_names_another_type_is_a_warning():
    picture, verdict = looked_at("https://pics.example.com/cat.webp?w=9", NOWHERE)

    assert picture is not None
    assert "WebP" in verdict.warnings[0].message


@settings(max_examples=settings.default.max_examples * 3 // 2, deadline=None)
@given(st.text() | st.from_regex(r"(file:|data:|https?:|~|/)[ -~]*", fullmatch=True))
def test_no_text_makes_it_raise(value):
    picture, verdict = looked_at(value, PicturePolicy(()))

    assert (picture is None) == bool(verdict.faults)


@settings(max_examples=settings.default.max_examples // 5, deadline=None)
@given(st.integers(0, 5), st.sampled_from(["%{:02x}", "%{:02X}"]), st.booleans())
def test_an_escape_is_whole_wherever_a_long_uri_is_read_in_pieces(offset, escape, base64_coded):
    content = b"\x89PNG\r\n\x1a\n" + b"x" * offset + bytes(range(256)) * 100
    coded = base64.b64encode(content) if base64_coded else content
    kind = ";base64" if base64_coded else ""
    text = "".join(
        chr(byte) if base64_coded and byte % 3 == 0 else escape.format(byte) for byte in coded
    )

    held = decode_data_uri(f"data:image/png{kind},{text}")

    assert held.read_at(0, held.size) == content
    held.let_go("image")


@pytest.mark.parametrize("text", ["AAAA=AAA", "AA==AAAA", "A" * 300_000 + "=" + "A" * 300_000])
def test_padding_inside_of_base64_is_refused(text):
    with pytest.raises(Refusal):
        decode_base64(text)
