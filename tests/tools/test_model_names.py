"""A model is known by each of its spellings, and a wrong name leads to the nearest model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tools.judging import IMAGE, KLING, SEVERAL, drafted, judge

from kling_tools.rules.capabilities import built_in_capabilities
from kling_tools.rules.variants import find_variant

TABLE = built_in_capabilities()
WIRE_NAMES = {
    TABLE.on_wire(name, product, wire).name: name
    for name, model in TABLE.models.items()
    for product, row in model.products.items()
    for wire in row.wires
}
"""Each name that a model has on one of Kling's standards, and its name in the table."""

PIECES = st.sampled_from(["-", " ", "_", "  ", " - "])


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """A model, and one of its names with other separators, other letters and more or less of what
    people add."""
    name, model = draw(st.sampled_from(sorted(WIRE_NAMES.items())))
    text = name.removeprefix("kling-")
    digits = "." in text
    head = draw(st.sampled_from(["kling-", "Kling ", "KLING", "kling ai ", "Kling_"]))
    number = draw(st.sampled_from([".", "-", "_"])) if digits else ""
    text = text.replace(".", number) if digits else text
    gap = draw(PIECES)
    words = text.split("-") if number != "-" else [text]
    said = head + gap.join(words)
    return model, draw(st.sampled_from([said, said.upper(), said.title(), f" {said}"]))


@given(spellings())
def test_a_model_is_known_by_its_name_in_any_spelling(case: tuple[str, str]) -> None:
    model, said = case

    assert TABLE.canonical(said) == model


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ("kling-3.0-turbo", "kling-v3-turbo"),
        ("Kling 3.0 Turbo", "kling-v3-turbo"),
        ("kling3.0turbo", "kling-v3-turbo"),
        ("kling 3 turbo", "kling-v3-turbo"),
        ("Turbo 3.0", "kling-v3-turbo"),
        ("kling-3.0", "kling-v3"),
        ("Kling V3.0", "kling-v3"),
        ("KlingAI 3", "kling-v3"),
        ("kling-video-v3_0_omni", "kling-v3-omni"),
        ("kling-3.0-omni", "kling-v3-omni"),
        ("kling-o1", "kling-video-o1"),
        ("Kling Video O1", "kling-video-o1"),
        ("kling-2.5-turbo", "kling-v2-5-turbo"),
        ("kling-video-v2_6", "kling-v2-6"),
        ("Kling 4", "kling-4.0"),
        ("kling-v4-flash", "kling-4.0-flash"),
        ("kling 2.1 master", "kling-v2-1-master"),
        ("kling-v30", None),
        ("kling-v3-5", None),
        ("kling-o3", None),
        ("kling", None),
        ("", None),
    ],
)
def test_the_names_of_pages_and_people_lead_to_one_model(said: str, model: str | None) -> None:
    assert TABLE.canonical(said) == model


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_a_name(text: str) -> None:
    found = TABLE.canonical(text)

    assert found is None or found in TABLE.models
    assert TABLE.known_as(text) is None or TABLE.known_as(text) in TABLE.models


def test_no_two_models_share_a_spelling() -> None:
    assert {name: TABLE.canonical(name) for name in WIRE_NAMES} == WIRE_NAMES


@pytest.mark.parametrize(
    ("arguments", "said", "meant"),
    [
        (IMAGE, "kling-3.0-trubo", "kling-v3-turbo"),
        (IMAGE, "kling-v2-5-tubro", "kling-v2-5-turbo"),
        (SEVERAL, "kling-3.0-omin", "kling-v3-omni"),
    ],
)
def test_a_wrong_name_leads_to_the_nearest_model(
    arguments: dict[str, object], said: str, meant: str
) -> None:
    (fault,) = judge(arguments | {"model_name": said}).verdict.faults

    assert (fault.rule, fault.use) == ("model_spelling", meant)


def test_an_unknown_name_is_told_with_the_living_models_the_nearest_first() -> None:
    (warning,) = judge(IMAGE | {"model_name": "kling-v2-7"}).verdict.warnings

    assert warning.use.startswith("a known model: kling-v2-6, ")
    assert "kling-v2-1" not in warning.use
    assert "kling-v3-turbo" not in warning.use, "no provider speaks its standard"
    assert TABLE.nearest("kling-v2-7", "image2video", KLING)[0] == "kling-v2-6"


@pytest.mark.parametrize(
    ("said", "models"),
    [
        ("kling 2.5", ["kling-v2-5-turbo"]),
        ("klign-v3", ["kling-v3"]),
        ("clling 2.6", ["kling-v2-6"]),
        ("turbo", ["kling-v2-5-turbo", "kling-v3-turbo"]),
        ("omni", ["kling-v3-omni"]),
        ("o3", ["kling-v3-omni"]),
        ("kling o3", ["kling-v3-omni"]),
        ("kling-v3-pro", ["kling-v3"]),
        ("kling v3 turbo pro", ["kling-v3-turbo"]),
        ("3.0 4k", ["kling-v3"]),
        ("2.6 1080p", ["kling-v2-6"]),
        ("kling-v3-5", []),
        ("kling-v9-turbo", []),
        ("veo-3", []),
        ("kling", []),
        ("best", []),
    ],
)
def test_what_people_say_means_the_models_that_it_can_mean(said: str, models: list[str]) -> None:
    assert TABLE.meanings(said) == models


@pytest.mark.parametrize(
    ("said", "model", "mode"),
    [
        ("kling-v3-pro", "kling-v3", "pro"),
        ("3.0 4k", "kling-v3", "4k"),
        ("kling v2.6 1080p", "kling-v2-6", "pro"),
        ("kling v3 std", "kling-v3", "std"),
    ],
)
def test_a_mode_in_a_models_name_is_kept(said: str, model: str, mode: str) -> None:
    assert TABLE.mode_in(said) == (model, mode)
    found = find_variant(drafted(IMAGE | {"model_name": said}), TABLE, KLING)

    assert found is not None
    assert found.change == {"model_name": model} | ({"mode": mode} if mode != "std" else {})
