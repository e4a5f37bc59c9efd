"""The provider table, and a user's own rows on top of it."""

import json
import os
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kling_mcp.providers.configured import SANDBOX_URL, Configured, configured_providers
from kling_mcp.providers.rows import PROVIDERS, SANDBOX, ProviderRow, read_providers
from kling_mcp.settings.settings import Settings, environment_name, load_settings
from kling_tools.errors import NotConfigured
from kling_tools.requests.requests import TextToVideoRequest
from kling_tools.rules.capabilities import ProviderTerms, built_in_capabilities

MINE = {"like": "newapi", "base_url": "https://mine.example"}
FIELDS_LOST = {"multi_shot", "shot_type", "multi_prompt", "element_list", "voice_list"}


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, and no setting from outside."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL")) or "KLING" in name:
            monkeypatch.delenv(name)


def row_file(folder: Path, rows: object, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(NotConfigured) as refused:
        read_providers(path)
    assert f"KLING_MCP_PROVIDERS names {path}" in refused.value.message
    assert "\n" not in refused.value.message
    return refused.value.message


def test_there_are_the_providers_of_the_contract() -> None:
    assert [*PROVIDERS] == ["kling", "cometapi", "anyfast", "powertokens", "newapi", SANDBOX]


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=PROVIDERS)
def test_every_row_says_where_and_when_it_was_found(row: ProviderRow) -> None:
    assert row.source
    assert date(2026, 1, 1) < date.fromisoformat(row.date)


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=PROVIDERS)
def test_every_default_model_makes_what_it_is_the_default_of(row: ProviderRow) -> None:
    table = built_in_capabilities().models

    for product, name in row.default_models.items():
        assert product in row.products
        assert product in table[name].products


def test_the_official_defaults_are_alive() -> None:
    table = built_in_capabilities().models

    for name in PROVIDERS["kling"].default_models.values():
        assert not table[name].retired


@pytest.mark.parametrize(
    ("name", "prefix", "products", "first_shape", "external_ids", "lists"),
    [
        (
            "kling",
            "/v1/videos",
            {
                *("image2video", "omni-video", "multi-image2video", "text2video"),
                *(
                    "omni-image",
                    "image-generation",
                    "omni-edit",
                    "motion-control",
                    "avatar",
                    "lip-sync",
                ),
            },
            "envelope",
            "unique",
            True,
        ),
        (
            "cometapi",
            "/kling/v1/videos",
            {"image2video", "multi-image2video", "text2video"},
            "envelope",
            "unknown",
            False,
        ),
        (
            "anyfast",
            "/kling/v1/videos",
            {"image2video", "multi-image2video", "text2video"},
            "wrapper",
            "none",
            False,
        ),
        ("powertokens", "/kling/v1/videos", {"image2video"}, "envelope", "none", False),
        ("newapi", "/kling/v1/videos", {"image2video", "text2video"}, "wrapper", "none", False),
    ],
)
def test_each_row_says_what_the_contract_says(
    name: str, prefix: str, products: set[str], first_shape: str, external_ids: str, lists: bool
) -> None:
    row = PROVIDERS[name]

    assert (row.prefix, set(row.products), row.shapes[0]) == (prefix, products, first_shape)
    assert (row.external_ids, row.lists) == (external_ids, lists)


def test_what_is_lost_and_what_is_documented_more_narrowly_stands_in_the_rows() -> None:
    assert set(PROVIDERS["newapi"].loses["image2video"]) == FIELDS_LOST
    of_words = TextToVideoRequest.model_fields.keys() & FIELDS_LOST
    assert set(PROVIDERS["newapi"].loses["text2video"]) == of_words
    assert PROVIDERS["cometapi"].documented_lengths == {"prompt": 500, "negative_prompt": 200}
    assert PROVIDERS["cometapi"].least_images == 2
    assert set(PROVIDERS["anyfast"].loses["multi-image2video"]) == {
        "cfg_scale",
        "static_mask",
        "dynamic_masks",
    }
    assert not PROVIDERS["powertokens"].loses
    for name in ("anyfast", "powertokens"):
        assert not PROVIDERS[name].documented_lengths


def test_the_sandbox_is_like_kling_and_asked_more_often() -> None:
    kling, sandbox = PROVIDERS["kling"], PROVIDERS[SANDBOX]
    own = {"name", "base_url", "poll_s", "source", "date"}

    assert sandbox.poll_s < kling.poll_s
    assert sandbox.model_dump(exclude=own) == kling.model_dump(exclude=own)


def test_the_rules_get_their_part_of_a_row_whole() -> None:
    terms = PROVIDERS["cometapi"].terms

    learned = {"retired"}  # at run time, by the provider's refusals

    for part in fields(ProviderTerms):
        if part.name in learned:
            continue
        assert getattr(terms, part.name) == getattr(PROVIDERS["cometapi"], part.name)


def test_without_a_file_the_table_is_the_built_in_one() -> None:
    assert read_providers(None) is PROVIDERS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", json.dumps({"mine": MINE})),
        ("rows.toml", '[mine]\nlike = "newapi"\nbase_url = "https://mine.example"\n'),
        ("ROWS.TOML", '[mine]\nlike = "newapi"\nbase_url = "https://mine.example"\n'),
        ("rows.conf", json.dumps({"mine": MINE})),
        ("notepad.json", "\ufeff" + json.dumps({"mine": MINE})),
    ],
)
def test_a_gateway_of_the_same_family_is_a_row_in_a_file(
    name: str, text: str, tmp_path: Path
) -> None:
    rows = read_providers(row_file(tmp_path, text, name))
    differs = {"name", "base_url"}

    assert [*rows] == [*PROVIDERS, "mine"]
    assert (rows["mine"].name, rows["mine"].base_url) == ("mine", "https://mine.example")
    assert rows["mine"].model_dump(exclude=differs) == rows["newapi"].model_dump(exclude=differs)
    assert rows["mine"].family == "newapi"
    assert (rows["mine"].key_setting, rows["mine"].base_url_setting) == (
        "MINE_API_KEY",
        "MINE_BASE_URL",
    )
    assert {n: row for n, row in rows.items() if n != "mine"} == PROVIDERS


def test_a_file_may_change_a_field_of_a_row_and_the_rest_stays(tmp_path: Path) -> None:
    rows = read_providers(row_file(tmp_path, {"cometapi": {"least_images": 1}}))

    assert rows["cometapi"].least_images == 1
    assert rows["cometapi"].documented_lengths == PROVIDERS["cometapi"].documented_lengths
    assert PROVIDERS["cometapi"].least_images == 2


def test_a_file_may_change_one_default_model_and_the_others_stay(tmp_path: Path) -> None:
    own = {"default_models": {"image2video": "kling-v3"}}
    rows = read_providers(row_file(tmp_path, {"kling": own, "mine": {"like": "anyfast", **own}}))

    assert rows["kling"].default_models == PROVIDERS["kling"].default_models | own["default_models"]
    assert rows["mine"].default_models == {
        "image2video": "kling-v3",
        "multi-image2video": "kling-v1-6",
        "text2video": "kling-v3",
    }


def test_a_default_model_of_a_product_that_a_provider_does_not_make_is_left_out(
    tmp_path: Path,
) -> None:
    mine = {"like": "kling", "base_url": "https://mine.example", "products": ["image2video"]}

    row = read_providers(row_file(tmp_path, {"mine": mine}))["mine"]

    assert row.default_models == {"image2video": "kling-v2-5-turbo"}


def test_a_row_may_be_like_one_that_is_like_another(tmp_path: Path) -> None:
    file = row_file(tmp_path, {"second": {"like": "mine", "base_url": "https://b"}, "mine": MINE})

    second = read_providers(file)["second"]

    assert (second.base_url, second.family) == ("https://b", "newapi")
    assert second.products == PROVIDERS["newapi"].products


def test_a_row_may_stand_alone(tmp_path: Path) -> None:
    own = {
        "base_url": "https://mine.example",
        "prefix": "",
        "products": ["omni-video"],
        "default_models": {"omni-video": "kling-v3-omni"},
        "shapes": ["openai"],
    }

    row = read_providers(row_file(tmp_path, {"mine": own}))["mine"]

    assert (row.prefix, row.shapes, row.family) == ("", ("openai",), "mine")
    assert (row.lists, row.external_ids) == (False, "none")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"like": "nowhere"}, "mine is like nowhere, which does not exist"),
        ({"like": ["newapi"]}, "which does not exist"),
        ({"like": "mine"}, "mine is like itself"),
        ({"like": "newapi", "base": "x"}, "mine.base: Extra inputs are not permitted"),
        ({"like": "newapi", "shapes": []}, "mine.shapes"),
        ({"like": "newapi", "shapes": ["xml"]}, "mine.shapes.0"),
        ({"like": "newapi", "products": ["text2image"]}, "mine.products.0"),
        ({"like": "newapi", "prefix": "kling/v1"}, "mine.prefix"),
        ({"like": "newapi", "prefix": "/kling/"}, "mine.prefix"),
        ({"like": "newapi", "external_ids": "maybe"}, "mine.external_ids"),
        ({"like": "newapi", "poll_s": 0}, "mine.poll_s"),
        ({"like": "newapi", "documented_lengths": {"cfg_scale": 1}}, "mine.documented_lengths"),
        ({"like": "newapi", "products": ["omni-video"]}, "names no model for omni-video"),
        ({"base_url": "https://mine.example"}, "mine.products: Field required"),
        ("https://mine.example", "mine is not a table of fields"),
        (None, "mine is not a table of fields"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_file(
    row: object, words: str, tmp_path: Path
) -> None:
    assert words in refusal(row_file(tmp_path, {"fine": MINE, "mine": row}))


def test_rows_that_are_like_each_other_are_told(tmp_path: Path) -> None:
    file = row_file(tmp_path, {"a": {"like": "b"}, "b": {"like": "a"}})

    assert "like itself" in refusal(file)


@pytest.mark.parametrize("name", ["Mine", "my-gateway", "9lives", "", "x" * 33, "a b"])
def test_a_name_that_no_variable_could_have_is_refused(name: str, tmp_path: Path) -> None:
    assert f"{name}.name: " in refusal(row_file(tmp_path, {name: MINE}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", "{"),
        ("rows.json", "[]"),
        ("rows.json", '"mine"'),
        ("rows.json", ""),
        ("rows.json", "[" * 100_000),
        ("rows.toml", "= 1"),
        ("rows.toml", '{"mine": {}}'),
    ],
)
def test_a_file_that_holds_no_rows_is_named(name: str, text: str, tmp_path: Path) -> None:
    refusal(row_file(tmp_path, text, name))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    refusal(tmp_path / "nowhere.json")
    refusal(tmp_path)
    (tmp_path / "photo.json").write_bytes(b"\xff\xd8\xff\xe0")
    refusal(tmp_path / "photo.json")


def settings_with(file: Path, **options: Any) -> Settings:
    return load_settings(providers=file, **options)


def only(settings: Settings) -> Configured:
    (found,) = configured_providers(settings).values()
    return found


@pytest.mark.parametrize("place", ["environment", "file"])
def test_the_key_and_the_base_url_of_an_own_row_come_from_their_variables(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = row_file(tmp_path, {"mine": MINE})
    given = {"MINE_API_KEY": " sk-mine ", "MINE_BASE_URL": "https://other.example/"}
    for name, value in given.items():
        if place == "environment":
            monkeypatch.setenv(name, value)
    if place == "file":
        lines = "".join(f"{name}={value}\n" for name, value in given.items())
        (tmp_path / "mine.env").write_text(f"\ufeff{lines}", encoding="utf-8")
        monkeypatch.setenv("KLING_MCP_ENV_FILE", str(tmp_path / "mine.env"))

    mine = only(settings_with(file))

    assert (mine.name, mine.base_url, mine.embedded) == ("mine", "https://other.example", False)
    assert mine.credentials.token() == "sk-mine"


def test_without_its_key_an_own_row_is_off(tmp_path: Path) -> None:
    settings = settings_with(row_file(tmp_path, {"mine": MINE}))

    assert [*configured_providers(settings)] == [SANDBOX]


def test_an_own_row_may_be_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_API_KEY", "sk-mine")
    monkeypatch.setenv("KLING_API_KEY", "k")
    file = row_file(tmp_path, {"mine": MINE})

    assert [*configured_providers(settings_with(file))] == ["kling", "mine"]
    assert [*configured_providers(settings_with(file, provider="mine"))] == ["mine", "kling"]


@pytest.mark.parametrize("key", ["two words", "schlüssel", "abc\u2026"])
def test_an_own_key_that_cannot_be_sent_is_refused_without_being_shown(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_API_KEY", key)

    with pytest.raises(NotConfigured) as refused:
        configured_providers(settings_with(row_file(tmp_path, {"mine": MINE})))

    assert "MINE_API_KEY: must be the bare key" in refused.value.message
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("like", "base_url"),
    [
        ("newapi", f"{SANDBOX_URL}/newapi"),
        ("anyfast", f"{SANDBOX_URL}/anyfast"),
        ("kling", SANDBOX_URL),
    ],
)
def test_an_own_row_is_played_by_the_sandbox_as_what_it_is_like(
    like: str, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_BASE_URL", "sandbox")

    mine = only(settings_with(row_file(tmp_path, {"mine": {"like": like}})))

    assert (mine.name, mine.base_url, mine.embedded) == ("mine", base_url, True)


def test_a_row_like_none_is_not_played_by_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_BASE_URL", "sandbox")
    alone = {"products": ["image2video"], "default_models": {"image2video": "kling-v3"}}

    with pytest.raises(NotConfigured) as refused:
        configured_providers(settings_with(row_file(tmp_path, {"mine": alone})))

    assert "MINE_BASE_URL is sandbox, which does not know mine" in refused.value.message


def test_the_variables_of_built_in_rows_are_settings() -> None:
    settings = {environment_name(name) for name in Settings.model_fields}

    for name, row in PROVIDERS.items():
        if name != SANDBOX:
            assert {row.key_setting, row.base_url_setting} <= settings
