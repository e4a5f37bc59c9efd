"""The comparison with other servers: its provider, its page, and this server's own part of it."""

import json
import re
from pathlib import Path

import pytest
from benchmarks.peers.contenders import CONTENDERS, OURS, Place
from benchmarks.peers.page import fault_tables
from benchmarks.peers.provider import Address, Fault, local_provider
from benchmarks.peers.worst_days import FAULTS, Outcome, under_fault

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "benchmarks" / "peers.md").read_text(encoding="utf-8")
(US,) = [one for one in CONTENDERS if one.name == OURS]


@pytest.mark.parametrize(
    ("fault", "paid"), [("lost", 1), pytest.param("empty", 0, marks=pytest.mark.campaign)]
)
def test_this_server_is_measured_as_the_others_are(fault: Fault, paid: int, tmp_path: Path) -> None:
    with local_provider() as (address, desks):
        outcome = under_fault(US, fault, Place(tmp_path, ""), address, desks[US.dialect], tmp_path)

    assert (outcome.paid, outcome.paid_again) == (paid, 1)
    assert (outcome.marked, outcome.tells_money) == ((fault == "empty"),) * 2


def test_the_page_names_the_versions_that_the_script_installs() -> None:
    heads = re.findall(r"^\|  \|( `.*) \|$", PAGE, re.M)

    assert heads
    for head in heads:
        named = dict(re.findall(r"`([^`]+)` (\S+)", head))
        assert named.pop(OURS)
        assert named == {one.name: one.version for one in CONTENDERS if one.name != OURS}


def test_the_page_has_this_versions_tools_and_about_their_size(tmp_path: Path) -> None:
    with US.start(Place(tmp_path, ""), Address("http://127.0.0.1:9"), tmp_path) as server:
        line, _ = server.open()

    (tools, size) = (
        int(re.findall(rf"^\| {row} \| ([\d,]+) \|", PAGE, re.M)[0].replace(",", ""))
        for row in ("tools", "tools/list, bytes")
    )
    assert tools == len(json.loads(line)["result"]["tools"])
    assert size == pytest.approx(len(line), rel=0.1)


def test_the_page_has_a_row_for_every_fault() -> None:
    for text in FAULTS.values():
        assert f"| {text} |" in PAGE


def test_an_answer_that_never_came_is_said_to_be_none() -> None:
    outcomes = {OURS: dict.fromkeys(FAULTS, Outcome(None, 1, 2))}

    told = fault_tables([US], outcomes)

    assert "no answer within 60 s; made 1, after the same call again 2" in told
    assert "nothing." in told
