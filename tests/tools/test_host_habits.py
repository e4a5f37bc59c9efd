"""What hosts fill in says nothing, what they send along is passed over, slips are still told."""

import math
import re
from typing import Any

import pytest
from pydantic import BaseModel
from tests.tools.judging import IMAGE, SEVERAL, drafted, faults, judge

from kling_tools.faults import sentences
from kling_tools.products import PRODUCTS_BY_TOOL
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.films import FilmArguments
from kling_tools.requests.host_habits import (
    ADDED_BY_HOSTS,
    CAPS,
    FALSE_IS_A_VALUE,
    INSTEAD,
    REQUIRED_LISTS,
)
from kling_tools.tools.toolset import build_toolset

TOOLS = {tool.name: tool.arguments for tool in build_toolset(["kling"], models={}, hosted=True)}
FIELDS = [
    (name, kind, field)
    for name, kind in TOOLS.items()
    for field in kind.model_fields
    if field not in getattr(kind, "absent", ())
]
BLANKS: list[Any] = [None, "", 0, 0.0, False, {}, [], [""], [{}], {"type": "", "x": [None]}]
MEANT = {("cfg_scale", 0): 0, ("timeout_s", 0): 0, ("max_units", 0): 0, ("max_usd", 0): 0}
"""Where a blank is a value, as 0 is within the limits of the field."""
CAMERA = {"model_name": "kling-v1-5", "mode": "pro"} | IMAGE


@pytest.mark.parametrize(("tool", "kind", "field"), FIELDS, ids=[f"{t}-{f}" for t, _, f in FIELDS])
def test_a_blank_in_any_field_of_any_tool_means_that_it_was_left_out(
    tool: str, kind: type[BaseModel], field: str
) -> None:
    for blank in BLANKS:
        if field in REQUIRED_LISTS and isinstance(blank, list) and blank:
            continue
        if field in CAPS and blank is False:
            continue
        draft = read_draft(kind, {field: blank})
        number = isinstance(blank, int | float) and not isinstance(blank, bool)
        meant = MEANT.get((field, blank)) if number else None
        if field in FALSE_IS_A_VALUE and blank is False:
            meant = False if field == "join" else "no"
        default = kind.model_fields[field].default

        assert draft.verdict.faults == []
        assert getattr(draft.arguments, field) == (default if meant is None else meant), blank


@pytest.mark.parametrize("kind", TOOLS.values(), ids=TOOLS)
def test_what_hosts_send_along_is_passed_over_in_every_tool(kind: type[BaseModel]) -> None:
    added = dict.fromkeys(ADDED_BY_HOSTS, "x")
    nested = {name: {"deep": [1]} for name in ADDED_BY_HOSTS}

    assert not ADDED_BY_HOSTS & set(kind.model_fields)
    assert read_draft(kind, added).verdict.faults == []
    assert read_draft(kind, nested).arguments == read_draft(kind, {}).arguments


@pytest.mark.parametrize("kind", TOOLS.values(), ids=TOOLS)
@pytest.mark.parametrize("name", ["tool_call_id", "session", "actions", "pormpt", "taskid", "0"])
def test_what_nobody_knows_is_still_refused(kind: type[BaseModel], name: str) -> None:
    (fault,) = read_draft(kind, {name: "x"}).verdict.faults

    assert (fault.field, fault.rule) == (name, "extra_forbidden")


@pytest.mark.parametrize("kind", TOOLS.values(), ids=TOOLS)
def test_advice_about_another_vendor_s_name_is_an_argument_of_this_call(
    kind: type[BaseModel],
) -> None:
    names = set(kind.model_fields)
    for name in set(INSTEAD) - names:
        (fault,) = read_draft(kind, {name: "x"}).verdict.faults
        first = re.split(r"\W", fault.use, maxsplit=1)[0]

        elsewhere = first in PRODUCTS_BY_TOOL and "prompt" in names
        assert first in names or elsewhere or fault.use[:3] in ("", "no "), (name, fault.use)


def test_an_argument_of_another_maker_names_that_maker() -> None:
    def advice(kind: type[BaseModel], name: str) -> str:
        (fault,) = read_draft(kind, {name: "x"}).verdict.faults
        return fault.use

    to_text = TOOLS["kling_text_to_video"]
    assert advice(to_text, "image") == "kling_image_to_video, which takes it"
    assert advice(to_text, "end_image") == "kling_image_to_video, which takes it"
    assert advice(to_text, "image_list") == "kling_multi_image_to_video, which takes it"
    assert advice(TOOLS["kling_get_task"], "image_list") == ""


@pytest.mark.parametrize(
    ("tool", "name", "said"),
    [
        ("kling_image_to_video", "save_to", "kling_save_video with task_id and path"),
        ("kling_image_to_video", "output_path", "kling_save_video with task_id and path"),
        ("kling_multi_image_to_video", "filename", "kling_save_video with task_id and path"),
        ("kling_save_video", "save_to", "path"),
        ("kling_list_tasks", "limit", "page_size"),
        ("kling_list_tasks", "sort", "the newest come first"),
    ],
)
def test_a_wish_of_another_tool_or_page_names_the_way(tool: str, name: str, said: str) -> None:
    (fault,) = read_draft(TOOLS[tool], {name: "x"}).verdict.faults

    assert said in fault.use


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"camera_control": {"type": "", "config": {"zoom": 0, "pan": 0}}}, {}),
        ({"camera_control": "{}"}, {}),
        (
            {"camera_control": {"type": "down_back", "config": None}},
            {"camera_control": "down_back"},
        ),
        (
            {"camera_control": {"type": "simple", "config": {"zoom": 5, "pan": "", "tilt": None}}},
            {"camera_control": {"type": "simple", "config": {"zoom": 5}}},
        ),
        ({"dynamic_masks": [{"mask": "", "trajectories": []}]}, {}),
        ({"element_list": [{"element_id": ""}], "voice_list": [None]}, {}),
        ({"multi_prompt": [{"index": 0, "prompt": "", "duration": ""}]}, {}),
        (
            {"multi_shot": True, "multi_prompt": [{"index": "", "prompt": "a", "duration": 5}]},
            {"multi_shot": True, "multi_prompt": [{"prompt": "a", "duration": 5}]},
        ),
        ({"watermark_info": {"enabled": None}}, {}),
    ],
)
def test_blanks_within_objects_say_nothing_either(
    given: dict[str, Any], meant: dict[str, Any]
) -> None:
    filled, plain = judge(CAMERA | given), judge(CAMERA | meant)

    assert filled.request == plain.request
    assert filled.verdict == plain.verdict


def test_what_is_zero_within_an_object_is_a_place() -> None:
    mask = {"mask": "https://x.example/m.png", "trajectories": [[0, 0], {"x": 0, "y": 9}]}

    (group,) = judge(CAMERA | {"dynamic_masks": [mask]}).request.dynamic_masks

    assert [(point.x, point.y) for point in group.trajectories] == [(0, 0), (0, 9)]


@pytest.mark.parametrize(
    ("model", "sent"),
    [("kling-v1-6", 0), ("kling-v2-5-turbo", None), ("", None), ("kling-v9", None)],
)
def test_cfg_scale_0_is_a_value_where_the_model_takes_one(model: str, sent: float | None) -> None:
    review = judge(IMAGE | {"model_name": model, "cfg_scale": 0})

    assert review.verdict.faults == []
    assert review.request.cfg_scale == sent


def test_cfg_scale_0_asks_for_nothing_where_the_provider_loses_it() -> None:
    review = judge(SEVERAL | {"model_name": "kling-v3-omni", "cfg_scale": 0})

    assert review.verdict.faults == []
    assert review.request.cfg_scale is None
    assert "cfg_scale" in faults(SEVERAL | {"model_name": "kling-v3-omni", "cfg_scale": 0.5})


def test_0_beside_other_blanks_is_no_limit_and_said_so() -> None:
    """A host that fills in one blank argument fills in all of them."""
    told = judge(IMAGE | {"max_units": 0, "negative_prompt": "", "image_tail": ""}).verdict

    assert told.faults == []
    assert sentences(told.warnings).startswith("max_units: 0 beside other blank arguments is read")
    assert judge(IMAGE | {"max_units": ""}).verdict.warnings == []


CAPPED = [(tool, kind, field) for tool, kind, field in FIELDS if field in CAPS]
NO_CAPS = [False, True, math.inf, math.nan, "inf", "-inf", "nan", "1e400", 10**400, "9" * 400]


@pytest.mark.parametrize(("tool", "kind", "cap"), CAPPED, ids=[f"{t}-{f}" for t, _, f in CAPPED])
def test_a_cap_that_is_no_number_is_refused_in_every_tool(
    tool: str, kind: type[BaseModel], cap: str
) -> None:
    for value in NO_CAPS:
        (fault,) = read_draft(kind, {cap: value}).verdict.faults

        assert fault.field == cap
        assert fault.message in ("must be a number, not true/false.", "must be a finite number.")
        assert fault.use == f"a number; without {cap} there is no cap"


def test_no_cap_of_a_film_is_lost_in_silence() -> None:
    nothing = read_draft(FilmArguments, {"max_usd": 0})
    filled = read_draft(FilmArguments, {"max_usd": 0, "name": "", "aspect_ratio": "", "fit": ""})

    assert (nothing.arguments.max_usd, nothing.verdict.warnings) == (0, [])
    assert filled.arguments.max_usd is None
    assert sentences(filled.verdict.warnings).startswith("max_usd: 0 beside other blank arguments")


@pytest.mark.parametrize("nothing", [0, 0.0, "0"])
def test_0_alone_means_to_spend_nothing(nothing: object) -> None:
    draft = drafted(IMAGE | {"max_units": nothing})

    assert draft.arguments.max_units == 0
    assert draft.verdict.warnings == []
