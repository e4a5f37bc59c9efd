"""Hostile callers, through the tools: what they ask for does not happen."""

import os
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mcp import Client
from PIL import Image
from tests.made_clips import make_clip
from tests.server.scripted import (
    CREATE,
    facts,
    make,
    words,
)
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.inputs.held import HeldFile
from kling_mcp.inputs.picture import recognise
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.inputs.refusal import Refusal
from kling_mcp.protocol.server import build_server
from kling_sandbox.clips import ClipMaker

pytestmark = pytest.mark.anyio

MB = 2**20
SECRET = "the secret of another folder"


def outside(folder: Path) -> Path:
    path = folder.parent / f"{folder.name}-elsewhere" / "secret.png"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SECRET)
    return path


def link(folder: Path) -> str:
    (folder / "innocent.png").symlink_to(outside(folder))
    return "innocent.png"


def linked_folder(folder: Path) -> str:
    (folder / "pictures").symlink_to(outside(folder).parent)
    return "pictures/secret.png"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.png")
    return "pipe.png"


PICTURES: dict[str, Callable[[Path], str]] = {
    "traversal": lambda f: f"../{outside(f).parent.name}/secret.png",
    "traversal below the root": lambda f: f"{f}/../{outside(f).parent.name}/secret.png",
    "an absolute path": lambda f: str(outside(f)),
    "a file URL": lambda f: outside(f).as_uri(),
    "a file URL in capitals": lambda f: "FILE://" + str(outside(f)),
    "an escaped file URL": lambda f: f"file://{f}/%2e%2e/{outside(f).parent.name}/secret.png",
    "a link": link,
    "a link of a folder": linked_folder,
    "a pipe": pipe,
    "a device": lambda _: "/dev/zero",
    "the process": lambda _: "/proc/self/environ",
    "another case": lambda f: str(outside(f)).upper(),
    "NUL": lambda f: f"photo.png\0{outside(f)}",
    "a home of somebody else": lambda _: "~root/.ssh/id_rsa",
}


@pytest.mark.parametrize("case", PICTURES)
async def test_no_spelling_of_a_picture_leads_out_of_its_folders(case: str, tmp_path: Path) -> None:
    value = PICTURES[case](tmp_path)
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        for arguments in ({}, {"dry_run": True}):
            result = await client.call_tool(CREATE, {"image": value, "prompt": "x", **arguments})
            told = facts(result)

            assert result.is_error or told["faults"]
            assert SECRET not in f"{words(result)} {told}"
            assert "root:" not in f"{words(result)} {told}"
    assert not (tmp_path / "home" / "sandbox").exists()


VIDEOS: dict[str, Callable[[Path], str]] = {
    "traversal": lambda _: "../out.mp4",
    "traversal inside": lambda _: "a/../../out.mp4",
    "an absolute path": lambda f: str(f.parent / "out.mp4"),
    "a file URL": lambda f: (f.parent / "out.mp4").as_uri(),
    "an escaped file URL": lambda f: f"file://{f}/videos/%2e%2e/out.mp4",
    "a link": lambda _: "link/out.mp4",
    "a device": lambda _: "/dev/null",
    "a device of Windows": lambda _: "NUL.mp4",
    "a stream of Windows": lambda _: "out.mp4:hidden",
    "a drive": lambda _: "C:\\out.mp4",
    "NUL": lambda _: "out\0.mp4",
    "a program": lambda _: "run.sh",
    "a home of somebody else": lambda _: "~root/out.mp4",
    "a writing direction": lambda _: "4pm.\u202egnp.mp4",
}


async def test_no_spelling_of_a_video_leads_out_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipMaker, "_make", lambda _, order, path: _film(path))
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "link").symlink_to(tmp_path)
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        task_id = facts(await make(client, tmp_path))["task_id"]
        before = sorted(tmp_path.rglob("*.mp4*"))
        for case, value in VIDEOS.items():
            result = await client.call_tool(
                "kling_save_video", {"task_id": task_id, "path": value(tmp_path)}
            )
            assert result.is_error, case
            assert facts(result)["error"] == "unsafe_path", case

    clips = [path for path in sorted(tmp_path.rglob("*.mp4*")) if path not in before]
    assert [path for path in clips if "sandbox" not in path.parts] == []
    assert list(tmp_path.parent.glob("out*")) == []


async def test_a_file_of_the_same_name_in_another_case_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipMaker, "_make", lambda _, order, path: _film(path))
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "clip.mp4").write_text("mine")
    (videos / "CLIP.MP4").write_text("mine too")
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        task_id = facts(await make(client, tmp_path))["task_id"]
        for name in ("clip.mp4", "CLIP.MP4", "Clip.Mp4"):
            saved = await client.call_tool("kling_save_video", {"task_id": task_id, "path": name})
            assert not saved.is_error, words(saved)

    assert (videos / "clip.mp4").read_text() == "mine"
    assert (videos / "CLIP.MP4").read_text() == "mine too"


def _film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_clip(path)


def _vast_png(folder: Path) -> str:
    bomb = bytearray(Path(picture(folder)).read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bomb)
    return "bomb.png"


def _vast_gif(folder: Path) -> str:
    Image.new("P", (400, 400)).save(folder / "bomb.gif")
    bomb = bytearray((folder / "bomb.gif").read_bytes())
    bomb[6:10] = (13_000).to_bytes(2, "little") * 2
    (folder / "bomb.gif").write_bytes(bomb)
    return "bomb.gif"


@pytest.mark.parametrize("make_bomb", [_vast_png, _vast_gif])
async def test_a_picture_that_unfolds_to_gigabytes_is_refused(
    make_bomb: Callable[[Path], str], tmp_path: Path
) -> None:
    image = make_bomb(tmp_path)
    settings = sandbox_settings(tmp_path, fix_images=True)
    tracemalloc.start()
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        result = await client.call_tool(CREATE, {"image": image, "prompt": "x"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert result.is_error
    assert facts(result)["error"] == "image_rejected", words(result)
    assert peak < 64 * MB


@pytest.mark.parametrize(
    ("start", "letter", "times"),
    [
        pytest.param(
            "data:image/png;base64,iVBORw0KGgo", "A", 100 * MB, marks=pytest.mark.campaign
        ),
        ("data:image/png;base64,iVBORw0KGgo", "A", 99 * MB),
        pytest.param("data:image/png;base64,iVBORw0KGgo", "%41", MB, marks=pytest.mark.campaign),
        ("data:image/png,", "%41", MB),
        pytest.param("iVBORw0KGgo", "A", 99 * MB, marks=pytest.mark.campaign),
    ],
    ids=["too long", "base64", "escaped base64", "escaped", "bare base64"],
)
def test_a_hundred_megabytes_of_text_take_little_memory_more(
    start: str, letter: str, times: int, tmp_path: Path
) -> None:
    text = start + letter * times
    policy = PicturePolicy(roots=(tmp_path,), fix=False)
    tracemalloc.start()
    with suppress(Refusal):
        given = recognise(text, policy).content
        assert isinstance(given, HeldFile)
        given.let_go("image")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 16 * MB


@pytest.mark.parametrize(
    "start",
    [
        "data:image/png;base64,",
        *(pytest.param(s, marks=pytest.mark.campaign) for s in ("", "data:image/png,")),
    ],
)
async def test_a_picture_of_a_hundred_megabytes_of_text_is_refused(
    start: str, tmp_path: Path
) -> None:
    value = start + "iVBORw0KGgo" + "A" * (100 * MB)
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        result = await client.call_tool(CREATE, {"image": value, "prompt": "x"})

    assert result.is_error
    assert facts(result)["charged"] == "no"
    assert len(words(result)) < 500
    assert not (tmp_path / "home").exists()
