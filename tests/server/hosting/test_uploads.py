"""Pictures that people send to a hosted server: once, in time, and for themselves alone."""

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from tests.made_clips import make_clip
from tests.server.hosting.public_server import PUBLIC, Hosted, hosted, said
from tests.server.hosting.team import give_token, served_team
from tests.server.scripted import BASE, Scripted, is_create, task
from tests.server.serving import ALL_BYTES, SIDE_PX, picture

from kling_mcp.hosting.public_routes import public_routes
from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.hosting.uploads import ADDRESS_S, KEPT_S, MOST, MOST_BYTES
from kling_mcp.inputs.picture_rules import BYTES_MAX
from kling_mcp.principal import READ
from kling_mcp.settings.settings import Settings

KEY = "a secret that all the replicas share, 32"


def bytes_of(folder: Path, name: str = "photo.png") -> bytes:
    return Path(picture(folder, name)).read_bytes()


async def sent(server: Hosted, content: bytes) -> dict[str, str]:
    """The address that the tool gave, to which this was sent with success."""
    address = await server.call("kling_upload_picture")
    answer = await server.http.put(address["upload_url"], content=content)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"image": address["image"]}
    return address


@pytest.mark.anyio
async def test_an_uploaded_picture_becomes_a_video(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        address = await sent(server, bytes_of(tmp_path))
        wish = {"image": address["image"], "prompt": "wind"}
        receipt = await server.call("kling_image_to_video", **wish)

    assert re.fullmatch(r"image: upload \S{6} 640x480", receipt["pictures"][0])
    assert address["expires_at"].endswith("Z")


@pytest.mark.anyio
async def test_the_same_picture_uploaded_again_is_the_same_video(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        receipts = []
        for _ in range(2):
            address = await sent(server, bytes_of(tmp_path))
            wish = {"image": address["image"], "prompt": "wind"}
            receipts.append(await server.call("kling_image_to_video", **wish))

    assert receipts[1]["task_id"] == receipts[0]["task_id"]
    assert receipts[1]["repeated"] is True


@pytest.mark.anyio
async def test_an_address_takes_one_picture(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        address = await sent(server, bytes_of(tmp_path))
        again = await server.http.post(address["upload_url"], content=bytes_of(tmp_path, "b.png"))

    assert again.status_code == 409
    assert "already" in again.json()["error"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "status", "word"),
    [
        (b"", 422, "empty"),
        (b"<html>", 422, "HTML"),
        (b"--boundary\r\nContent-Disposition: form-data", 422, "text file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, 422, "header"),
        (b"GIF89a" + b"\0" * 64, 422, "GIF"),
        (b"\xff\xd8\xff" + b"\0" * BYTES_MAX, 413, "10 MB"),
    ],
)
async def test_what_kling_would_not_take_is_not_kept(
    content: bytes, status: int, word: str, tmp_path: Path
) -> None:
    async with hosted(tmp_path) as server:
        address = await server.call("kling_upload_picture")
        refused = await server.http.put(address["upload_url"], content=content)
        then = await server.http.put(address["upload_url"], content=bytes_of(tmp_path))

    assert refused.status_code == status
    assert word in refused.json()["error"]
    assert then.status_code == 201
    assert len(list((tmp_path / "home" / "uploads").glob("*/*"))) == 1


@pytest.mark.anyio
async def test_a_small_picture_is_refused_with_its_size(tmp_path: Path) -> None:
    small = Path(picture(tmp_path, "small.png", (100, 400))).read_bytes()
    async with hosted(tmp_path) as server:
        address = await server.call("kling_upload_picture")
        refused = await server.http.put(address["upload_url"], content=small)

    assert refused.status_code == 422
    assert "100x400" in refused.json()["error"]


@pytest.mark.anyio
async def test_a_changed_address_takes_nothing(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        address = await server.call("kling_upload_picture")
        url = httpx.URL(address["upload_url"])
        asked = dict(url.params)
        changes = [
            {"owner": "0" * 24},
            {"owner": "../../x"},
            {"expires": str(int(asked["expires"]) + 600)},
            {"expires": "٣" * 10},
            {"signature": asked["signature"][:-1] + "x"},
            {"signature": "é"},
            {"signature": ""},
        ]
        statuses = set()
        for change in changes:
            forged = url.copy_with(params={**asked, **change})
            statuses.add((await server.http.put(forged, content=b"x")).status_code)
            statuses.add((await server.http.get(forged)).status_code)
        other = url.copy_with(path="/uploads/" + "A" * 22)
        statuses.add((await server.http.put(other, content=b"x")).status_code)

    assert statuses == {403}


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.anyio
async def test_addresses_and_pictures_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(KLING_MCP_HOME=tmp_path)
    clock = Clock()
    hosting = Hosting.create(settings, load_host_settings(public_url=PUBLIC, secret=KEY), clock)
    assert hosting.public is not None
    uploads = hosting.public.uploads
    transport = httpx.ASGITransport(Starlette(routes=public_routes(hosting)))
    data = bytes_of(tmp_path)
    async with httpx.AsyncClient(transport=transport) as http:
        first, second = [await uploads.address("ann") for _ in range(2)]
        sent = await http.put(first.upload_url, content=data)
        clock.now += ADDRESS_S + 1
        late = await http.put(second.upload_url, content=data)
    (file,) = (tmp_path / "uploads").glob("*/*")
    import os

    os.utime(file, (clock.now, clock.now))
    clock.now += KEPT_S - 1
    kept = await uploads.picture(first.image, "ann")
    assert kept.file is not None
    kept.file.let_go("")
    clock.now += 2
    with pytest.raises(Exception, match="upload does not exist"):
        await uploads.picture(first.image, "ann")
    await uploads.address("ann")

    assert (sent.status_code, late.status_code) == (201, 403)
    assert not file.exists()


@pytest.mark.anyio
async def test_an_address_of_one_replica_is_good_at_another(tmp_path: Path) -> None:
    data = bytes_of(tmp_path)
    async with hosted(tmp_path, secret=KEY) as one, hosted(tmp_path, secret=KEY) as other:
        address = await one.call("kling_upload_picture")
        answer = await other.http.put(address["upload_url"], content=data)
        receipt = await one.call("kling_image_to_video", image=address["image"], prompt="wind")

    assert answer.status_code == 201
    assert receipt["task_id"]


@pytest.mark.anyio
async def test_one_person_cannot_fill_the_disk(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        folder = tmp_path / "home" / "uploads" / "local"
        folder.mkdir(parents=True)
        for number in range(MOST):
            (folder / f"{number}").touch()
        address = await server.call("kling_upload_picture")
        refused = await server.http.put(address["upload_url"], content=bytes_of(tmp_path))

    assert refused.status_code == 429


@pytest.mark.anyio
async def test_the_bytes_of_one_person_s_files_are_counted_too(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        folder = tmp_path / "home" / "uploads" / "local"
        folder.mkdir(parents=True)
        with (folder / "film.mp4").open("wb") as film:
            film.truncate(MOST_BYTES - 100)
        address = await server.call("kling_upload_picture")
        refused = await server.http.put(address["upload_url"], content=bytes_of(tmp_path))
        (folder / "film.mp4").unlink()
        taken = await server.http.put(address["upload_url"], content=bytes_of(tmp_path))

    assert refused.status_code == 429
    assert "have 1024 MB already, and 1024 MB at most" in refused.json()["error"]
    assert taken.status_code == 201


class Kling:
    """A provider that takes each create and notes the addresses in its body."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if is_create(request):
            self.given += re.findall(
                rf"{re.escape(PUBLIC)}/inputs/[^\"\\\\]+", request.content.decode()
            )
            return task(task_id=f"t-{len(self.given)}")
        return task(task_id=request.url.path.rpartition("/")[2])


@asynccontextmanager
async def hosted_with(
    kling: Kling, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hosted]:
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    provider = {"provider": "kling", "kling_api_key": "k", "kling_base_url": BASE}
    async with hosted(folder, provider=provider) as server:
        yield server


def clip_bytes(folder: Path) -> bytes:
    return make_clip(folder / "dance.mp4", frames=96, size=(720, 720)).read_bytes()


@pytest.mark.anyio
@pytest.mark.parametrize("tool", ["kling_edit_video", "kling_motion_control"])
async def test_kling_fetches_an_uploaded_video_from_an_address_of_its_own(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling, film = Kling(), clip_bytes(tmp_path)
    async with hosted_with(kling, tmp_path, monkeypatch) as server:
        wish = {"video": (await sent(server, film))["image"], "prompt": "In the snow"}
        if tool == "kling_motion_control":
            wish["image"] = (await sent(server, bytes_of(tmp_path)))["image"]
        made = await server.call(tool, **wish)
        kept = len(list((tmp_path / "home" / "uploads" / "local").iterdir()))
        again = await server.call(tool, **wish)
        (url,) = kling.given
        whole, part, head = (
            await server.http.get(url),
            await server.http.get(url, headers={"Range": "bytes=4-7"}),
            await server.http.head(url),
        )
        asked = dict(httpx.URL(url).params)
        forged = [
            httpx.URL(url).copy_with(params={**asked, **change})
            for change in ({"owner": "0" * 24}, {"signature": "x"}, {"expires": "9999999999"})
        ]
        as_upload = url.replace("/inputs/", "/uploads/")
        refused = [(await server.http.get(each)).status_code for each in [*forged, as_upload]]
        for file in (tmp_path / "home" / "uploads" / "local").iterdir():
            file.unlink()
        gone = await server.http.get(url)

    assert whole.status_code == 200
    assert whole.content == film
    assert whole.headers["content-type"] == "video/mp4"
    assert part.content == b"ftyp"
    assert head.headers["content-length"] == str(len(film))
    assert refused == [403, 403, 403, 403]
    assert gone.status_code == 404
    assert (again["task_id"], again["repeated"]) == (made["task_id"], True)
    assert kept == (3 if tool == "kling_motion_control" else 2)
    assert "/inputs/" not in json.dumps([made, again])


@pytest.mark.anyio
async def test_a_video_for_kling_finds_no_room_beside_too_many_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    async with hosted_with(kling, tmp_path, monkeypatch) as server:
        video = (await sent(server, clip_bytes(tmp_path)))["image"]
        folder = tmp_path / "home" / "uploads" / "local"
        with (folder / "film.mp4").open("wb") as film:
            film.truncate(MOST_BYTES - 100)
        asked = {"video": video, "prompt": "In the snow"}
        refused = await server.client.call_tool("kling_edit_video", asked)
        (folder / "film.mp4").unlink()
        made = await server.call("kling_edit_video", **asked)

    assert refused.is_error
    assert "1024 MB at most" in said(refused)
    assert "Nothing was sent" in said(refused)
    assert made["task_id"] == "t-1"
    assert len(kling.given) == 1


@pytest.mark.anyio
async def test_a_person_finds_a_page_that_loads_nothing_else(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        address = await server.call("kling_upload_picture")
        page = await server.http.get(address["upload_url"])

    policy = page.headers["content-security-policy"]
    assert page.status_code == 200
    assert 'type="file"' in page.text
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.anyio
async def test_local_paths_are_off_and_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    path = picture(tmp_path)
    async with hosted(tmp_path) as server:
        answers = [
            await server.client.call_tool(
                "kling_image_to_video", {"image": given, "prompt": "wind"}
            )
            for given in (path, Path(path).as_uri(), "photo.png", "~/photo.png")
        ]

    for answer in answers:
        assert answer.is_error
        assert "kling_upload_picture" in said(answer)
        assert str(tmp_path) not in said(answer)


def test_nobody_else_can_use_an_upload(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    ann, bob = give_token(tokens, "ann"), give_token(tokens, "bob")
    reader = give_token(tokens, "reader", READ)
    with served_team(tmp_path, tokens=tokens) as team:
        address = team.call(ann, "kling_upload_picture")["structuredContent"]
        data = bytes_of(tmp_path)
        assert httpx.put(address["upload_url"], content=data).status_code == 201
        wish = {"image": address["image"], "prompt": "wind", "dry_run": True}
        own = team.call(ann, "kling_image_to_video", **wish)["structuredContent"]
        others = team.call(bob, "kling_image_to_video", **wish)["structuredContent"]
        made_up = {**wish, "image": "kling://uploads/" + "A" * 22}
        nothing = team.call(bob, "kling_image_to_video", **made_up)["structuredContent"]
        may_not = team.call(reader, "kling_upload_picture")

    assert "faults" not in own
    assert others["faults"] == nothing["faults"]
    assert "upload does not exist" in others["faults"][0]["message"]
    assert may_not["isError"] is True


@pytest.mark.anyio
async def test_a_frame_of_a_video_is_still_taken_as_picture(tmp_path: Path) -> None:
    image = "data:image/png;base64," + base64.b64encode(bytes_of(tmp_path)).decode()
    async with hosted(tmp_path, provider={"sandbox_side_px": SIDE_PX}) as server:
        first = await server.call("kling_image_to_video", image=image, prompt="wind")
        await server.call("kling_wait_for_tasks", task_ids=[first["task_id"]])
        frame = f"kling://tasks/{first['task_id']}/frames/last"
        receipt = await server.call("kling_image_to_video", image=frame, prompt="rain")

    assert receipt["task_id"] != first["task_id"]


@pytest.mark.anyio
async def test_the_list_of_tools_stays_small_with_one_tool_more(tmp_path: Path) -> None:
    keys = {f"{name}_api_key": "a-key" for name in ("kling", "cometapi", "anyfast", "powertokens")}
    gateway = {"newapi_api_key": "a-key", "newapi_base_url": "https://gateway.example"}
    provider = {**keys, **gateway, "provider": "newapi", "save": True}
    async with hosted(tmp_path, provider=provider) as server:
        listed = await server.client.list_tools()
    upload = listed.tools[-1]

    tools = {tool.name: tool for tool in listed.tools}

    assert upload.name == "kling_upload_picture"
    assert "path" not in tools["kling_save_video"].input_schema["properties"]
    assert len(upload.model_dump_json(by_alias=True, exclude_none=True)) < 350
    assert len(listed.model_dump_json(by_alias=True, exclude_none=True).encode()) <= ALL_BYTES
