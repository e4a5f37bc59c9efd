"""Videos and uploads in a bucket, at an S3 that moto plays on loopback."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.made_clips import make_clip
from tests.server.hosting.public_server import facts, hosted, said
from tests.server.serving import SIDE_PX, picture

from kling_mcp.hosting import team_storage
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.hosting.uploads import MOST
from kling_mcp.inputs.held import HeldFile
from kling_tools.errors import NotConfigured

STORAGE = "s3://clips/team/one"
FRAMES = {"sandbox_side_px": SIDE_PX}
KEY = "a secret that all the replicas share, 32"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the bucket, which is empty."""
    httpx.post(f"{moto}/moto-api/reset", verify=False)
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret-of-someone",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="clips")
    return client


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="clips").get("Contents", ())]


async def finished(server: Any, folder: Path, prompt: str = "wind") -> str:
    address = await server.call("kling_upload_picture")
    data = Path(picture(folder)).read_bytes()
    sent = await server.http.put(address["upload_url"], content=data)
    assert sent.status_code == 201, sent.text
    again = await server.http.put(address["upload_url"], content=data)
    assert again.status_code == 409
    receipt = await server.call("kling_image_to_video", image=address["image"], prompt=prompt)
    await server.call("kling_wait_for_tasks", task_ids=[receipt["task_id"]])
    return str(receipt["task_id"])


@pytest.mark.anyio
async def test_a_video_goes_to_the_bucket_and_is_handed_out_from_there(
    s3: Any, tmp_path: Path
) -> None:
    async with hosted(tmp_path, storage=STORAGE) as server:
        task_id = await finished(server, tmp_path)
        saved = await server.call("kling_save_video", task_id=task_id)
        row = await server.row(task_id)
        link = await server.http.get(saved["url"])
        head = await server.http.head(saved["url"])
        async with httpx.AsyncClient() as http:
            whole = await http.get(link.headers["location"])
            part = await http.get(link.headers["location"], headers={"Range": "bytes=4-7"})
            headed = await http.head(head.headers["location"])

    (key,) = [key for key in keys(s3) if key.endswith(".mp4")]
    kept = s3.head_object(Bucket="clips", Key=key)
    assert row.path == f"s3://clips/{key}"
    assert key.startswith("team/one/videos/local/20")
    assert key.endswith(f"/{row.id}.mp4")
    assert kept["ContentType"] == "video/mp4"
    assert kept["ContentLength"] == saved["bytes"]
    assert kept["Metadata"]["sha256"] == saved["sha256"]
    assert link.status_code == 307
    assert link.headers["cache-control"] == "no-store"
    assert whole.status_code == 200
    assert len(whole.content) == saved["bytes"]
    assert whole.headers["content-disposition"].startswith("inline")
    assert part.content == b"ftyp"
    assert headed.status_code == 200
    assert "s3://" not in str(saved)


@pytest.mark.anyio
async def test_a_video_for_kling_is_handed_out_by_the_bucket_until_it_is_gone(
    s3: Any, tmp_path: Path
) -> None:
    film = make_clip(tmp_path / "dance.mp4", frames=4)
    async with hosted(tmp_path, storage=STORAGE) as server:
        assert server.hosting.public is not None
        uploads = server.hosting.public.uploads
        with film.open("rb") as file:
            url = await uploads.give_address("", HeldFile(file, "dance.mp4"))
            file.seek(0)
            link, head = await server.http.get(url), await server.http.head(url)
            async with httpx.AsyncClient() as http:
                whole = await http.get(link.headers["location"])
                headed = await http.head(head.headers["location"])
            (key,) = [key for key in keys(s3) if key.endswith(".mp4")]
            s3.delete_object(Bucket="clips", Key=key)
            gone = await server.http.get(url)
        for number in range(MOST):
            s3.put_object(Bucket="clips", Key=f"team/one/uploads/local/{number}", Body=b"")
        address = await server.call("kling_upload_picture")
        full = await server.http.put(
            address["upload_url"], content=Path(picture(tmp_path)).read_bytes()
        )

    assert key.startswith("team/one/uploads/local/")
    assert (link.status_code, head.status_code) == (307, 307)
    assert link.headers["cache-control"] == "no-store"
    assert whole.content == film.read_bytes()
    assert whole.headers["content-type"] == "video/mp4"
    assert headed.headers["content-length"] == str(len(whole.content))
    assert gone.status_code == 404
    assert full.status_code == 429


@pytest.mark.anyio
async def test_another_replica_reads_the_video_from_the_bucket(s3: Any, tmp_path: Path) -> None:
    async with hosted(tmp_path, provider=FRAMES, storage=STORAGE) as server:
        task_id = await finished(server, tmp_path)
        saved = await server.call("kling_save_video", task_id=task_id)
        first = await server.client.read_resource(f"kling://tasks/{task_id}/frames/last")
    shutil.rmtree(tmp_path / "home" / "cache")
    async with hosted(tmp_path, provider=FRAMES, storage=STORAGE) as server:
        frame = await server.client.read_resource(f"kling://tasks/{task_id}/frames/last")
        sheet = await server.client.read_resource(f"kling://tasks/{task_id}/contact-sheet")
        look = await server.client.call_tool("kling_look", {"task_id": task_id})
        video = await server.client.read_resource(f"kling://tasks/{task_id}/video")
        part = await server.client.read_resource(f"kling://tasks/{task_id}/video/4-7")
        image = f"kling://tasks/{task_id}/frames/last"
        more = await server.call("kling_image_to_video", image=image, prompt="rain")
        view = await server.call("kling_get_task", task_id=task_id)

    assert frame == first
    assert sheet.contents
    assert facts(look)["findings"] == []
    assert [part.type for part in look.content] == ["text", "image"]
    assert "s3://" not in str(facts(look))
    assert len(video.contents[0].blob) > saved["bytes"]  # type: ignore[union-attr]
    assert part.contents[0].blob == "ZnR5cA=="  # type: ignore[union-attr]
    assert more["task_id"] != task_id
    assert "/videos/" in view["url"]


@pytest.mark.anyio
async def test_a_video_that_left_the_bucket_is_saved_anew(s3: Any, tmp_path: Path) -> None:
    async with hosted(tmp_path, storage=STORAGE) as server:
        task_id = await finished(server, tmp_path)
        saved = await server.call("kling_save_video", task_id=task_id)
        for key in keys(s3):
            s3.delete_object(Bucket="clips", Key=key)
        shutil.rmtree(tmp_path / "home" / "cache")
        gone = await server.client.read_resource(f"kling://tasks/{task_id}/frames/first")
        again = await server.call("kling_save_video", task_id=task_id)

    assert gone.contents
    assert again["sha256"] == saved["sha256"]
    assert [key for key in keys(s3) if key.endswith(".mp4")]


@pytest.mark.anyio
async def test_a_bucket_that_does_not_work_is_told_of_without_its_secrets(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosted(tmp_path, storage="s3://no-such-bucket") as server:
        address = await server.call("kling_upload_picture")
        data = Path(picture(tmp_path)).read_bytes()
        upload = await server.http.put(address["upload_url"], content=data)
        image = "https://pictures.example/photo.png"
        made = await server.call("kling_image_to_video", image=image, prompt="wind")
        answer = await server.client.call_tool("kling_save_video", {"task_id": made["task_id"]})
        view = await server.call("kling_get_task", task_id=made["task_id"])

    assert upload.status_code == 503
    assert answer.is_error
    assert "NoSuchBucket" in said(answer)
    assert "secret-of-someone" not in said(answer)
    assert "no-such-bucket" not in said(answer)
    assert str(tmp_path) not in said(answer)
    assert "url" not in view


@pytest.mark.anyio
async def test_old_uploads_leave_the_bucket(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_mcp.hosting.uploads.KEPT_S", -60)
    monkeypatch.setattr("kling_mcp.hosting.uploads.SWEEP_S", 0)
    async with hosted(tmp_path, storage=STORAGE) as server:
        address = await server.call("kling_upload_picture")
        data = Path(picture(tmp_path)).read_bytes()
        sent = await server.http.put(address["upload_url"], content=data)
        there = keys(s3)
        wish = {"image": address["image"], "prompt": "wind"}
        late = await server.client.call_tool("kling_image_to_video", wish)
        await server.call("kling_upload_picture")

    assert sent.status_code == 201
    assert len(there) == 1
    assert "upload does not exist" in said(late)
    assert keys(s3) == []


@pytest.mark.anyio
async def test_the_cache_holds_only_what_was_used_last(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_storage, "CACHE_BYTES", 1)
    async with hosted(tmp_path, storage=STORAGE) as server:
        ids = [await finished(server, tmp_path, prompt) for prompt in ("wind", "rain")]
        for task_id in (*ids, ids[0]):
            await server.call("kling_save_video", task_id=task_id)
        cached = list((tmp_path / "home" / "cache").glob("*/*.mp4"))
        row = await server.row(ids[0])

    assert [path.parent.name for path in cached] == [row.id]


def test_a_storage_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(NotConfigured, match="s3://bucket"):
        load_host_settings(storage="https://bucket.example")
