"""Models on Kling's two standards: which one carries a request, and what it has no place for."""

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.tools.judging import IMAGE, KLING, PICTURE, SEVERAL, drafted, faults, judge, warnings

from kling_mcp.providers.wires import KINDS
from kling_tools.rules.capabilities import Capabilities, ProviderTerms, built_in_capabilities
from kling_tools.rules.variants import find_variant

TABLE = built_in_capabilities()
BOTH = replace(KLING, wires=("legacy", "new"), official=True)
OFFICIAL = replace(KLING, official=True)
NEW = replace(BOTH, wires=("new",))
TURBO = IMAGE | {"model_name": "kling-v3-turbo"}
SHOTS = [{"prompt": "he waves", "duration": 2}, {"prompt": "she nods", "duration": 3}]
STORY = {"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS, "prompt": ""}
LIVING_ON_BOTH = {
    "kling-v2-5-turbo": "kling-2.5-turbo",
    "kling-v2-6": "kling-2.6",
    "kling-v3": "kling-3.0",
    "kling-v3-omni": "kling-3.0-omni",
    "kling-video-o1": "kling-o1",
}


def passed(arguments: dict[str, Any], terms: ProviderTerms = BOTH) -> dict[str, Any]:
    """The arguments with the change that the advice names; they pass in one step."""
    found = find_variant(drafted(arguments), TABLE, terms)
    assert found is not None
    changed = arguments | found.change
    assert faults(changed, terms=terms) == {}
    return changed


def test_every_living_model_has_its_name_on_each_standard() -> None:
    for name, other in LIVING_ON_BOTH.items():
        for product, row in TABLE.models[name].products.items():
            if product not in KINDS:
                continue
            assert [*row.wires] == ["legacy", "new"]
            assert TABLE.on_wire(name, product, "legacy").name == name
            assert TABLE.on_wire(name, product, "new").name == other


def test_the_standards_differ_in_their_limits() -> None:
    old, new = (TABLE.on_wire("kling-v3", "image2video", wire) for wire in ("legacy", "new"))
    four = TABLE.on_wire("kling-4.0", "image2video", "new")

    assert (old.image_mb, new.image_mb, four.image_mb) == (10, 50, 30)
    assert (old.multi_shot, new.multi_shot) == (False, True)
    assert "negative_prompt" in new.lacks
    assert not old.lacks
    assert {"external_task_id", "callback_url", "cfg_scale"} <= set(four.lacks)


def test_a_copy_of_the_table_has_limits_of_its_own() -> None:
    asked = ("kling-v3", "image2video", "new")
    limit = TABLE.on_wire(*asked).image_mb
    model = TABLE.models["kling-v3"]
    row = model.products["image2video"]
    smaller = row.wires["new"].model_copy(update={"image_mb": 7})
    row = row.model_copy(update={"wires": {**row.wires, "new": smaller}})
    model = model.model_copy(update={"products": {**model.products, "image2video": row}})
    models = TABLE.model_copy(update={"models": {**TABLE.models, "kling-v3": model}})
    lacking = TABLE.wires["new"].model_copy(update={"lacks": {"seed": "nothing"}})
    wires = TABLE.model_copy(update={"wires": {**TABLE.wires, "new": lacking}})

    assert models.on_wire(*asked).image_mb == 7
    assert "seed" in wires.on_wire(*asked).lacks
    assert TABLE.on_wire(*asked).image_mb == limit
    assert "seed" not in TABLE.on_wire(*asked).lacks


def test_a_model_on_both_goes_by_the_older_standard() -> None:
    review = judge(IMAGE | {"model_name": "kling-v3", "negative_prompt": "text"}, terms=BOTH)

    assert (review.wire, review.verdict.faults) == ("legacy", [])
    assert judge(TURBO, terms=BOTH).wire == "new"
    assert judge(IMAGE | {"model_name": "kling-v3"}, terms=NEW).wire == "new"


def test_a_model_of_a_standard_that_the_provider_does_not_speak_is_refused_with_another() -> None:
    (fault,) = judge(TURBO, terms=OFFICIAL).verdict.faults

    assert fault.rule == "wire_of_model"
    assert (
        fault.message == "kling-v3-turbo is on Kling's new standard only, which kling does not "
        "offer here."
    )
    assert passed(TURBO, OFFICIAL)["model_name"] == "kling-v2-5-turbo"


def test_turbo_makes_3_to_15_seconds_in_two_modes_at_its_price() -> None:
    prices = {
        (mode, seconds): judge(TURBO | {"mode": mode, "duration": seconds}, terms=BOTH).estimate
        for mode in ("std", "pro")
        for seconds in (3, 15)
    }

    assert {asked: price.units for asked, price in prices.items()} == {
        ("std", 3): 2.4,
        ("std", 15): 12,
        ("pro", 3): 3,
        ("pro", 15): 15,
    }
    assert judge(TURBO | {"sound": "on"}, terms=BOTH).estimate.units == 4
    assert faults(TURBO | {"sound": "on"}, terms=BOTH) == {}
    assert faults(TURBO | STORY, terms=BOTH) == {}


@pytest.mark.parametrize(
    ("asked", "broken", "then"),
    [
        ({"mode": "4k"}, {"mode": "mode_of_model"}, {"model_name": "kling-v3", "mode": "4k"}),
        (
            {"image_tail": PICTURE},
            {"image_tail": "image_tail_of_model"},
            {"model_name": "kling-v3", "image_tail": PICTURE},
        ),
        (
            {"negative_prompt": "text, logos."},
            {"negative_prompt": "field_of_model"},
            {"model_name": "kling-v2-5-turbo", "negative_prompt": "text, logos."},
        ),
        (
            {"element_list": ["160"]},
            {"element_list": "element_list_of_model"},
            {"model_name": "kling-v3"},
        ),
        (
            {"multi_shot": True, "shot_type": "intelligence"},
            {"multi_shot": "multi_shot_of_model"},
            {"model_name": "kling-v3"},
        ),
        (
            {"voice_list": ["v"], "prompt": "<<<voice_1>>> says hello"},
            {"voice_list": "voice_list_of_model", "sound": "voices_need_sound"},
            {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"},
        ),
        (
            {"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS, "duration": 9},
            {"multi_prompt": "shots_add_up"},
            {"model_name": "kling-v3-turbo"},
        ),
        (
            {"mode": "4k", "image_tail": PICTURE, "negative_prompt": "text", "duration": 20},
            {
                "mode": "mode_of_model",
                "image_tail": "image_tail_of_model",
                "negative_prompt": "field_of_model",
                "duration": "duration_of_model",
            },
            {"model_name": "kling-v3", "mode": "4k"},
        ),
    ],
)
def test_what_turbo_cannot_do_is_refused_at_once_and_the_advice_passes_in_one_step(
    asked: dict[str, Any], broken: dict[str, str], then: dict[str, Any]
) -> None:
    wish = TURBO | asked

    assert faults(wish, terms=BOTH) == broken
    assert passed(wish).items() >= then.items()


def test_what_turbo_cannot_leave_out_is_said_in_the_prompt_where_no_other_model_is_there() -> None:
    only = Capabilities(
        wires=TABLE.wires, models={"kling-v3-turbo": TABLE.models["kling-v3-turbo"]}
    )
    wish = TURBO | {"negative_prompt": "text, logos."}
    found = find_variant(drafted(wish), only, BOTH)

    assert found is not None
    assert found.leave_out == ["negative_prompt"]
    assert found.change == {"prompt": "slow zoom. Avoid text, logos.", "negative_prompt": ""}


def test_several_pictures_are_not_for_turbo() -> None:
    (fault,) = judge(SEVERAL | {"model_name": "Kling-v3-turbo"}, terms=BOTH).verdict.faults

    assert fault.rule == "model_of_product"
    assert fault.use.startswith("kling-v3-omni or kling-video-o1")


@pytest.mark.parametrize("model", ["kling-4.0", "kling-4.0-flash"])
def test_a_preview_is_off_until_it_is_turned_on(model: str) -> None:
    wish = IMAGE | {"model_name": model}
    (fault,) = judge(wish, terms=BOTH).verdict.faults[:1]
    on = TABLE.with_previews([model])

    assert fault.rule == "model_preview"
    assert "KLING_MCP_MODELS_PREVIEW=true" in fault.use
    assert model not in TABLE.models_of(["image2video"])
    assert faults(wish, terms=BOTH, capabilities=on) == {}
    assert judge(wish, terms=BOTH, capabilities=on).estimate.units is None
    assert "sound" in warnings(wish, terms=BOTH, capabilities=on)
    assert warnings(wish | {"sound": "on"}, terms=BOTH, capabilities=on) == {}
    assert faults(wish | {"external_task_id": "mine"}, terms=BOTH, capabilities=on) == {
        "external_task_id": "field_of_model"
    }


def test_a_retired_model_is_refused_by_kling_itself_and_may_live_at_a_gateway() -> None:
    wish = IMAGE | {"model_name": "kling-v2-1"}
    (fault,) = judge(wish, terms=OFFICIAL).verdict.faults
    (warning,) = judge(wish).verdict.warnings

    assert (fault.rule, fault.use) == ("model_retired", "kling-v2-5-turbo")
    assert passed(wish, OFFICIAL)["model_name"] == "kling-v2-5-turbo"
    assert warning.message.endswith("kling may still offer it.")
    assert warnings(IMAGE | {"model_name": "kling-v1-6"}, terms=OFFICIAL) == {
        "model_name": "model_retired"
    }


def test_a_row_of_the_user_allows_a_retired_model_again() -> None:
    mine = TABLE.overridden({"models": {"kling-v2-1": {"retired": None}}})
    wish = IMAGE | {"model_name": "kling-v2-1"}

    assert faults(wish, terms=OFFICIAL, capabilities=mine) == {}
    assert warnings(wish, terms=OFFICIAL, capabilities=mine) == {}


def test_every_retirement_says_where_and_when_it_was_found() -> None:
    for name, model in TABLE.models.items():
        for product in model.products:
            end = TABLE.retirement(name, product)
            if end:
                assert end.source, name
                assert re.fullmatch(r"2026-\d\d-\d\d", end.date), name
                assert TABLE.retirement(end.successor, product) is None
                assert end.successor in TABLE.living(list(KLING.products), ["legacy"])


def test_a_model_that_the_provider_refused_today_is_refused_with_one_that_it_has() -> None:
    today = replace(BOTH, retired={("image2video", "kling-v2-5-turbo")})
    (fault,) = judge(IMAGE, terms=today).verdict.faults

    assert fault.rule == "model_retired"
    assert fault.message == "kling refused kling-v2-5-turbo as retired within the last day."
    assert passed(IMAGE, today)["model_name"] != "kling-v2-5-turbo"
    assert faults(IMAGE | {"model_name": "kling-v3"}, terms=today) == {}
