"""A page that shows the player, and where its pictures are kept for whoever wants to look."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.outside_suites import node_modules
from tests.server.serving import picture

__all__ = ["SCREENSHOTS", "Stage", "assert_page_accessible", "expect"]

SCREENSHOTS = os.environ.get("KLING_MCP_SCREENSHOTS", "")


def expect(locator: Any) -> Any:
    """Playwright's expectation of an element; imported when a browser is there."""
    from playwright.sync_api import expect as of

    return of(locator)


@dataclass
class Stage:
    """A host page that shows the player, and the folder of the server behind it."""

    page: Any
    folder: Path
    failed_requests: list[str]
    complaints: list[str]
    """Errors in the console."""

    def open(self, prompt: str = "A slow zoom", **shown: Any) -> Any:
        """Submit a picture as a model would, and show the player for it; its frame. With a `tool`
        and what is `given` to it, submit that."""
        tool = shown.pop("tool", "kling_image_to_video")
        given = shown.pop("given", {})
        given = given if tool == "kling_film" else {"prompt": prompt, **given}
        if tool == "kling_image_to_video":
            given = {"image": picture(self.folder), **given}
        self.page.evaluate(
            "async (wish) => { const { result } = await host.open(wish); return result; }",
            {"tool": tool, "given": given, **shown},
        )
        return self.page.frames[-1]

    def shoot(self, name: str) -> None:
        """Take a screenshot, where somebody wants to look at them."""
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def assert_page_accessible(page: Any) -> None:
    """The page's policy forbids scripts; axe runs in a world of its own."""
    axe = (node_modules() / "axe-core" / "axe.min.js").read_text()
    world = page.context.new_cdp_session(page)
    frame = world.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
    made = world.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})
    where = {"contextId": made["executionContextId"], "awaitPromise": True, "returnByValue": True}
    world.send("Runtime.evaluate", {"expression": axe, **where})
    asked = "axe.run().then((found) => found.violations.map((one) => [one.id, one.nodes[0].html]))"
    found = world.send("Runtime.evaluate", {"expression": asked, **where})
    assert found["result"]["value"] == [], found
