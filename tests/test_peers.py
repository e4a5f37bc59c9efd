"""The comparison with other servers: its provider, its page, and this server's own part of it."""

import re
from pathlib import Path

import pytest
from benchmarks.peers.contenders import CONTENDERS, OURS, Place
from benchmarks.peers.page import fault_tables
from benchmarks.peers.provider import Fault, local_provider
from benchmarks.peers.worst_days import FAULTS, Outcome, under_fault

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "benchmarks" / "peers.md").read_text(encoding="utf-8")
(US,) = [one for one in CONTENDERS if one.name == OURS]


@pytest.mark.parametrize(
    ("fault", "paid"), [("lost", 1), pytest.param("empty", 0, marks=pytest.mark.campaign)]
)
def test_this_server_is_measured_as_the_others_are(fault: Fault, paid: int, tmp_path: Path) -> None:
    with local_provider() as (url, desks):
        outcome = under_fault(US, fault, Place(tmp_path, ""), url, desks[US.dialect], tmp_path)

    assert (outcome.paid, outcome.paid_again) == (paid, 1)
    assert (outcome.marked, outcome.tells_money) == ((fault == "empty"),) * 2


def test_the_page_names_the_versions_that_the_script_installs() -> None:
    heads = re.findall(r"^\|  \|( `.*) \|$", PAGE, re.M)

    assert heads
    for head in heads:
        named = dict(re.findall(r"`([^`]+)` (\S+)", head))
        assert named.pop(OURS)
        assert named == {one.name: one.version for one in CONTENDERS if one.name != OURS}


def test_the_page_has_a_row_for_every_fault() -> None:
    for text in FAULTS.values():
        assert f"| {text} |" in PAGE


def test_an_answer_that_never_came_is_said_to_be_none() -> None:
    outcomes = {OURS: dict.fromkeys(FAULTS, Outcome(None, 1, 2))}

    told = fault_tables([US], outcomes)

    assert "no answer within 60 s; made 1, after the same call again 2" in told
    assert "nothing." in told
