"""The table of products: every row is whole, and each name in it leads somewhere.

A new row alone fails `test_a_product_is_in_each_place`, once for each place that lacks it.
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kling_sandbox.rules as desks
from kling_mcp.cli.tool_commands import COMMAND_OF
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.providers.wires import KINDS
from kling_mcp.submission.create_body import PRODUCT_FIELDS
from kling_sandbox.gateways import OFFICIAL
from kling_sandbox.image_models import IMAGE_MODELS
from kling_sandbox.model_table import MODELS
from kling_sandbox.model_table import Product as SandboxProduct
from kling_tools.products import PRODUCTS, PRODUCTS_BY_TOOL, Product, ProductEntry, rules_of_others
from kling_tools.requests import requests
from kling_tools.requests.arguments import SubmitArguments
from kling_tools.requests.drafts import Draft
from kling_tools.requests.films import shot_draft
from kling_tools.requests.requests import Request, VideoRequest
from kling_tools.results import TaskView
from kling_tools.rules.between_fields import RULES, apply_rules
from kling_tools.rules.capabilities import PriceRow, built_in_capabilities
from kling_tools.rules.checks import CHECKS, apply_checks
from kling_tools.tools.toolset import ALIKE, MAKERS, SILENT, build_toolset

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOTS = Path(__file__).parent / "snapshots"
OPTIONAL = {"picture_key", "names_pictures", "body_names", "steps", "found_by_our_id", "has_models"}
NEEDED = sorted({field.name for field in fields(ProductEntry)} - OPTIONAL)

each_product = pytest.mark.parametrize("row", PRODUCTS.values(), ids=list(PRODUCTS))


def request_of(row: ProductEntry) -> type[Request]:
    found: type[Request] = getattr(requests, row.request)
    return found


@each_product
def test_a_row_says_whether_its_tool_has_a_model_name(row: ProductEntry) -> None:
    assert row.has_models == ("model_name" not in request_of(row).absent)


@pytest.mark.parametrize("field", NEEDED)
def test_a_row_without_one_of_its_parts_is_refused(field: str) -> None:
    whole: dict[str, Any] = asdict(PRODUCTS["image2video"])

    with pytest.raises(ValueError, match=f"has no {field}"):
        ProductEntry(**whole | {field: type(whole[field])()})
    with pytest.raises(TypeError, match=field):
        ProductEntry(**{name: value for name, value in whole.items() if name != field})


@given(st.sets(st.sampled_from(NEEDED), min_size=2))
def test_every_missing_part_is_named(missing: set[str]) -> None:
    whole: dict[str, Any] = asdict(PRODUCTS["omni-video"])

    with pytest.raises(ValueError, match="has no ") as refused:
        ProductEntry(**whole | {name: type(whole[name])() for name in missing})
    assert all(name in str(refused.value) for name in missing)


def test_every_product_has_one_row_and_every_row_one_tool() -> None:
    assert set(PRODUCTS) == set(get_args(Product))
    assert sorted(name for products in PRODUCTS_BY_TOOL.values() for name in products) == sorted(
        PRODUCTS
    )


def played(row: ProductEntry) -> str:
    """The sandbox's name of a product: that of the one whose path it shares, if it does."""
    return row.name if row.name in get_args(SandboxProduct) else row.path


def is_on_new_standard(row: ProductEntry) -> bool:
    models = built_in_capabilities().models.values()
    rows = [model.products[row.name] for model in models if row.name in model.products]
    return any("new" in found.wires for found in rows)


def kind_of_shot(row: ProductEntry) -> type[Request]:
    """The arguments of a shot that has what the product is made from first."""
    first = row.inputs[0]
    draft, _ = shot_draft(1, {first: ["a.png"] if first.endswith("_list") else "a.png"})
    return type(draft.arguments)


RULE_NAMES = {rule.id for rule in RULES} | {check.__name__ for check, _ in CHECKS}
TOOLS = {tool.name: tool for tool in build_toolset(["kling"], models={})}

PLACES: dict[str, Callable[[ProductEntry], object]] = {
    "a request class of that name in tools/kling_tools/requests/requests.py": lambda row: hasattr(
        requests, row.request
    ),
    "its arguments in SubmitArguments of tools/kling_tools/requests/arguments.py": lambda row: any(
        row.request in {base.__name__ for base in kind.__mro__}
        for kind in get_args(SubmitArguments)
    ),
    "its rules in tools/kling_tools/rules/between_fields.py or checks.py": lambda row: (
        set(row.rules) <= RULE_NAMES
    ),
    "a model in tools/kling_tools/rules/capabilities.json": lambda row: any(
        row.name in model.products for model in built_in_capabilities().models.values()
    ),
    "its tool in tools/kling_tools/tools/toolset.py": lambda row: row.tool in TOOLS,
    "its tool in MAKERS of tools/kling_tools/tools/toolset.py, for prompt and completions": (
        lambda row: row.tool in MAKERS
    ),
    "a snapshot of its tool: pytest tests/tools/test_toolset.py --update-snapshots": lambda row: (
        SNAPSHOTS / f"{row.tool}.json"
    ).exists(),
    "its fields in PRODUCT_FIELDS of server/kling_mcp/submission/create_body.py": lambda row: (
        row.name in PRODUCT_FIELDS
    ),
    "its path in KINDS of server/kling_mcp/providers/wires.py": lambda row: (
        row.name in KINDS or not is_on_new_standard(row)
    ),
    "a provider in server/kling_mcp/providers/providers.json": lambda row: any(
        row.name in provider.products for provider in PROVIDERS.values()
    ),
    "its name in Product of server/kling_sandbox/model_table.py": lambda row: (
        played(row) in get_args(SandboxProduct)
    ),
    "a model in server/kling_sandbox/model_table.py": lambda row: any(
        played(row) in model.products for model in (*MODELS.values(), *IMAGE_MODELS.values())
    ),
    "its desk in PRODUCTS of server/kling_sandbox/rules/__init__.py": lambda row: (
        played(row) in desks.PRODUCTS and desks.PRODUCTS[played(row)].__name__ == row.desk
    ),
    "a route in server/kling_sandbox/gateways.py": lambda row: played(row) in OFFICIAL.creates,
    "its choice among shots in tools/kling_tools/requests/films.py": lambda row: (
        row.in_film != "shot" or row.name in kind_of_shot(row).products
    ),
    "a command in server/kling_mcp/cli/tool_commands.py": lambda row: row.tool in COMMAND_OF,
    "its name in docs/ledger.md": lambda row: (
        f"`{row.name}`" in (ROOT / "docs/ledger.md").read_text("utf-8")
    ),
    "its path in docs/sandbox.md": lambda row: (
        row.path in (ROOT / "docs/sandbox.md").read_text("utf-8")
    ),
    "its tool in plugin/skills/kling-video/SKILL.md": lambda row: (
        f"`{row.tool}`" in (ROOT / "plugin/skills/kling-video/SKILL.md").read_text("utf-8")
    ),
    "its tool in bundle/manifest.json": lambda row: (
        f'"{row.tool}"' in (ROOT / "bundle/manifest.json").read_text("utf-8")
    ),
    "its tool in README.md and README.zh-CN.md": lambda row: all(
        f"`{row.tool}`" in (ROOT / name).read_text("utf-8")
        for name in ("README.md", "README.zh-CN.md")
    ),
    "docs/tools.md: pytest tests/docs/test_made_pages.py --update-snapshots": lambda row: (
        f"## {row.tool}" in (ROOT / "docs/tools.md").read_text("utf-8")
    ),
}
"""What a product needs besides its row, and where, in the order of CONTRIBUTING.md."""


@each_product
@pytest.mark.parametrize("place", PLACES)
def test_a_product_is_in_each_place(place: str, row: ProductEntry) -> None:
    assert PLACES[place](row), f"{row.name} requires {place}"


@each_product
def test_the_request_and_the_tool_of_a_product_exist_and_belong_together(
    row: ProductEntry,
) -> None:
    request = request_of(row)
    tool = TOOLS[row.tool]

    assert request.products == PRODUCTS_BY_TOOL[row.tool]
    assert set(row.inputs) <= set(request.model_fields)
    asked = set(request.model_fields) - request.absent
    assert asked - {*ALIKE, *SILENT.get(row.tool, ())} <= set(tool.parameters["properties"])
    assert request.absent.isdisjoint(tool.parameters["properties"])
    assert list(tool.parameters["properties"])[: len(row.inputs)] == list(row.inputs)


def test_every_tool_that_costs_money_has_a_product() -> None:
    spends = {
        tool.name
        for tool in build_toolset(["kling"], models={}, hosted=True)
        if "another_take_of" in tool.parameters["properties"]
    }

    assert spends == set(PRODUCTS_BY_TOOL)


@each_product
def test_the_rules_of_a_product_exist_and_its_row_names_the_checks_of_its_own_fields(
    row: ProductEntry,
) -> None:
    request = request_of(row)
    shared = VideoRequest if issubclass(request, VideoRequest) else Request
    known = set(request.model_fields)
    fields_alone = known - set(shared.model_fields)
    own_checks = {
        check.__name__
        for check, looks_at in CHECKS
        if looks_at & fields_alone and looks_at <= known
    }

    assert own_checks <= set(row.rules)
    assert set(row.rules) - own_checks <= {rule.id for rule in RULES}


@each_product
def test_no_request_is_judged_by_a_rule_of_another_product(row: ProductEntry) -> None:
    kind = request_of(row)
    draft = Draft(kind())
    found = [*apply_rules(draft).faults, *apply_checks(draft).faults]

    assert found
    assert {fault.field for fault in found} <= set(kind.model_fields)
    assert not {fault.rule for fault in found} & rules_of_others(kind.products)


def test_the_row_of_a_product_decides_which_rules_judge_a_request() -> None:
    class OtherProduct(requests.MultiImageToVideoRequest):
        products = ("image2video",)

    def rules_broken(kind: type[Request]) -> set[str]:
        draft = Draft(kind(prompt="sing"))
        return {fault.rule for fault in apply_rules(draft).faults}

    assert rules_broken(requests.MultiImageToVideoRequest) == {"image_list_required"}
    assert rules_broken(OtherProduct) == {"image_or_image_tail"}


@each_product
def test_a_product_has_models_priced_as_its_row_says(row: ProductEntry) -> None:
    models = built_in_capabilities().models.values()
    uses = [model.products[row.name] for model in models if row.name in model.products]
    prices = [price for use in uses for price in use.units]

    assert uses
    assert all(use.modes or use.durations for use in uses)
    assert {way_of(price) for price in prices} == set(row.priced_by)


def way_of(price: PriceRow) -> str:
    if price.per_picture is not None:
        return "picture"
    return "clip" if price.per_second is None else "second"


def test_no_place_has_a_product_that_the_table_does_not_have() -> None:
    assert set(PRODUCT_FIELDS) == set(PRODUCTS)
    names = {played(row) for row in PRODUCTS.values()}
    assert set(desks.PRODUCTS) == names == set(get_args(SandboxProduct))


@each_product
def test_the_result_of_a_product_is_a_field_of_a_finished_task(row: ProductEntry) -> None:
    assert f"{row.result}s" in TaskView.model_fields


@each_product
def test_a_list_of_pictures_says_what_the_body_calls_each(row: ProductEntry) -> None:
    assert bool(row.picture_key) == ("image_list" in row.inputs)
    assert row.picture_key or not row.names_pictures


@pytest.mark.parametrize("wanted", get_args(SubmitArguments), ids=lambda wanted: wanted.__name__)
def test_a_tool_offers_the_modes_that_some_model_makes(wanted: type[Request]) -> None:
    models = built_in_capabilities().models.values()
    rows = [row for m in models for name, row in m.products.items() if name in wanted.products]
    made = {mode for row in rows for mode in row.modes}

    assert not issubclass(wanted, VideoRequest) or not made or {*wanted.modes} == made
