"""The set-up of nginx that is shipped: what it passes on, and what it keeps to itself."""

from pathlib import Path

import httpx
from tests.nginx import behind_nginx
from tests.server.hosting.team import give_token, picture_data, served_team


def test_addresses_that_are_secrets_stand_in_no_log(tmp_path: Path) -> None:
    token = give_token(tmp_path / "tokens", "ann")
    with served_team(tmp_path, tokens=tmp_path / "tokens") as team:
        wish = {"image": picture_data(tmp_path), "prompt": "Slow zoom"}
        made = team.call(token, "kling_image_to_video", **wish)["structuredContent"]
        saved = team.call(token, "kling_save_video", task_id=made["task_id"])["structuredContent"]
        upload = team.call(token, "kling_upload_picture")["structuredContent"]
        port = int(team.base.rpartition(":")[2])
        with behind_nginx([port], tmp_path / "nginx") as url:
            link, page = (
                httpx.get(address.replace(team.base, url))
                for address in (saved["url"], upload["upload_url"])
            )
            called = httpx.post(f"{url}/callbacks/{'k' * 32}")
            asked = [
                httpx.get(f"{url}/{path}?signature=x").status_code
                for path in ("inputs/a.mp3", "authorize", "sign-in")
            ]
            alive = httpx.get(f"{url}/healthz")
            closed = httpx.get(f"{url}/metrics")
    log = (tmp_path / "nginx" / "access.log").read_text()

    assert (link.status_code, page.status_code, called.status_code) == (200, 200, 404)
    assert (alive.status_code, closed.status_code) == (200, 404)
    assert asked == [403, 400, 400]
    assert "/healthz" in log
    assert not [word for word in ("signature", "/videos/", "/uploads/", "kkkk") if word in log]
