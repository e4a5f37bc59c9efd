"""Videos go where the person asks for them, and pictures are found where the person has them."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from tests.server.scripted import CREATE, facts, words
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import known_folders, load_settings
from kling_sandbox import SandboxStore

pytestmark = pytest.mark.anyio

NAMES = ("Desktop", "Downloads", "Pictures")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a person who has a desktop, downloads, pictures, and photos of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DESKTOP_DIR", "XDG_DOWNLOAD_DIR", "XDG_VIDEOS_DIR", "XDG_PICTURES_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in (*NAMES, "Photos of Rome", "secret"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
async def client(home: Path) -> AsyncIterator[Client]:
    roots = load_settings().save_roots
    settings = sandbox_settings(home, save=True, save_roots=roots)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        yield client


async def finished(client: Client, image: str) -> tuple[str, Path]:
    """The id of a finished task, and the file that was saved without being asked for."""
    made = await client.call_tool(CREATE, {"image": image, "prompt": "Zoom"})
    assert not made.is_error, words(made)
    task = facts(made)["task_id"]
    waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [task]})
    return task, Path(facts(waited)["tasks"][0]["path"])


async def saved(client: Client, task: str, path: str = "") -> dict[str, Any]:
    result = await client.call_tool("kling_save_video", {"task_id": task, "path": path})
    assert not result.is_error, words(result)
    return facts(result)


async def refused(client: Client, task: str, path: str) -> str:
    result = await client.call_tool("kling_save_video", {"task_id": task, "path": path})
    assert result.is_error
    return words(result)


async def picture_refused(client: Client, image: str) -> dict[str, str]:
    result = await client.call_tool(CREATE, {"image": image, "prompt": "Zoom"})
    assert result.is_error, words(result)
    (fault,) = facts(result)["faults"]
    assert fault["message"] in words(result)
    assert fault["use"] in words(result)
    found: dict[str, str] = fault
    return found


def videos(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.mp4"))


async def test_naming_a_file_moves_the_automatic_copy(client: Client, home: Path) -> None:
    task, path = await finished(client, picture(home))

    named = await saved(client, task, "rome.mp4")
    seen = await client.call_tool("kling_get_task", {"task_id": task})
    again = await saved(client, task)

    assert named["path"] == str(path.with_name("rome.mp4")) == facts(seen)["path"]
    assert named["note"] == f"Moved from {path}. A sandbox test clip."
    assert again["path"] == named["path"]
    assert videos(home / "videos") == ["rome.mp4"]
    assert SandboxStore(home / "home" / "sandbox").counts().requests["downloads"] == 1


async def test_a_file_that_the_person_named_stays_and_is_copied(client: Client, home: Path) -> None:
    task, _ = await finished(client, picture(home))

    first = await saved(client, task, "rome.mp4")
    second = await saved(client, task, "desktop/rome.mp4")
    same = await saved(client, task, "desktop/rome.mp4")

    assert second["path"] == same["path"] == str(home / "Desktop" / "rome.mp4")
    assert second["note"] == f"Copied from {first['path']}. A sandbox test clip."
    assert same["note"].startswith("It was there already.")
    assert second["sha256"] == first["sha256"]
    assert Path(first["path"]).read_bytes() == Path(second["path"]).read_bytes()


async def test_a_name_of_the_person_that_ends_in_the_id_stays_too(
    client: Client, home: Path
) -> None:
    task, _ = await finished(client, picture(home))

    first = await saved(client, task, f"rome-{task}.mp4")
    second = await saved(client, task, "desktop/rome.mp4")

    assert second["note"].startswith(f"Copied from {first['path']}.")
    assert videos(home / "videos") == [f"rome-{task}.mp4"]


@pytest.mark.parametrize("save", [True, False])
async def test_saves_at_once_to_several_places_name_files_that_are_there(
    home: Path, save: bool
) -> None:
    places = ("", "rome.mp4", "desktop/a.mp4", "", "downloads/b.mp4", "pictures/")
    settings = sandbox_settings(home, save=save, save_roots=load_settings().save_roots)
    answers: list[dict[str, Any]] = []
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        made = await client.call_tool(CREATE, {"image": picture(home), "prompt": "Zoom"})
        task = facts(made)["task_id"]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [task]})

        async def save_to(place: str) -> None:
            answers.append(await saved(client, task, place))

        async with anyio.create_task_group() as group:
            for place in places:
                group.start_soon(save_to, place)
        last = facts(await client.call_tool("kling_get_task", {"task_id": task}))["path"]

    assert all(Path(answer["path"]).is_file() for answer in [*answers, {"path": last}])
    assert len({answer["path"] for answer in answers}) == 4
    assert not list((home / "videos").glob(f"*{task}*"))
    assert SandboxStore(home / "home" / "sandbox").counts().requests["downloads"] == 1


async def test_a_copy_that_was_changed_is_left_alone(client: Client, home: Path) -> None:
    task, path = await finished(client, picture(home))
    cut = bytes(len(path.read_bytes()))
    path.write_bytes(cut)

    named = await saved(client, task, "rome.mp4")

    assert path.read_bytes() == cut
    assert Path(named["path"]).read_bytes()[4:8] == b"ftyp"


async def test_no_file_of_that_name_is_overwritten(client: Client, home: Path) -> None:
    task, _ = await finished(client, picture(home))
    (home / "Desktop" / "rome.mp4").write_bytes(b"of the person")

    named = await saved(client, task, "Desktop/rome")

    assert named["path"] == str(home / "Desktop" / "rome-2.mp4")
    assert (home / "Desktop" / "rome.mp4").read_bytes() == b"of the person"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("desk/rome.mp4", "Desktop/rome.mp4"),
        ("Downloads/rome", "Downloads/rome.mp4"),
        ("~/Downloads/new/rome.mp4", "Downloads/new/rome.mp4"),
        ("photos/rome.mp4", "Pictures/rome.mp4"),
        ("{home}/Pictures/rome.mp4", "Pictures/rome.mp4"),
        ("~/Photos of Rome/rome.mp4", "Photos of Rome/rome.mp4"),
    ],
)
async def test_videos_may_go_to_the_folders_of_the_person_and_beside_the_picture(
    client: Client, home: Path, path: str, where: str
) -> None:
    task, automatic = await finished(client, picture(home / "Photos of Rome"))

    named = await saved(client, task, path.format(home=home))

    assert named["path"] == str(home / where)
    assert not automatic.exists()


async def test_a_folder_alone_takes_the_automatic_name(client: Client, home: Path) -> None:
    task, automatic = await finished(client, picture(home))

    named = await saved(client, task, "desktop")

    assert named["path"] == str(home / "Desktop" / automatic.name)


@pytest.mark.parametrize(
    "path",
    [
        "~/secret/rome.mp4",
        "~/rome.mp4",
        "~/Photos of Rome/deep/rome.mp4",
        "desktop/../secret/rome.mp4",
        "desktop/door/rome.mp4",
        "/etc/rome.mp4",
    ],
)
async def test_a_refused_path_says_where_the_file_is(client: Client, home: Path, path: str) -> None:
    (home / "Desktop" / "door").symlink_to(home / "secret")
    task, automatic = await finished(client, picture(home / "Photos of Rome"))
    before = videos(home)

    text = await refused(client, task, path)

    assert f"The video is saved at {automatic}." in text
    assert "in Desktop, Downloads, Pictures or beside the picture only" in text
    assert "desktop/clip.mp4" in text
    assert videos(home) == before


async def test_the_setting_off_keeps_videos_in_their_folder(home: Path) -> None:
    settings = sandbox_settings(home, save=True, save_roots="off")
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task, _ = await finished(client, picture(home / "Photos of Rome"))
        for path in ("~/Desktop/rome.mp4", "~/Photos of Rome/rome.mp4", "desktop/rome.mp4"):
            text = await refused(client, task, path)
            assert f"Videos are saved below {home / 'videos'} only" in text
        named = await saved(client, task, "rome/desktop/rome.mp4")

    assert named["path"] == str(home / "videos" / "rome" / "desktop" / "rome.mp4")


async def test_a_desktop_that_this_machine_lacks_is_no_folder_below_the_videos(
    client: Client, home: Path
) -> None:
    task, _ = await finished(client, picture(home))
    (home / "Desktop").rename(home / "Elsewhere")

    text = await refused(client, task, "desktop/")

    assert "begins with the person's desktop folder, which this machine does not have" in text
    assert not (home / "videos" / "desktop").exists()


async def test_words_for_folders_of_the_person_stand_for_them_in_pictures_too(
    client: Client, home: Path
) -> None:
    picture(home / "Desktop", "cat.png")

    made = await client.call_tool(CREATE, {"image": "desk/cat.png", "prompt": "Zoom"})

    assert facts(made)["pictures"] == ["image: cat.png 640x480"]


async def test_a_picture_in_another_folder_of_the_person_is_named(
    client: Client, home: Path
) -> None:
    there = picture(home / "Downloads", "cat.png")

    fault = await picture_refused(client, "~/Pictures/cat.png")

    assert fault["rule"] == "path_missing"
    assert "but one in Downloads" in fault["message"]
    assert fault["use"].startswith(there)


async def test_a_folder_given_as_picture_lists_its_pictures(client: Client, home: Path) -> None:
    rome = home / "Photos of Rome"
    picture(rome, "old.png", (800, 600))
    picture(rome, "new.jpg", (1200, 900))
    (rome / "broken.webp").write_bytes(b"RIFF0000WEBP")
    (rome / "notes.txt").write_text("no picture")
    (rome / "door.png").symlink_to("/etc/hostname")
    for age, name in enumerate(("broken.webp", "new.jpg", "old.png")):
        os.utime(rome / name, (1_000_000 - age, 1_000_000 - age))

    fault = await picture_refused(client, str(rome))

    assert fault["rule"] == "path_is_folder"
    assert fault["message"].endswith("is a folder with 3 pictures.")
    assert fault["choices"] == "broken.webp; new.jpg 1200x900; old.png 800x600"


async def test_a_full_folder_names_its_fifty_newest(client: Client, home: Path) -> None:
    for number in range(60):
        picture(home / "Pictures", f"a rather long name of a photograph {number:02}.png")

    fault = await picture_refused(client, "pictures")

    assert "with 60 pictures; the newest 50 are named" in fault["message"]
    assert len(fault["choices"].split("; ")) == 50
    assert not fault["choices"].endswith("…")


async def test_an_empty_folder_says_so(client: Client, home: Path) -> None:
    fault = await picture_refused(client, str(home / "secret"))

    assert fault["message"].endswith("is a folder without pictures.")


async def test_names_of_the_system_are_words_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_DESKTOP_DIR"):
        monkeypatch.delenv(name, raising=False)
    (home / ".config").mkdir()
    (home / ".config" / "user-dirs.dirs").write_text('XDG_DESKTOP_DIR="$HOME/Schreibtisch"\n')

    folders = known_folders()

    assert folders["schreibtisch"] == folders["desktop"] == home / "Schreibtisch"


async def test_a_place_may_be_said_as_people_say_it(client: Client, home: Path) -> None:
    image = picture(home / "Pictures", "trip/photo.png")
    task, _ = await finished(client, image)

    desk = await saved(client, task, "my desk/rome.mp4")
    beside = await saved(client, task, "beside the picture/rome.mp4")
    alone = await saved(client, task, "next to the picture")
    new = await saved(client, task, "for anna/rome.mp4")

    assert desk["path"] == str(home / "Desktop" / "rome.mp4")
    assert beside["path"] == str(Path(image).with_name("rome.mp4"))
    assert Path(alone["path"]).parent == Path(image).parent
    folder = home / "videos" / "for anna"
    assert new["path"] == str(folder / "rome.mp4")
    assert f"The folder {folder} was made for it." in new["note"]
    assert "was made for it" not in beside["note"]
