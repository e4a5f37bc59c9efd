"""Links to videos: for whoever has one, for a while."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError
from tests.server.hosting.public_server import PUBLIC, Hosted, hosted, said
from tests.server.hosting.team import give_token, picture_data, served_team
from tests.server.serving import ERAS_WITH_CLIPS, picture

from kling_mcp.hosting.links import PURPOSE, Signer
from kling_sandbox import SandboxStore


async def finished(server: Hosted, folder: Path, prompt: str = "Grüße, wind") -> dict[str, Any]:
    data = base64.b64encode(Path(picture(folder)).read_bytes()).decode()
    wish = {"image": f"data:image/png;base64,{data}", "prompt": prompt}
    receipt = await server.call("kling_image_to_video", **wish)
    waited = await server.call("kling_wait_for_tasks", task_ids=[receipt["task_id"]])
    view: dict[str, Any] = waited["tasks"][0]
    return view


@pytest.mark.anyio
async def test_a_saved_video_is_handed_out_by_its_link(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        view = await finished(server, tmp_path)
        saved = await server.call("kling_save_video", task_id=view["task_id"])
        then = await server.call("kling_get_task", task_id=view["task_id"])
        whole = await server.http.get(saved["url"])
        head = await server.http.head(saved["url"])
        part = await server.http.get(saved["url"], headers={"Range": "bytes=4-7"})
        beyond = await server.http.get(saved["url"], headers={"Range": "bytes=99999999-"})

    assert "url" not in view
    assert then["url"].split("?")[0] == saved["url"].split("?")[0]
    assert (whole.status_code, len(whole.content)) == (200, saved["bytes"])
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-disposition"].startswith("inline; filename*=utf-8''gr%C3%BC")
    assert whole.headers["cache-control"].startswith("private")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(saved["bytes"])
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert beyond.status_code == 416


@pytest.mark.anyio
async def test_a_new_link_asks_no_provider_and_the_old_one_names_its_task(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        view = await finished(server, tmp_path)
        saved = await server.call("kling_save_video", task_id=view["task_id"])
        store = SandboxStore(tmp_path / "home" / "sandbox")
        before = store.counts().requests
        again = await server.call("kling_save_video", task_id=saved["url"])
        named = await server.call("kling_wait_for_tasks", task_ids=[saved["url"]])
        after = store.counts().requests

    assert again["sha256"] == saved["sha256"]
    assert again["url"].split("?")[0] == saved["url"].split("?")[0]
    assert named["tasks"][0]["task_id"] == view["task_id"]
    assert after == before


@pytest.mark.anyio
async def test_a_link_that_is_not_ours_or_has_expired_opens_nothing(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        view = await finished(server, tmp_path)
        url = httpx.URL((await server.call("kling_save_video", task_id=view["task_id"]))["url"])
        row = url.path.split("/")[2]
        asked = dict(url.params)
        past = Signer(server.hosting.secret, lambda: 0.0).sign(PURPOSE, row, 1_600_000_000)
        upload = Signer(server.hosting.secret, lambda: 0.0).sign(
            "upload", row, int(asked["expires"])
        )
        changes: list[dict[str, str]] = [
            {"expires": "1600000000", "signature": past},
            {"expires": str(int(asked["expires"]) + 1)},
            {"expires": "9" * 40},
            {"expires": "-1"},
            {"signature": upload},
            {"signature": asked["signature"].upper()},
            {"signature": "\udcff".encode("utf-8", "replace").decode()},
        ]
        statuses = []
        for change in changes:
            forged = url.copy_with(params={**asked, **change})
            statuses.append((await server.http.get(forged)).status_code)
        other = url.copy_with(path=f"/videos/{'0' * 32}/x.mp4")
        statuses.append((await server.http.get(other)).status_code)
        statuses.append((await server.http.get(url.copy_with(query=None))).status_code)

    assert set(statuses) == {403}


@pytest.mark.anyio
async def test_a_video_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        view = await finished(server, tmp_path)
        saved = await server.call("kling_save_video", task_id=view["task_id"])
        (path,) = (tmp_path / "videos").glob("*/*/*.mp4")
        path.unlink()
        gone = await server.http.get(saved["url"])
        told = await server.call("kling_get_task", task_id=view["task_id"])

    assert gone.status_code == 404
    assert "url" not in told


@pytest.mark.anyio
async def test_links_are_the_same_for_a_while_so_that_answers_do_not_change(tmp_path: Path) -> None:
    now = [1_790_000_000.0]
    signer = Signer("secret", lambda: now[0])
    first = signer.expiry(3600, 60)
    now[0] += 30
    second = signer.expiry(3600, 60)

    assert first >= 1_790_003_600
    assert second - first in (0, 60)
    assert first % 60 == 0


@pytest.mark.anyio
async def test_no_path_of_the_server_is_told_to_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "very-own-place"
    home.mkdir()
    told: list[str] = []
    async with hosted(home, provider={"save": True, "poster": True}) as server:

        async def ask(tool: str, **given: Any) -> None:
            result = await server.client.call_tool(tool, given)
            told.append(result.model_dump_json())

        view = await finished(server, home)
        task_id = view["task_id"]
        told.append(json.dumps(view))
        await ask("kling_get_task", task_id=task_id)
        await ask("kling_list_tasks")
        await ask("kling_wait_for_tasks", task_ids=[task_id])
        await ask("kling_save_video", task_id=task_id)
        await ask("kling_save_video", task_id=task_id, path="/etc/passwd")
        await ask("kling_save_video", task_id=task_id, path="clip.mp4")
        await ask("kling_image_to_video", image="/etc/passwd", prompt="x")
        await ask("kling_image_to_video", image="kling://uploads/x", prompt="x")
        uris = [
            "kling://tasks",
            f"kling://tasks/{task_id}",
            f"kling://tasks/{task_id}/video",
            f"kling://tasks/{task_id}/video/0-10",
            f"kling://tasks/{task_id}/frames/last",
            f"kling://tasks/{task_id}/frames/99",
            f"kling://tasks/{task_id}/contact-sheet",
        ]
        for place in ("there", "large", "gone"):
            if place == "large":
                monkeypatch.setattr("kling_mcp.protocol.resources.tasks.INLINE_BYTES", 100)
            if place == "gone":
                for path in (home / "videos").rglob("*.mp4"):
                    path.unlink()
                uris = uris[:4]
            for uri in uris:
                try:
                    told.append((await server.client.read_resource(uri)).model_dump_json())
                except Exception as error:
                    told.append(str(error))
        await ask("kling_get_task", task_id=task_id)
        (home / "videos").rename(home / "elsewhere")
        (home / "videos").write_text("a file where the folder should be")
        await ask("kling_save_video", task_id=task_id)

    assert len(told) > 20
    assert [text for text in told if "very-own-place" in text or str(tmp_path) in text] == []
    assert any("server's disk" in text for text in told)


@pytest.mark.parametrize("era", ERAS_WITH_CLIPS)
@pytest.mark.anyio
async def test_a_link_works_without_a_login_and_the_tool_only_with_ones_own(
    era: str, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    ann, bob = give_token(tokens, "ann"), give_token(tokens, "bob")
    with served_team(tmp_path, tokens=tokens) as team:
        async with team.client(ann, era) as client, httpx.AsyncClient() as http:
            server = Hosted(client, http, team.hosting)
            view = await finished(server, tmp_path)
            saved = await server.call("kling_save_video", task_id=view["task_id"])
            video = await http.get(saved["url"])
        async with team.client(bob, era) as client:
            others = await client.call_tool("kling_save_video", {"task_id": view["task_id"]})
        folders = {path.parent.parent.name for path in (tmp_path / "videos").glob("*/*/*.mp4")}

    assert video.content[4:8] == b"ftyp"
    assert others.is_error
    assert "url" not in said(others)
    assert len(folders) == 1
    assert "ann" not in folders.pop()
    assert saved["url"].startswith(team.base)
    assert PUBLIC not in saved["url"]


@pytest.mark.anyio
async def test_a_ledger_that_breaks_does_not_tell_where_it_lies(tmp_path: Path) -> None:
    home = tmp_path / "very-own-place"
    home.mkdir()
    told: list[str] = []
    async with hosted(home) as server:
        view = await finished(server, home)
        saved = await server.call("kling_save_video", task_id=view["task_id"])
        runtime = server.hosting.state.runtime
        assert runtime is not None
        await runtime.ledger.close()
        for file in (home / "home").glob("ledger.sqlite3*"):
            file.unlink()
        (home / "home" / "ledger.sqlite3").write_text("no database" * 1000)
        for tool, given in (
            ("kling_get_task", {"task_id": view["task_id"]}),
            ("kling_list_tasks", {}),
            ("kling_image_to_video", {"image": "https://a.example/b.png", "prompt": "x"}),
        ):
            answer = await server.client.call_tool(tool, given)
            assert answer.is_error
            told.append(answer.model_dump_json())
        for uri in ("kling://tasks", f"kling://tasks/{view['task_id']}"):
            with pytest.raises(MCPError) as raised:
                await server.client.read_resource(uri)
            told.append(str(raised.value) + json.dumps(raised.value.error.data))
        told.append((await server.http.get(saved["url"])).text)
        callback = await server.http.post("/callbacks/" + "A" * 32)

    assert any("cannot be used now" in text for text in told)
    assert [text for text in told if "very-own-place" in text] == []
    assert callback.status_code == 503


@pytest.mark.anyio
async def test_what_became_of_one_of_several_tasks_does_not_tell_where_the_ledger_lies(
    tmp_path: Path,
) -> None:
    """Such an answer is no error, and names one."""
    home = tmp_path / "very-own-place"
    home.mkdir()
    async with hosted(home) as server:
        ended = (await finished(server, home))["task_id"]
        wish = {"image": picture_data(home), "prompt": "Another"}
        runs = (await server.call("kling_image_to_video", **wish))["task_id"]
        with closing(sqlite3.connect(home / "home" / "ledger.sqlite3")) as db:
            db.execute(
                "CREATE TRIGGER full BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
            db.commit()
        waited = await server.call("kling_wait_for_tasks", task_ids=[ended, runs], timeout_s=1)

    assert waited["tasks"][1]["error"] == "not_configured"
    assert "very-own-place" not in json.dumps(waited)


@pytest.mark.parametrize("host", ["127.0.0.1", "inner.invalid"])
@pytest.mark.anyio
async def test_a_database_that_is_not_there_is_not_described_to_callers(
    host: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = {"database": f"postgresql://ledger-user:word@{host}:1/ledger-name"}
    told: list[str] = []
    async with hosted(tmp_path, provider=database) as server:
        for tool, given in (
            ("kling_get_task", {"task_id": "x"}),
            ("kling_list_tasks", {}),
            ("kling_image_to_video", {"image": "https://a.example/b.png", "prompt": "x"}),
        ):
            answer = await server.client.call_tool(tool, given)
            assert answer.is_error
            told.append(answer.model_dump_json())
        with pytest.raises(MCPError) as raised:
            await server.client.read_resource("kling://tasks")
        told.append(str(raised.value))

    assert all("cannot be used now" in text for text in told)
    assert not [word for word in (host, "ledger-user", "ledger-name") if word in " ".join(told)]
    assert f"ledger-name at {host}" in caplog.text


@pytest.mark.anyio
async def test_the_video_of_a_task_from_elsewhere_is_not_kept(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        view = await finished(server, tmp_path)
        for file in (tmp_path / "home").glob("ledger.sqlite3*"):
            file.rename(file.with_name(f"was-{file.name}"))
    async with hosted(tmp_path) as server:
        answer = await server.client.call_tool("kling_save_video", {"task_id": view["task_id"]})

    assert answer.is_error
    assert "This server did not make task" in said(answer)
    assert not (tmp_path / "videos").exists()
