"""A rollout on the page, in a real browser. What the API says of it is made up; the rest is live."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.api.conftest import Desk
from tests.api.test_page_browser import BROWSER, HOSTILE, Page, enter, expect, page, two
from tests.cli.test_rollout import state, version

__all__ = ["page", "two"]  # fixtures
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs a Chromium (CHROMIUM)")

View = dict[str, Any]


class Told:
    """The rollout's endpoint: what it shows (or a refusal), and what it was asked for."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.status = 200
        self.refusal: View | None = None
        self.asked: list[View] = []

    async def serve(self, page: Page) -> None:
        await page.route("**/workflows/one/rollout", self._answer)

    async def _answer(self, route: Any) -> None:
        if route.request.method == "GET":
            await route.fulfill(status=self.status, json=self.view)
            return
        self.asked.append(json.loads(route.request.post_data))
        if self.refusal is not None:
            await route.fulfill(status=self.refusal["status"], json=self.refusal)
            return
        action = self.asked[-1]["action"]
        done = {"id": "op1", "kind": action, "workflowId": "one", "state": "succeeded"}
        await route.fulfill(status=200, json={**done, "because": f"the rollout was told: {action}"})


async def opened(page: Page, desk: Desk, view: View, role: str = "deployer") -> Told:
    told = Told(view)
    await told.serve(page)
    await enter(page, desk, role, "/#/w/one")
    return told


async def test_the_page_shows_shares_steps_hosts_and_open_executions(two: Desk, page: Page) -> None:
    await opened(page, two, state())
    part = page.locator("#versions")
    await expect(page.locator("#rollout")).to_contain_text("Version bbbbbbbbbbbb (before: aaaaaaaaaaaa)")
    await expect(page.locator("#rollout")).to_contain_text("serves its share, and is watched")
    await expect(part).to_contain_text("Not yet served by beta")
    await expect(part.locator("li").first).to_contain_text("5 % for 1m")
    await expect(part.locator("li[aria-current=step]")).to_contain_text("50 % for 1h, then its gate")
    new = part.locator('[data-key="v:bbbbbbbbbbbb"]')
    for text in ("Ramping", "50 %", "alpha", "3", "hello 7cc54c69e260"):
        await expect(new).to_contain_text(text)
    assert await new.locator("meter").get_attribute("value") == "50"


async def test_the_page_follows_a_rollout_to_its_end(two: Desk, page: Page) -> None:
    told = await opened(page, two, state())
    await expect(page.get_by_role("button", name="Abort…")).to_be_visible()
    told.view = state("rolledBack", because="gate smoke failed: no", guilty=["one"])
    await expect(page.locator("#rollout")).to_contain_text("was taken back")
    await expect(page.locator("#versions")).to_contain_text("It failed for one")
    await expect(page.get_by_role("button", name="Abort…")).to_have_count(0)


@pytest.mark.parametrize(
    ("phase", "button", "yes", "says", "body"),
    [
        ("pausing", "Promote…", "Promote", "runs its gate, and if that passes", {"action": "promote"}),
        ("waiting", "Promote…", "Promote", "without the hosts", {"action": "promote"}),
        ("manual", "Promote…", "Promote", "all new executions", {"action": "promote"}),
        (
            *("manual", "Promote to all…", "Promote to all", "past all steps"),
            {"action": "promote", "full": True},
        ),
        ("paused", "Promote…", "Promote", "takes the gate that has failed for passed", {"action": "promote"}),
        ("paused", "Run the gate again…", "Run the gate again", "once more", {"action": "retry-gate"}),
        ("held", "Abort…", "Abort", "to the version before, at once", {"action": "abort"}),
    ],
)
async def test_a_rollout_is_steered_by_clicking(
    two: Desk, page: Page, phase: str, button: str, yes: str, says: str, body: View
) -> None:
    told = await opened(page, two, state(phase))
    await page.get_by_role("button", name=button, exact=True).click()
    await expect(page.locator("#ask-what")).to_contain_text(says)
    await page.keyboard.type("at night")
    await page.get_by_role("button", name=yes, exact=True).click()
    await expect(page.locator("#told")).to_contain_text(f"✓ {body['action']} one")
    assert told.asked == [{**body, "reason": "at night"}]


async def test_only_what_means_something_now_is_offered(two: Desk, page: Page) -> None:
    told = await opened(page, two, state("gate"))
    buttons = page.locator("#versions button")
    for phase, offered in {
        "gate": ["Abort…"],
        "waiting": ["Promote…", "Abort…"],
        "paused": ["Run the gate again…", "Promote…", "Abort…"],
        "manual": ["Promote…", "Promote to all…", "Abort…"],
        "held": ["Abort…"],
        "promoted": [],
    }.items():
        told.view = state(phase)
        await expect(buttons).to_have_text(offered)


async def test_who_may_not_steer_this_rollout_may_still_change_the_workflow(two: Desk, page: Page) -> None:
    told = await opened(page, two, state())
    detail = "this rollout changes workflows of others, too"
    told.refusal = {"status": 403, "code": "FORBIDDEN", "detail": detail}
    await page.get_by_role("button", name="Abort…").click()
    await page.get_by_role("button", name="Abort", exact=True).click()
    await expect(page.locator("#ask-refused")).to_contain_text("workflows of others")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Abort…")).to_have_count(0)
    await expect(page.get_by_role("button", name="Suspend…")).to_be_visible()


async def test_of_hundreds_of_versions_the_page_shows_ten_and_a_count(two: Desk, page: Page) -> None:
    view = state("promoted")
    view["versions"] += [version(f"{n:012d}", "Drained", 0) for n in range(200)]
    await opened(page, two, view)
    await expect(page.locator("#versions tbody tr")).to_have_count(10)
    await expect(page.locator("#versions caption")).to_contain_text("192 older")


async def test_temporal_away_is_told_and_a_pool_without_versions_shows_none(two: Desk, page: Page) -> None:
    told = await opened(page, two, {**state(), "problem": "nobody answers"})
    await expect(page.locator("#versions")).to_contain_text("Temporal can't be asked now: nobody answers")
    told.view = {**state(), "versioned": False, "rollout": None, "versions": []}
    await expect(page.locator("#versions")).to_have_count(0)
    await expect(page.locator("#history")).to_be_visible()


async def test_the_page_waits_for_no_temporal_and_goes_without_versions(two: Desk, page: Page) -> None:
    asked = asyncio.Event()
    answers = asyncio.Event()

    async def late(route: Any) -> None:
        asked.set()
        await answers.wait()
        await route.fulfill(status=500, json={"code": "INTERNAL", "detail": "it broke"})

    await page.route("**/workflows/one/rollout", late)
    await enter(page, two, where="/#/w/one")
    await asked.wait()
    await expect(page.locator("#history")).to_be_visible()
    answers.set()
    await expect(page.locator("#versions")).to_contain_text("They can't be shown: it broke")
    await expect(page.locator("#history")).to_be_visible()


async def test_a_viewer_sees_a_rollout_and_steers_it_no_more_once_refused(two: Desk, page: Page) -> None:
    told = await opened(page, two, state(), "viewer")
    told.refusal = {"status": 403, "code": "FORBIDDEN", "detail": "this takes a deployer"}
    await page.get_by_role("button", name="Promote…", exact=True).click()
    await page.get_by_role("button", name="Promote", exact=True).click()
    await expect(page.locator("#ask-refused")).to_contain_text("this takes a deployer")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#rollout")).to_be_visible()
    await expect(page.locator("#versions button")).to_have_count(0)


async def test_what_a_rollout_says_stays_text(two: Desk, page: Page) -> None:
    view = {**state("held", because=HOSTILE, guilty=[HOSTILE]), "manager": HOSTILE}
    view["versions"][0] |= {"pollers": {HOSTILE: 1}, "releases": {HOSTILE: "x"}, "status": HOSTILE}
    await opened(page, two, view)
    await expect(page.locator("#versions")).to_contain_text("managed by <img src=x")
    assert await page.locator("img, main script, b").count() == 0
    assert await page.title() == "one – timewright"


async def test_a_rollout_fits_a_phone(two: Desk, page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await opened(page, two, state("paused", because="gate smoke failed: " + "x" * 200))
    await expect(page.locator("#versions table")).to_be_visible()
    wide, room = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room
