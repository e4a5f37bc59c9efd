import base64
import os
from pathlib import Path

import anyio
import pytest
from tests.server.inputs.made_pictures import looked_at, opened, picture_bytes, rules, saved, sent

from kling_mcp.inputs import opening
from kling_mcp.inputs.held import HeldFile, SourceChanged
from kling_mcp.inputs.opening import open_pictures
from kling_mcp.inputs.policy import PicturePolicy

PNG = picture_bytes()
DESCRIPTORS = Path("/proc/self/fd")


def open_files():
    return len(list(DESCRIPTORS.iterdir()))


@pytest.fixture
def policy(tmp_path):
    saved(tmp_path, "photo.png", PNG)
    return PicturePolicy((tmp_path,))


def test_a_picture_given_twice_is_opened_once_and_closed_by_the_last(policy, monkeypatch):
    recognised = []
    monkeypatch.setattr(
        opening,
        "recognise",
        lambda value, policy, recognise=opening.recognise: (
            recognised.append(value) or recognise(value, policy)
        ),
    )
    wishes = [("image", "photo.png"), ("image_tail", "photo.png"), ("static_mask", "none.png")]

    (first, last, none), verdict = anyio.run(open_pictures, wishes, policy)

    assert recognised == ["photo.png", "none.png"]
    assert (first.field, last.field, none) == ("image", "image_tail", None)
    first.close()
    first.close()
    assert base64.b64decode(sent(last)) == PNG
    last.close()
    assert last.held.closed
    assert rules(verdict) == ["path_missing"]


def test_a_bad_picture_given_twice_has_its_fault_in_both_fields(policy):
    with opened([("image", "x.png"), ("image_tail", "x.png")], policy) as (_, verdict):
        assert [fault.field for fault in verdict.faults] == ["image", "image_tail"]


def test_a_converted_picture_given_twice_is_converted_once(tmp_path, monkeypatch):
    conversions = []
    monkeypatch.setattr(
        opening,
        "convert",
        lambda *args, convert=opening.convert, **choices: (
            conversions.append(args) or convert(*args, **choices)
        ),
    )
    saved(tmp_path, "photo.webp", picture_bytes("WEBP"))
    wishes = [(field, "photo.webp") for field in ("image", "image_tail", "static_mask")]

    with opened(wishes, PicturePolicy((tmp_path,), fix=True)) as ((image, tail, mask), _):
        assert sent(image) == sent(tail) != sent(mask)
        assert (image.format, mask.format) == ("JPEG", "PNG")
    assert len(conversions) == 2


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="descriptors are counted in /proc")
def test_no_file_stays_open_behind_refused_pictures(policy, tmp_path):
    saved(tmp_path, "text.png", b"only text")
    saved(tmp_path, "wide.webp", picture_bytes("WEBP", (1000, 300)))
    before = open_files()

    with opened(
        [("image", "text.png"), ("image_tail", "wide.webp"), ("static_mask", "photo.png")], policy
    ):
        pass

    assert open_files() == before


def test_a_failure_of_the_program_closes_what_was_opened(policy, monkeypatch):
    held = []
    monkeypatch.setattr(
        HeldFile,
        "hold",
        lambda self, user, hold=HeldFile.hold: held.append(self) or hold(self, user),
    )
    judge = opening.judge

    def fail_at_the_second(field, facts, **choices):
        if field == "image_tail":
            raise KeyError(field)
        return judge(field, facts, **choices)

    monkeypatch.setattr(opening, "judge", fail_at_the_second)
    with pytest.raises(KeyError):
        anyio.run(open_pictures, [("image", "photo.png"), ("image_tail", "photo.png")], policy)

    assert held
    assert all(file.closed for file in held)


@pytest.mark.parametrize("system", ["with pread", "without pread"])
def test_bytes_are_read_at_any_place_without_a_shared_position(policy, monkeypatch, system):
    if system == "without pread":
        monkeypatch.delattr(os, "pread")
    with opened([("image", "photo.png")], policy) as ((picture,), _):
        first, second = iter(picture.wire()), iter(picture.wire())
        assert next(first) == next(second)
        assert picture.held.read_at(3, 5) == PNG[3:8]


def test_a_short_read_is_continued(policy, monkeypatch):
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: pread(fd, min(length, 100), at))

    with opened([("image", "photo.png")], policy) as ((picture,), _):
        assert base64.b64decode(sent(picture)) == PNG


@pytest.mark.parametrize("change", ["shorter", "longer", "rewritten"])
def test_a_file_that_changes_after_the_check_is_not_sent(policy, tmp_path, change):
    path = tmp_path / "photo.png"
    with opened([("image", "photo.png")], policy) as ((picture,), _):
        match change:
            case "shorter":
                os.truncate(path, 100)
            case "longer":
                path.write_bytes(PNG + b"more")
            case "rewritten":
                path.write_bytes(PNG)
                os.utime(path, ns=(1, 1))
        with pytest.raises(SourceChanged, match=r"photo\.png"):
            sent(picture)


def test_a_file_that_is_deleted_or_replaced_after_the_check_is_still_the_checked_one(
    policy, tmp_path
):
    with opened([("image", "photo.png")], policy) as ((picture,), _):
        saved(tmp_path, "new.png", picture_bytes(color=0))
        (tmp_path / "new.png").replace(tmp_path / "photo.png")

        assert base64.b64decode(sent(picture)) == PNG


def test_a_file_that_changes_during_the_check_is_a_fault(policy, tmp_path, monkeypatch):
    judge = opening.judge

    def judge_while_writing(field, facts, **choices):
        (tmp_path / "photo.png").write_bytes(PNG + b"more")
        return judge(field, facts, **choices)

    monkeypatch.setattr(opening, "judge", judge_while_writing)

    assert rules(looked_at("photo.png", policy)[1]) == ["image_changed"]


def test_a_file_that_changes_before_its_header_is_read_is_a_fault(policy, tmp_path, monkeypatch):
    detect = opening.detect

    def detect_while_writing(head):
        (tmp_path / "photo.png").write_bytes(PNG + b"more")
        return detect(head)

    monkeypatch.setattr(opening, "detect", detect_while_writing)

    assert rules(looked_at("photo.png", policy)[1]) == ["image_changed"]


def test_a_disk_that_fails_is_a_changed_source(policy, monkeypatch):
    def fail(*args):
        raise OSError(5, "Input/output error")

    with opened([("image", "photo.png")], policy) as ((picture,), _):
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(SourceChanged, match="Input/output error"):
            sent(picture)
