"""Logins of a small team: tokens that the server gave out itself, kept as hashes in a file."""

import os
import string
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.hosting.team import ERAS, Team, give_token, picture_data, post, served_team
from tests.server.serving import sandbox_settings

from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.hosting.tokens import Token, TokenFile, new_token
from kling_mcp.principal import METRICS, READ, SPEND
from kling_tools.errors import NotConfigured

SCOPES = (READ, SPEND, METRICS)
DIGEST = "0" * 64


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    give_token(folder / "tokens", "first")
    with served_team(folder, tokens=folder / "tokens", rate_per_minute=0) as team:
        yield team


def token_of(team: Team, name: str, *scopes: str, expires: date | None = None) -> str:
    return give_token(team.folder / "tokens", name, *scopes, expires=expires)


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_whoever_has_a_token_makes_videos_under_their_name(era: str, team: Team) -> None:
    wish = {"image": picture_data(team.folder), "prompt": f"Slow zoom, {era}"}
    async with team.client(token_of(team, f"ann-{era}"), era) as client:
        made = await client.call_tool("kling_image_to_video", wish)
        listed = await client.call_tool("kling_list_tasks", {})
    async with team.client(token_of(team, f"bob-{era}"), era) as client:
        others = await client.call_tool("kling_list_tasks", {})

    assert made.structured_content is not None
    assert listed.structured_content is not None
    assert others.structured_content is not None
    ids = [task["task_id"] for task in listed.structured_content["tasks"]]
    assert ids == [made.structured_content["task_id"]]
    assert others.structured_content["tasks"] == []


@pytest.fixture(scope="module")
def team_without_sign_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    give_token(folder / "tokens", "first")
    with served_team(folder, tokens=folder / "tokens", sign_in=False) as team:
        yield team


def test_without_a_token_there_is_nothing_but_the_word_that_one_is_needed(
    team_without_sign_in: Team,
) -> None:
    answer = post(team_without_sign_in.url, None, "tools/list")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert "resource_metadata" not in answer.headers["www-authenticate"]
    assert "kling_image" not in answer.text


def test_a_team_without_a_login_service_publishes_none(team_without_sign_in: Team) -> None:
    page = httpx.get(f"{team_without_sign_in.base}/.well-known/oauth-protected-resource/mcp")

    assert page.status_code == 404


@pytest.mark.parametrize(
    "header",
    ["Bearer kmcp_" + "x" * 43, "Bearer x", "Bearer", "Basic YW5uOmFubg==", "Bearer kmcp_\xff"],
)
def test_what_was_not_given_out_here_is_refused(header: str, team: Team) -> None:
    headers = {b"authorization": header.encode("latin-1")}

    assert httpx.post(team.url, json={}, headers=headers, verify=False).status_code == 401


def test_the_hash_of_a_token_is_no_token(team: Team) -> None:
    token = token_of(team, "hashed")
    line = next(t for t in TokenFile(team.folder / "tokens").all() if t.name == "hashed")

    assert team.status(token) == 200
    assert team.status(line.sha256) == 401
    assert team.status(f"kmcp_{line.sha256}") == 401
    assert token.removeprefix("kmcp_") not in (team.folder / "tokens").read_text()


def test_a_token_for_something_else_may_not_even_look(team: Team) -> None:
    answer = post(team.url, token_of(team, "monitor", METRICS), "tools/list")

    assert answer.status_code == 403
    assert "insufficient_scope" in answer.headers["www-authenticate"]


def test_who_may_only_look_sees_the_price_and_cannot_pay_it(team: Team) -> None:
    reader = token_of(team, "reader", READ)
    wish = {"image": picture_data(team.folder), "prompt": "Not for me"}

    refused = team.call(reader, "kling_image_to_video", **wish)
    tried = team.call(reader, "kling_image_to_video", **wish, dry_run=True)
    listed = team.call(reader, "kling_list_tasks")

    assert refused["isError"] is True
    assert refused["structuredContent"]["error"] == "not_allowed"
    assert SPEND in refused["content"][0]["text"]
    assert not tried.get("isError")
    assert "nothing sent" in tried["content"][0]["text"]
    assert listed["structuredContent"]["tasks"] == []


def test_a_token_is_good_through_its_last_day(team: Team) -> None:
    today = date.today()

    assert team.status(token_of(team, "today", expires=today)) == 200
    assert team.status(token_of(team, "late", expires=today - timedelta(days=1))) == 401


def test_a_token_that_is_taken_back_is_refused_at_once(team: Team) -> None:
    token = token_of(team, "leaver")
    before = team.status(token)
    file = TokenFile(team.folder / "tokens")
    file.write([line for line in file.all() if line.name != "leaver"])

    assert before == 200
    assert team.status(token) == 401


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# Ours\nbob and no more\n", "line 2 has no SHA-256 after the name"),
        ("", "it is empty"),
        (None, "No such file or directory"),
    ],
)
def test_nobody_comes_in_while_the_file_cannot_be_read_and_the_log_says_why(
    text: str | None, why: str, team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    token = token_of(team, "ann")
    path = team.folder / "tokens"
    good = path.read_text()
    path.unlink()
    if text is not None:
        path.write_text(text)
    broken = team.status(token)
    path.write_text(good)

    assert broken == 503
    assert why in caplog.text
    assert team.status(token) == 200


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ann", "line 2 has no SHA-256 after the name"),
        (f"ann {DIGEST[1:]}", "line 2 has no SHA-256 after the name"),
        (f"ann {DIGEST[1:]}g {READ}", "line 2 has no SHA-256 after the name"),
        (f"ann {DIGEST} {READ} expires=soon", "line 2 has no date after expires="),
        (f"ann {DIGEST} {READ} expires=", "line 2 has no date after expires="),
        (f"ann {DIGEST} {READ} expire=2020-01-01", "line 2 has an unknown scope"),
        (f"ann {DIGEST} kling:raed", "line 2 has an unknown scope"),
        (f"ann {DIGEST} expires=2020-01-01 expires=2030-01-01", "line 2 has two dates"),
    ],
)
def test_a_line_that_means_nothing_is_named_by_its_number(
    line: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(f"# Ours\n{line}\n")

    with pytest.raises(NotConfigured, match=why) as told:
        TokenFile(tmp_path / "tokens").all()

    assert DIGEST not in str(told.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_lets_nobody_in(mode: int, tmp_path: Path) -> None:
    give_token(tmp_path / "tokens", "ann")
    (tmp_path / "tokens").chmod(mode)

    with pytest.raises(NotConfigured, match="other users may write to it"):
        TokenFile(tmp_path / "tokens").all()


def test_bytes_that_are_no_text_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"ann \xff\n")

    with pytest.raises(NotConfigured, match="is no text"):
        TokenFile(tmp_path / "tokens").all()


@pytest.mark.parametrize("text", [None, "", "# Nobody yet\n\n"])
def test_a_server_that_nobody_could_log_in_to_does_not_start(
    text: str | None, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "tokens").write_text(text)
    host = load_host_settings(tokens=tmp_path / "tokens", public_url="https://team.example")

    with pytest.raises(NotConfigured, match="Nobody can log in"):
        Hosting.create(sandbox_settings(tmp_path), host)


def test_a_file_that_an_editor_marked_as_unicode_is_read(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"ann {DIGEST.upper()} {READ}\n", encoding="utf-8-sig")

    assert TokenFile(tmp_path / "tokens").all() == [Token("ann", DIGEST, (READ,))]


def test_a_file_that_is_exchanged_for_one_of_the_same_size_and_time_is_read_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens"
    old = give_token(path, "ann")
    file = TokenFile(path)
    found = file.of(old)
    times = path.stat()
    text, line = new_token("bob", (READ, SPEND))
    file.write([line])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert found is not None
    assert path.stat().st_size == times.st_size
    assert file.of(old) is None
    assert file.of(text) == line


NAMES = st.text(
    st.characters(exclude_categories=["Z", "C"], exclude_characters="#"), min_size=1, max_size=20
)
TOKENS = st.lists(
    st.builds(
        Token,
        NAMES,
        st.text("0123456789abcdef", min_size=64, max_size=64),
        st.lists(st.sampled_from(SCOPES), max_size=3).map(tuple),
        st.none() | st.dates(),
    ),
    max_size=5,
)


@given(tokens=TOKENS)
def test_what_was_written_is_read_again(
    tokens: list[Token], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written-tokens"
    TokenFile(path).write(tokens)

    assert TokenFile(path).all() == tokens
    assert path.stat().st_mode & 0o777 == 0o600


WORDS = st.sampled_from(
    [*SCOPES, DIGEST, "ann", "#", "expires=", "expires=2030-01-01", "expires=x", "kling:", "\ufeff"]
)
LINES = st.lists(WORDS | st.text(string.printable, max_size=8), max_size=6).map(" ".join)


@given(text=st.lists(LINES, max_size=6).map("\n".join) | st.text())
def test_any_text_is_either_refused_in_words_or_read_as_whole_lines(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-tokens"
    path.write_bytes(text.encode("utf-8", "replace"))
    found: list[Token] = []
    with suppress(NotConfigured):
        found = TokenFile(path).all()

    assert len(found) <= len(text.splitlines())
    for token in found:
        assert len(token.sha256) == 64
        assert set(token.scopes) <= set(SCOPES)
        again = TokenFile(path)
        again.write([token])
        assert TokenFile(path).all() == [token]
