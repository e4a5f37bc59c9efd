"""A request judged for its provider: what would be lost there, and who would not lose it."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from kling_mcp.principal import LOCAL
from kling_mcp.providers.configured import configured_providers
from kling_mcp.providers.pool import Clients
from kling_mcp.settings.settings import load_settings
from kling_mcp.submission.judged_request import JudgedRequest, judge_request
from kling_tools.faults import Fault
from kling_tools.requests.arguments import ImageToVideoArguments, MultiImageToVideoArguments
from kling_tools.requests.drafts import read_draft
from kling_tools.rules.capabilities import built_in_capabilities

ALL = ("kling", "cometapi", "anyfast", "powertokens", "newapi")
PICTURE = "https://example.com/a.png"
IMAGE: Mapping[str, Any] = {"image": PICTURE, "prompt": "slow zoom"}
SEVERAL: Mapping[str, Any] = {"image_list": [PICTURE, PICTURE], "prompt": "they dance"}
SHOTS: Mapping[str, Any] = {
    **IMAGE,
    "model_name": "kling-v3",
    "multi_shot": True,
    "shot_type": "intelligence",
}


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, and no setting from outside."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL")) or "KLING" in name:
            monkeypatch.delenv(name)


def judged(names: tuple[str, ...], **arguments: Any) -> JudgedRequest:
    """The request judged where these providers are on, the first one first."""
    options = {f"{name}_base_url": "sandbox" for name in names}
    settings = load_settings(provider=names[0], **options)
    clients = Clients(configured_providers(settings), settings, AsyncExitStack())
    kind = MultiImageToVideoArguments if "image_list" in arguments else ImageToVideoArguments
    return judge_request(read_draft(kind, arguments), clients, built_in_capabilities(), LOCAL)


def faults(case: JudgedRequest) -> dict[tuple[str, str], str]:
    return {(fault.field, fault.rule): fault.use for fault in case.review.verdict.faults}


def warning(case: JudgedRequest, rule: str) -> Fault:
    (found,) = (w for w in case.review.verdict.warnings if w.rule == rule)
    return found


def test_the_first_provider_is_asked_when_none_is_named() -> None:
    assert judged(("newapi", "kling"), **IMAGE).provider.name == "newapi"
    assert judged(("newapi", "kling"), **IMAGE, provider="Kling").provider.name == "kling"


def test_a_provider_that_is_not_on_is_refused_with_those_that_are() -> None:
    case = judged(("newapi", "kling"), **IMAGE, provider="cometapi")

    assert faults(case) == {("provider", "provider_unknown"): "newapi or kling or auto"}


@pytest.mark.parametrize("name", ALL)
def test_a_plain_picture_can_be_made_by_every_provider(name: str) -> None:
    case = judged((name,), **IMAGE)

    assert faults(case) == {}
    assert case.review.model_name == "kling-v2-5-turbo"


@pytest.mark.parametrize(
    ("names", "use"),
    [
        (("newapi",), "a request without multi_shot"),
        (("newapi", "kling"), 'provider "kling" or a request without multi_shot'),
        (
            ("newapi", "kling", "powertokens"),
            'provider "kling" or provider "powertokens" or a request without multi_shot',
        ),
    ],
)
def test_a_field_that_would_be_lost_is_refused_with_who_keeps_it(
    names: tuple[str, ...], use: str
) -> None:
    found = faults(judged(names, **SHOTS))

    assert found["multi_shot", "lost_at_provider"] == use
    assert {rule for _, rule in found} == {"lost_at_provider"}


def test_several_pictures_where_there_is_no_route_are_refused_with_who_has_one() -> None:
    case = judged(("powertokens", "newapi", "kling", "cometapi"), **SEVERAL)

    assert faults(case) == {
        ("provider", "product_of_provider"): 'provider "kling" or provider "cometapi"'
    }


def test_a_provider_that_could_not_take_the_request_either_is_not_named() -> None:
    one = {**SEVERAL, "image_list": [PICTURE]}

    found = faults(judged(("cometapi", "powertokens", "kling"), **one))

    assert found["image_list", "least_images"] == 'provider "kling" or 2 pictures or more'


def test_a_model_that_another_provider_routes_is_refused_with_its_name() -> None:
    found = faults(judged(("cometapi", "kling"), **SEVERAL, model_name="kling-v3-omni"))

    assert found["model_name", "model_of_product"].startswith('provider "kling" or ')


def test_a_model_that_no_provider_has_names_none() -> None:
    found = faults(judged(("cometapi", "kling"), **SEVERAL, model_name="kling-v2-6"))

    assert "provider" not in found["model_name", "model_of_product"]


@pytest.mark.parametrize(
    ("field", "length", "warned"),
    [
        ("prompt", 500, False),
        ("prompt", 501, True),
        ("negative_prompt", 200, False),
        ("negative_prompt", 201, True),
    ],
)
def test_a_text_longer_than_a_provider_documents_is_warned_about(
    field: str, length: int, warned: bool
) -> None:
    case = judged(("cometapi", "anyfast"), **{**IMAGE, field: "x" * length})

    assert faults(case) == {}
    rules = {w.rule for w in case.review.verdict.warnings}
    assert ("documented_length" in rules) is warned
    if warned:
        told = warning(case, "documented_length")
        assert (told.field, told.use) == (field, 'provider "anyfast"')
        assert str(length - 1) in str(told)
        assert str(told).endswith('Use provider "anyfast".')


def test_a_fault_of_the_request_itself_names_no_provider() -> None:
    found = faults(judged(ALL, image=PICTURE, prompt="x" * 2501, duration=4))

    assert found
    assert not any("provider" in use for use in found.values())


def test_the_same_wish_at_two_base_urls_has_one_digest_and_two_rows() -> None:
    here = judged(("newapi",), **IMAGE).new_row
    there = judged(("kling",), **IMAGE).new_row

    assert here.digest == there.digest
    assert (here.provider, here.base_url) != (there.provider, there.base_url)
