"""Videos go below one folder, whatever path is asked for."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_mcp.outputs.storage import VideoFolder
from kling_tools.errors import UnsafePath

TASK = "829611643369439283"
DEFAULT = f"slow-zoom-{TASK}.mp4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    (root / "inner").mkdir(parents=True)
    return root


def target(root: Path, path: str | None) -> Path:
    return VideoFolder(root).target(path, prompt="Slow zoom", task_id=TASK)


@pytest.mark.parametrize("path", [None, "", "  ", ".", "./", "inner/.."])
def test_without_a_name_the_default_one_is_taken(root: Path, path: str | None) -> None:
    assert target(root, path) == root / DEFAULT


@pytest.mark.parametrize("path", ["inner", "inner/", "./inner/"])
def test_in_an_existing_folder_the_default_name_is_taken(root: Path, path: str) -> None:
    assert target(root, path) == root / "inner" / DEFAULT


def test_a_slash_at_the_end_names_a_folder_that_need_not_exist(root: Path) -> None:
    assert target(root, "new/deep/") == root / "new" / "deep" / DEFAULT
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("clip.mp4", "clip.mp4"),
        ("clip", "clip.mp4"),
        ("clip.MP4", "clip.MP4"),
        ("version 1.5", "version 1.5.mp4"),
        ("a/b/../clip", "a/clip.mp4"),
        ("Grüße 你好.mp4", "Grüße 你好.mp4"),
        (" clip.mp4 ", "clip.mp4"),
        ("\u00a0my videos / take 1 \u3000", "my videos/take 1.mp4"),
        (" new / deep. /", f"new/deep/{DEFAULT}"),
        ("inner /clip.mp4", "inner/clip.mp4"),
    ],
)
def test_a_relative_path_is_taken_from_the_folder(root: Path, path: str, below: str) -> None:
    assert target(root, path) == root / below


def test_an_absolute_path_inside_is_taken(root: Path) -> None:
    assert target(root, str(root / "a" / "clip.mp4")) == root / "a" / "clip.mp4"


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_url_inside_is_taken(root: Path, host: str) -> None:
    url = root.as_uri().replace("file://", f"file://{host}") + "/a%20clip.mp4"

    assert target(root, url) == root / "a clip.mp4"


def test_a_tilde_means_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert target(Path("~/videos"), "~/videos/clip") == tmp_path / "videos" / "clip.mp4"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../clip.mp4",
        "inner/../../clip.mp4",
        "/etc/clip.mp4",
        "/",
        "~/clip.mp4",
        "~nobody-of-that-name/clip.mp4",
        "file:///etc/clip.mp4",
        "file:///%2e%2e/clip.mp4",
        "file://elsewhere/clip.mp4",
        "https://example.com/clip.mp4",
        "C:\\Users\\anna\\clip.mp4",
        ".mp4",
        "inner/ .mp4",
        "clip\0.mp4",
        "clip%00.mp4\n",
        "file:///a%00b.mp4",
        "clip\ud800.mp4",
        "a\\..\\..\\clip.mp4",
        "clip:stream.mp4",
        "nul.mp4",
        "CON/clip.mp4",
        "con.old/deep/clip.mp4",
        "new/lpt1/",
        "a:b/clip.mp4",
        "what?/clip.mp4",
        "a\u202ecba/clip.mp4",
        "a\u2028b/clip.mp4",
        "new/.../clip.mp4",
        "new/ .. /clip.mp4",
        f"{'x' * 201}/clip.mp4",
        "x" * 300,
        "x/" * 900,
        f"{'x' * 300}/clip.mp4",
    ],
)
def test_what_is_refused_names_the_folder_and_the_setting(root: Path, path: str) -> None:
    with pytest.raises(UnsafePath) as refusal:
        target(root, path)

    text = str(refusal.value)
    assert str(root) in text
    assert "KLING_MCP_OUTPUT_DIR" in text
    assert "This call cost nothing." in text
    assert text.isprintable()
    assert len(text) < 400 + len(str(root))


@pytest.mark.parametrize(("path", "meant"), [("clip.mov", "clip.mp4"), ("a/x.gif", "a/x.mp4")])
def test_another_ending_is_named_as_the_fault(root: Path, path: str, meant: str) -> None:
    with pytest.raises(UnsafePath) as refusal:
        target(root, path)

    ending = path[-4:]
    assert str(refusal.value) == (
        f"Kling's videos are MP4 files: the ending {ending} is wrong. This call cost nothing. "
        f"Give {meant}; another program can convert the file."
    )


def test_a_windows_path_is_named_so_elsewhere(root: Path) -> None:
    with pytest.raises(UnsafePath, match="is a Windows path"):
        target(root, "C:\\Users\\anna\\clip.mp4")


def test_a_folder_beside_with_the_same_beginning_is_outside(root: Path) -> None:
    with pytest.raises(UnsafePath):
        target(root, f"{root}-other/clip.mp4")


def test_a_link_that_leads_outside_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "door").symlink_to(tmp_path)
    (root / "file.mp4").symlink_to(tmp_path / "not-there.mp4")

    for path in ("door/clip.mp4", "door/", "door", "file.mp4", "file"):
        with pytest.raises(UnsafePath):
            target(root, path)


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "door").symlink_to(root / "inner")

    assert target(root, "door/clip") == root / "inner" / "clip.mp4"


def test_a_link_that_turns_in_circles_is_refused(root: Path) -> None:
    (root / "loop").symlink_to(root / "loop")

    with pytest.raises(UnsafePath):
        target(root, "loop/clip.mp4")


def test_the_folder_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)

    assert target(link, str(root / "clip")) == link / "clip.mp4"


@settings(deadline=None)
@given(path=st.text(max_size=60) | st.text(alphabet="./~\\ a:mp4%", max_size=30))
def test_every_path_ends_below_the_folder_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "below"
    try:
        found = target(root, path)
    except UnsafePath:
        return
    assert found.resolve().is_relative_to(root.resolve())
    assert found.suffix.lower() == ".mp4"
    assert found.name not in (".mp4", "..mp4")


@settings(deadline=None)
@given(
    path=st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                [
                    "/",
                    "..",
                    "desktop",
                    "door",
                    "beside",
                    "secret",
                    "clip",
                    ".mp4",
                    "~",
                    " ",
                    "{base}",
                ]
            ),
            max_size=8,
        ),
    )
)
def test_with_folders_of_the_person_every_path_ends_in_an_allowed_one_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    base = tmp_path_factory.getbasetemp() / "person"
    below, desktop, beside = base / "videos", base / "desktop", base / "beside"
    for folder in (below, desktop, beside, base / "secret"):
        folder.mkdir(parents=True, exist_ok=True)
    if not (desktop / "door").exists():
        (desktop / "door").symlink_to(base / "secret")
    folders = VideoFolder(below, [desktop, base / "missing"], lambda: {"desktop": desktop})

    try:
        asked = path.replace("{base}", str(base))
        found = folders.target(asked, task_id=TASK, beside=[beside]).resolve()
    except UnsafePath:
        return
    allowed = found.is_relative_to(below) or found.is_relative_to(desktop)
    assert allowed or found.parent == beside
    assert found.suffix.lower() == ".mp4"


def test_a_folder_that_is_there_is_used_whatever_its_name(root: Path) -> None:
    (root / "a:b").mkdir()

    assert target(root, "a:b/clip") == root / "a:b" / "clip.mp4"
