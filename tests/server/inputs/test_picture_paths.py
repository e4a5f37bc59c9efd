import os
import socket
from pathlib import Path

import pytest
from tests.server.inputs.made_pictures import looked_at, opened, picture_bytes, rules, saved

from kling_mcp.inputs import path
from kling_mcp.inputs import path as descent
from kling_mcp.inputs.policy import PicturePolicy

PNG = picture_bytes()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


@pytest.fixture
def policy(root):
    return PicturePolicy((root,))


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    return saved(tmp_path / "elsewhere", "secret.png", PNG)


def test_a_file_outside_the_roots_gets_the_same_answer_whether_or_not_it_exists(policy, secret):
    _, there = looked_at(str(secret), policy)
    secret.unlink()
    _, gone = looked_at(str(secret), policy)

    assert rules(there) == ["path_outside_roots"]
    assert there == gone


@pytest.mark.parametrize(
    "form", ["{root}/../elsewhere/secret.png", "../elsewhere/secret.png", "file://{secret}"]
)
def test_no_spelling_leads_out_of_the_roots(root, policy, secret, form):
    _, verdict = looked_at(form.format(root=root, secret=secret), policy)

    assert rules(verdict) == ["path_outside_roots"]


def test_a_link_that_leads_out_is_refused_and_one_that_stays_inside_is_not(root, policy, secret):
    saved(root, "real.png", PNG)
    (root / "inner.png").symlink_to("real.png")
    (root / "outer.png").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    (root / "dangling.png").symlink_to(secret.parent / "none.png")

    wishes = [
        ("image", "inner.png"),
        ("image_tail", "outer.png"),
        ("static_mask", "folder/secret.png"),
        ("dynamic_masks[0].mask", "dangling.png"),
    ]
    with opened(wishes, policy) as (pictures, verdict):
        assert pictures[0].label == "inner.png"
        assert pictures[1:] == [None] * 3
    assert rules(verdict) == ["path_outside_roots"] * 3


def test_a_root_that_is_itself_a_link_admits_its_files(tmp_path, root):
    saved(root, "photo.png", PNG)
    (tmp_path / "link").symlink_to(root)

    for allowed, asked in (("link", root), ("allowed", tmp_path / "link")):
        policy = PicturePolicy((tmp_path / allowed,))
        assert looked_at(str(asked / "photo.png"), policy)[0] is not None


def test_a_relative_path_is_the_first_that_exists_in_the_roots(tmp_path):
    for name, size in (("one", None), ("two", (400, 400)), ("three", (500, 500))):
        (tmp_path / name).mkdir()
        if size:
            saved(tmp_path / name, "cat.png", picture_bytes(size=size))
    policy = PicturePolicy(tuple(tmp_path / name for name in ("one", "two", "three")))

    picture, _ = looked_at("cat.png", policy)
    _, missing = looked_at("pets/dog.png", policy)

    assert picture.width == 400
    assert rules(missing) == ["path_missing"]
    assert "pets/dog.png" in missing.faults[0].message
    assert str(tmp_path / "two") in missing.faults[0].message


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("{root}/none.png", "path_missing"),
        ("{root}/photo.png/inside.png", "path_missing"),
        ("{root}/" + "x" * 300, "path_missing"),
        ("{root}", "path_is_folder"),
        ("folder", "path_is_folder"),
        ("pipe", "path_not_a_file"),
        ("loop", "path_not_a_file"),
        ("socket", "path_not_a_file"),
        ("photo\0.png", "path_characters"),
        ("photo\n.png", "path_characters"),
        ("photo\ud800.png", "path_characters"),
        ("file:photo%00.png", "path_characters"),
        ("file://", "path_is_folder"),
    ],
)
def test_what_is_no_file_is_named(root, policy, value, rule, monkeypatch):
    saved(root, "photo.png", PNG)
    (root / "folder").mkdir()
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        picture, verdict = looked_at(value.format(root=root), policy)

    assert picture is None
    assert rules(verdict) == [rule]


def test_a_picture_deep_below_a_root_is_found(root, policy):
    (root / "a" / "b").mkdir(parents=True)
    photo = saved(root / "a" / "b", "photo.png", PNG)

    for value in ("a/b/photo.png", str(photo), "a/../a/b/./photo.png"):
        assert looked_at(value, policy)[0].size_bytes == len(PNG)


def test_a_file_swapped_for_a_pipe_during_the_opening_does_not_block(root, policy, monkeypatch):
    saved(root, "photo.png", PNG)
    opened = path.open_below

    def swap_then_open(below, real):
        real.unlink()
        os.mkfifo(real)
        return opened(below, real)

    monkeypatch.setattr(path, "open_below", swap_then_open)

    assert rules(looked_at("photo.png", policy)[1]) == ["path_not_a_file"]


def test_a_folder_that_may_not_be_searched_is_no_crash(root, policy, monkeypatch):
    lstat = Path.lstat

    def forbid(self):
        if self.name == "photo.png":
            raise PermissionError(13, "Permission denied")
        return lstat(self)

    saved(root, "photo.png", PNG)
    monkeypatch.setattr(Path, "lstat", forbid)
    _, verdict = looked_at("photo.png", policy)

    assert rules(verdict) == ["path_unreadable"]
    assert "Permission denied" in verdict.faults[0].message


def test_a_user_without_a_home_folder_can_still_use_the_roots(root, monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    saved(root, "photo.png", PNG)
    monkeypatch.setattr(Path, "expanduser", homeless)
    policy = PicturePolicy((root,))

    assert looked_at("photo.png", policy)[0] is not None
    assert rules(looked_at("~/photo.png", policy)[1]) == ["path_missing"]
    assert rules(looked_at("/etc/x.png", policy)[1]) == ["path_outside_roots"]


def test_a_device_is_refused_even_when_the_root_is_everything():
    _, verdict = looked_at("/dev/zero", PicturePolicy((Path("/"),)))

    assert rules(verdict) == ["path_not_a_file"]


def test_a_folder_swapped_for_a_link_during_the_opening_leads_nowhere(
    root, policy, secret, monkeypatch
):
    (root / "album").mkdir()
    saved(root / "album", "secret.png", PNG)
    open_really = os.open

    def swap_then_open(path, flags, **options):
        if path == "album":
            (root / "album").rename(root / "moved")
            (root / "album").symlink_to(secret.parent)
        return open_really(path, flags, **options)

    monkeypatch.setattr(os, "open", swap_then_open)
    monkeypatch.setattr(os, "supports_dir_fd", {swap_then_open})
    picture, verdict = looked_at("album/secret.png", policy)

    assert picture is None
    assert rules(verdict) == ["path_unreadable"]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_system_that_opens_by_whole_paths_notices_a_swap(
    root, policy, secret, monkeypatch, swapped
):
    (root / "album").mkdir()
    saved(root / "album", "secret.png", PNG)
    open_really = os.open

    def swap_then_open(path, flags, **options):
        if swapped and str(path).endswith("secret.png"):
            (root / "album").rename(root / "moved")
            (root / "album").symlink_to(secret.parent)
        return open_really(path, flags, **options)

    monkeypatch.setattr(os, "open", swap_then_open)
    assert os.open not in descent.os.supports_dir_fd
    picture, verdict = looked_at("album/secret.png", policy)

    assert (picture is None) == swapped
    assert rules(verdict) == ["path_unreadable"] * swapped


def test_without_local_files_only_inline_pictures_and_urls_pass(root):
    policy = PicturePolicy((root,), allow_local=False)
    saved(root, "photo.png", PNG)

    for value in ("photo.png", f"file://{root}/photo.png", "/etc/hostname"):
        assert rules(looked_at(value, policy)[1]) == ["path_not_allowed"]


def test_no_roots_means_no_local_picture(root):
    saved(root, "photo.png", PNG)

    for value in ("photo.png", str(root / "photo.png")):
        _, verdict = looked_at(value, PicturePolicy(()))
        assert rules(verdict) == ["path_outside_roots"]


def test_the_advice_names_the_roots_with_the_home_folder_shortened(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    _, verdict = looked_at("/etc/x.png", PicturePolicy((tmp_path / "Pictures", Path("~/art"))))

    assert "~/Pictures or ~/art" in verdict.faults[0].use


def test_a_long_or_odd_name_is_shown_short_and_printable(root, policy):
    name = "long" * 40 + "\u202e.jpg"
    saved(root, name, picture_bytes("JPEG"))

    picture, verdict = looked_at(name, policy)

    assert len(picture.label) == 60
    assert picture.label.isprintable()
    assert picture.label.endswith(".jpg")
    assert verdict.warnings == []


LOOKALIKES = [
    ("Screenshot 2026-08-28 at 8.55.11\u202fPM.png", "Screenshot 2026-08-28 at 8.55.11 PM.png"),
    (
        "Snímek obrazovky 2026-05-15 v\u00a013.05.05.png",
        "Snímek obrazovky 2026-05-15 v 13.05.05.png",
    ),
    ("re\u0301sume\u0301.png", "r\u00e9sum\u00e9.png"),
    ("r\u00e9sum\u00e9.png", "re\u0301sume\u0301.png"),
    ("fotos\u3000von re\u0301my/a\u2009b.png", "fotos von r\u00e9my/a b.png"),
    ("Screenshot at 8.55.png", "Screenshot\\ at\\ 8.55.png"),
    ("Screenshot at 8.55 PM.png", "Screenshot\u00a0at 8.55\u202fPM.png"),
    ("two words.png", '"two words.png"'),
]


@pytest.mark.parametrize(("name", "asked"), LOOKALIKES)
@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
def test_a_file_is_found_whatever_its_spaces_and_accents_are_made_of(
    root, policy, name, asked, absolute
):
    (root / name).parent.mkdir(exist_ok=True)
    saved((root / name).parent, (root / name).name, PNG)
    if absolute:
        asked = f'"{root}/{asked[1:]}' if asked.startswith('"') else f"{root}/{asked}"

    picture, verdict = looked_at(asked, policy)

    assert picture is not None, verdict


def test_a_root_may_be_spelt_with_other_accents(tmp_path):
    (tmp_path / "re\u0301my").mkdir()
    saved(tmp_path / "re\u0301my", "photo.png", PNG)
    policy = PicturePolicy((tmp_path / "re\u0301my",))

    assert looked_at(str(tmp_path / "r\u00e9my" / "photo.png"), policy)[0] is not None


def test_of_two_files_that_look_the_same_none_is_guessed(root, policy):
    for space in ("\u00a0", "\u202f"):
        saved(root, f"a{space}b.png", PNG)

    assert rules(looked_at("a b.png", policy)[1]) == ["path_missing"]


def test_a_link_that_looks_the_same_does_not_lead_out(root, policy, secret):
    (root / "a\u00a0b.png").symlink_to(secret)

    assert rules(looked_at("a b.png", policy)[1]) == ["path_missing"]


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("IMG_2041.jpeg", "IMG_2041.jpg"),
        ("Photo.PNG", "photo.png"),
        ("portrait.png", "portrait"),
    ],
)
def test_the_nearest_name_is_told_and_its_path_works_as_it_stands(root, policy, there, asked):
    saved(root, there, PNG)
    saved(root, "quite another thing.txt", b"")

    (fault,) = looked_at(f"{root}/{asked}", policy)[1].faults

    assert "the nearest name there is" in fault.message
    assert looked_at(fault.use, policy)[0] is not None


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("Screenshot at 8.55\u202fPM.png", "Screenshot at 8.56 PM.png"),
        ("portrait.png", "portrait2.png"),
        ("IMG_0042.png", "IMG_0043.png"),
    ],
)
def test_a_name_that_may_be_another_picture_is_for_the_person_to_decide(root, policy, there, asked):
    saved(root, there, PNG)

    (fault,) = looked_at(f"{root}/{asked}", policy)[1].faults

    assert "which may be another picture" in fault.message
    assert fault.use.endswith("if the person says that this one is meant")


def test_no_name_of_a_file_that_is_no_picture_is_told(root, policy):
    saved(root, "passwords.txt", b"")

    assert "nearest" not in looked_at(f"{root}/password.txt", policy)[1].faults[0].message


CHAT = [
    "/mnt/user-data/uploads/photo.png",
    "/mnt/user-data/uploads/photo",
    "/mnt/data/photo.png",
    "file:///mnt/data/photo.png",
    "sandbox:/mnt/data/photo.png",
    "sandbox://photo.png",
    "/home/claude/photo.png",
    "blob:https://chat.example/0b5e-11",
    "attachment://photo.png",
    "attachment:photo.png",
    "file-service://file-Ab3dEf6hIjKl",
    "file-Ab3dEf6hIjKlMnOpQr",
    "file_011CNha8iCJcU1wXNR6q4V8w",
    "cid:photo",
    "content://media/external/7",
]


@pytest.mark.parametrize("value", CHAT)
@pytest.mark.parametrize("local", [True, False])
def test_a_picture_in_a_chat_s_own_storage_gets_advice_that_helps(root, value, local):
    (fault,) = looked_at(value, PicturePolicy((root,), allow_local=local))[1].faults

    assert fault.rule == "path_of_a_chat"
    assert "the chat's own storage" in fault.message
    assert "KLING_MCP_IMAGE_ROOTS" not in f"{fault.message} {fault.use}"
    assert ("ask the person" in fault.use) is local
    assert ("kling_upload_picture" in fault.use) is not local


def test_a_file_of_such_a_name_that_is_really_there_is_taken(root, policy):
    saved(root, "file-Ab3dEf6hIjKlMnOpQr", PNG)

    assert looked_at("file-Ab3dEf6hIjKlMnOpQr", policy)[0] is not None
