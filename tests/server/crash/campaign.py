"""Kill server processes at random moments, then let one live and say what it found.

    python campaign.py FOLDER --kills 80 --seed 1 --provider kling

One process imports everything once; the sandbox and every server are forked from it. Three servers
live at a time and share a ledger; after every forty kills there is a new ledger, about the next
product of the table. The seed settles what is asked for, which faults strike and when a kill is
due; what the machine does in that time it does not settle. The report is one JSON object on
standard output.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import random
import selectors
import signal
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import httpx
from PIL import Image
from tests.server.crash.lives import (
    LEASE_S,
    PICTURES,
    STEPS,
    Ground,
    Life,
    Wish,
    in_haste,
    live,
    products_at,
    steps_of,
)
from tests.server.crash.settling import rehearse, settle
from tests.server.crash.storm import CALM, serve

from kling_sandbox.app import bound_socket
from kling_tools.products import ASSETS, Made

ALIVE = 3
"""Servers at a time: more than the two that race, on machines of two cores."""

KILLS_PER_LEDGER = 40
WISHES_AT_HAND = 6
"""Every process asks for some of the last few wishes, so that most are asked for several times."""

UNHURRIED_S = 0.12
"""The mean of the seconds after which a process is killed that is not killed at a step."""

NAPPING = 0.15
"""How many processes are stopped for a while first, as by a laptop that is closed."""

LONGEST_S = 2.0

SETTLED_AT_ONCE = 8
"""Ledgers whose last videos are made at the same time: one sandbox makes them all."""


@dataclass
class Living:
    """A process that runs now: its pipe, its last step, when it is killed and on which step.

    One that `naps` is only stopped at first, for longer than its leases last, and goes on then.
    """

    pid: int
    pipe: int
    deadline: float
    aim: int | None = None
    delay_s: float = 0.0
    naps: bool = False
    asleep: bool = False
    step: int = 0


@dataclass
class Report:
    """What a campaign did: `steps` are the kills by product and step."""

    provider: str
    seed: int
    kills: int = 0
    ended_by_themselves: int = 0
    naps: int = 0
    broken: int = 0
    steps: dict[Made, dict[str, int]] = field(default_factory=dict)
    grounds: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Campaign:
    """Kills as many processes as asked for, ledger after ledger."""

    def __init__(self, folder: Path, url: str, provider: str, seed: int) -> None:
        self._folder = folder
        self._url = url
        self._provider = provider
        self._dice = random.Random(seed)
        self._living: dict[int, Living] = {}
        self._selector = selectors.DefaultSelector()
        self._wishes: list[Wish] = []
        self.log = folder / "broken.log"
        self.report = Report(provider, seed)
        for product in products_at(provider):
            self.report.steps[product] = dict.fromkeys(steps_of(provider, product), 0)
        self._products = list(self.report.steps)
        self._product = self._products[0]

    def run(self, kills: int) -> None:
        """Kill so many processes of each product, and some more if one of its steps was not hit by
        then."""
        began = time.monotonic()
        pictures = self._folder / "pictures"
        pictures.mkdir(parents=True)
        for name, red in zip(PICTURES, (200, 90), strict=True):
            Image.new("RGB", (320, 320), (red, 90, 30)).save(pictures / name)
        while product := self._unfinished(kills):
            self._product = product
            ledger = self._folder / f"ledger-{len(self.report.grounds)}"
            ground = Ground(ledger, self._url, self._provider, pictures)
            self._wishes = []
            upto = self.report.kills + KILLS_PER_LEDGER
            while self.report.kills < upto:
                while len(self._living) < ALIVE:
                    self._start(ground)
                self._watch()
            while self._living:
                self._watch()
            wishes = [asdict(wish) for wish in self._wishes]
            self.report.grounds.append({"folder": str(ledger), "wishes": wishes})
        self.report.seconds = round(time.monotonic() - began, 1)

    def _unfinished(self, kills: int) -> Made | None:
        """The product with the fewest kills that requires more."""
        hit = {product: sum(steps.values()) for product, steps in self.report.steps.items()}
        left = [
            product
            for product, steps in self.report.steps.items()
            if hit[product] < kills or (min(steps.values()) == 0 and hit[product] < 5 * kills)
        ]
        return min(left, key=lambda product: hit[product], default=None)

    def _start(self, ground: Ground) -> None:
        life, aim, delay_s = self._plan()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            live(life, ground, writing, self.log)
        os.close(writing)
        due_s = min(self._dice.expovariate(1 / UNHURRIED_S), LONGEST_S)
        if aim is not None or life.last_step:
            due_s = LONGEST_S
        naps = self._dice.random() < NAPPING
        living = Living(pid, reading, time.monotonic() + due_s, aim, delay_s, naps)
        self._living[pid] = living
        self._selector.register(reading, selectors.EVENT_READ, living)

    def _plan(self) -> tuple[Life, int | None, float]:
        """A third dies at any time, a third soon after a step, a third exactly at one."""
        dice = self._dice
        while len(self._wishes) < 2 or dice.random() < 0.5:
            self._wishes.append(self._new_wish())
        at_hand = self._wishes[-WISHES_AT_HAND:]
        wishes = dice.sample(at_hand, dice.randint(1, min(3, len(at_hand))))
        way, step = dice.randrange(3), self._aim()
        life = Life(wishes, step if way == 0 else None, lists=dice.random() < 0.2)
        return life, STEPS.index(step) if way == 1 else None, dice.uniform(0, 0.02)

    def _aim(self) -> str:
        """Any step that a process can be at, and those that were hit least more often."""
        hit = self.report.steps[self._product]
        rarest = min(hit, key=lambda step: hit[step])
        return rarest if self._dice.random() < 0.4 else self._dice.choice(list(hit))

    def _new_wish(self) -> Wish:
        dice, number = self._dice, len(self._wishes)
        if self._product in ASSETS:
            return Wish(self._product, f"wish {number} of {len(self.report.grounds)}", 1, "")
        if number and dice.random() < 0.2:
            earlier = dice.choice(self._wishes)
            takes = [wish.take for wish in self._wishes if wish.prompt == earlier.prompt]
            return Wish(self._product, earlier.prompt, max(takes) + 1, "")
        prompt = f"wish {number} of {len(self.report.grounds)}"
        own = f"own-{len(self.report.grounds)}-{number}" if dice.random() < 0.2 else ""
        return Wish(self._product, prompt, 1, own)

    def _watch(self) -> None:
        """Hear what the living say, and kill those whose time has come."""
        now = time.monotonic()
        next_s = max(0.0, min(one.deadline for one in self._living.values()) - now)
        for key, _ in self._selector.select(next_s):
            self._hear(key.data)
        now = time.monotonic()
        for one in self._living.values():
            if one.deadline <= now:
                one.deadline = now + self._strike(one)

    def _strike(self, one: Living) -> float:
        """Kill a process, or stop it or wake it; the seconds until its time comes again."""
        if one.asleep:
            os.kill(one.pid, signal.SIGCONT)
            one.asleep = False
            return self._dice.expovariate(1 / UNHURRIED_S)
        if one.naps:
            os.kill(one.pid, signal.SIGSTOP)
            one.naps, one.asleep = False, True
            self.report.naps += 1
            return LEASE_S * 1.5
        os.kill(one.pid, signal.SIGKILL)
        return LONGEST_S

    def _hear(self, one: Living) -> None:
        said = os.read(one.pipe, 4096)
        if said:
            one.step = said[-1]
            if one.aim is not None and one.aim in said:
                one.deadline, one.aim = time.monotonic() + one.delay_s, None
            return
        self._selector.unregister(one.pipe)
        os.close(one.pipe)
        del self._living[one.pid]
        _, status = os.waitpid(one.pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.report.kills += 1
            steps, step = self.report.steps[self._product], STEPS[one.step]
            steps[step] = steps.get(step, 0) + 1
        elif status == 0:
            self.report.ended_by_themselves += 1
        else:
            self.report.broken += 1


def main() -> None:
    """Run a campaign as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--provider", required=True)
    asked = parser.parse_args()
    # One TLS context for all: nothing here speaks TLS, and making one takes longer than a life.
    cached = functools.cache(ssl.create_default_context)
    mock.patch.object(ssl, "create_default_context", cached).start()
    in_haste()
    rehearse()
    gc.collect()
    gc.freeze()
    with bound_socket("127.0.0.1", 0) as listener:
        listener.listen(128)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sandbox = os.fork()
        if sandbox == 0:
            serve(listener, asked.folder / "sandbox", asked.seed)
            os._exit(0)
    try:
        base = "" if asked.provider == "kling" else f"/{asked.provider}"
        campaign = Campaign(asked.folder, url + base, asked.provider, asked.seed)
        campaign.run(asked.kills)
        httpx.get(url + CALM).raise_for_status()
        pictures = asked.folder / "pictures"

        async def settle_all() -> None:
            limiter = anyio.CapacityLimiter(SETTLED_AT_ONCE)
            async with anyio.create_task_group() as group:
                for ground in campaign.report.grounds:
                    group.start_soon(settled, ground, limiter)

        async def settled(ground: dict[str, Any], limiter: anyio.CapacityLimiter) -> None:
            place = Ground(Path(ground["folder"]), url + base, asked.provider, pictures)
            wishes = [Wish(**wish) for wish in ground["wishes"]]
            async with limiter:
                ground |= await settle(place, wishes, campaign.log)

        anyio.run(settle_all)
        json.dump(asdict(campaign.report), sys.stdout)
    finally:
        os.kill(sandbox, signal.SIGKILL)
        os.waitpid(sandbox, 0)


if __name__ == "__main__":
    main()
