"""The page in a real browser. Needs Playwright and a Chromium: found on the PATH, or named by
CHROMIUM; skipped where there is none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from timewright.cli.loopback import Loopback
from timewright.core.state import Health

from tests.api.conftest import Desk
from tests.api.test_page import dashboard
from tests.e2e.specs import greeter

playwright = pytest.importorskip("playwright.async_api")
expect = playwright.expect

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs a Chromium (CHROMIUM)")

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202eevil"
Page = Any


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A browser's page. A fault of the page's own code fails the test, and so does a breach of its CSP."""
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--headless=shell", "--disable-gpu"]
        )
        made = await browser.new_page(viewport={"width": 1280, "height": 800})
        made.set_default_timeout(10_000)
        faults: list[str] = []
        made.on("pageerror", lambda error: faults.append(str(error)))
        made.on("console", lambda said: faults.append(said.text) if "Policy" in said.text else None)
        yield made
        await browser.close()
        assert faults == []


@pytest.fixture
async def two(desk: Desk) -> Desk:
    """`one` has had two releases and `two` can't be read."""
    for word in ("x", "y"):
        desk.bench.put("one", word)
        await desk.bench.settle()
    (desk.bench.specs / "two.json").write_text(json.dumps({"workflowId": "two", "success": True}))
    await desk.bench.settle()
    return desk


async def enter(page: Page, desk: Desk, role: str = "admin", where: str = "/") -> None:
    await page.goto(f"http://127.0.0.1:{desk.port}{where}")
    await page.get_by_label("Token").fill(desk.token(role))
    await page.get_by_role("button", name="Show me").click()
    await expect(page.locator("#live")).to_have_text("live")


def row(page: Page, workflow_id: str) -> Any:
    return page.locator(f'[data-key="w:{workflow_id}"]')


async def test_a_token_opens_the_page_and_is_kept_in_its_tab_alone(two: Desk, page: Page) -> None:
    await page.goto(f"http://127.0.0.1:{two.port}/")
    await expect(page.get_by_label("Token")).to_be_focused()
    await page.get_by_label("Token").fill("tw_wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("#door-why")).to_contain_text("this takes a valid token")
    await page.get_by_label("Token").fill(two.token("viewer"))
    await page.keyboard.press("Enter")
    await expect(row(page, "one")).to_contain_text("DEPLOYED")
    assert "tw_" not in page.url
    assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    await page.reload()
    await expect(row(page, "one")).to_contain_text("DEPLOYED")
    await page.get_by_role("button", name="Forget the token").click()
    await expect(page.locator("#workflows")).to_have_count(0)
    assert await page.evaluate("sessionStorage.length") == 0


async def test_what_is_wrong_comes_first_with_what_to_do(two: Desk, page: Page) -> None:
    await enter(page, two)
    await expect(page.locator("#workflows tbody tr").first).to_contain_text("two")
    await expect(row(page, "two")).to_contain_text("DEPLOYMENT_FAILED")
    await expect(row(page, "two")).to_contain_text("timewright show two")
    await expect(page.locator("#counts")).to_contain_text("1 DEPLOYED")


async def test_the_page_is_live(two: Desk, page: Page) -> None:
    await enter(page, two)
    two.bench.put("three", "x")
    await two.bench.settle()
    await expect(row(page, "three")).to_contain_text("DEPLOYED")
    await expect(page.locator("#said")).to_contain_text("three: DEPLOYED")


async def test_focus_stays_where_it_is_when_something_happens(two: Desk, page: Page) -> None:
    await enter(page, two)
    link = page.get_by_role("link", name="one", exact=True)
    await link.focus()
    two.bench.put("aaa", "x")
    await two.bench.settle()
    await expect(row(page, "aaa")).to_contain_text("DEPLOYED")
    await expect(link).to_be_focused()


async def test_names_and_reasons_that_are_code_stay_text(two: Desk, page: Page) -> None:
    spec = {**greeter("bad", "x"), "name": HOSTILE}
    (two.bench.specs / "bad.json").write_text(json.dumps(spec))
    (two.bench.specs / "<b onclick=alert(1)>.json").write_text("{}")
    await two.bench.settle()
    await two.unix().post("/api/v1/workflows/bad/suspend", json={"reason": HOSTILE})
    await two.unix().post("/api/v1/suspend", json={"reason": HOSTILE})
    two.bench.world.set_health("bad", Health.DEGRADED, HOSTILE)
    await enter(page, two)
    shown = HOSTILE.replace("\u202e", "�")
    await expect(row(page, "bad")).to_contain_text(shown)
    await expect(page.locator("#banners")).to_contain_text(shown)
    await expect(page.locator("#banners")).to_contain_text("<b onclick=alert(1)>.json")
    await page.get_by_role("link", name="bad", exact=True).click()
    await expect(page.locator("#view dl")).to_contain_text(shown)
    await expect(page.locator("#log")).to_contain_text("suspend")
    assert await page.locator("img, main script, b").count() == 0
    assert await page.title() == "bad – timewright"


async def test_a_rollback_by_clicking(two: Desk, page: Page) -> None:
    await enter(page, two, "deployer", "/#/w/one")
    before = two.bench.world.record("one")
    await page.get_by_role("button", name=f"Go back to {before.previous[:12]}…").click()
    await expect(page.get_by_label("Why")).to_be_focused()
    await page.keyboard.type("y is broken")
    await page.get_by_role("button", name="Roll back", exact=True).click()
    await expect(page.locator("#told")).to_contain_text("✓ rollback one")
    await expect(page.locator("#notes")).to_contain_text("rolled back")
    assert two.bench.world.record("one").applied == before.previous
    audited = two.bench.world.state.desk.audited()[-1]
    assert (audited.verb, audited.outcome) == ("rollback", "ok")
    await expect(page.locator("#history tbody tr").first).to_contain_text("y is broken")


async def test_a_refusal_is_told_and_may_be_overridden(two: Desk, page: Page) -> None:
    await enter(page, two, where="/#/w/one")
    await page.get_by_role("button", name="Deploy…").click()
    await page.get_by_role("button", name="Deploy", exact=True).click()
    await expect(page.locator("#ask-refused")).to_contain_text("Refused")
    await page.get_by_label("Do it all the same").check()
    await page.get_by_role("button", name="Deploy", exact=True).click()
    await expect(page.locator("#told")).to_contain_text("✓ deploy one")


async def test_suspending_and_resuming_everything(two: Desk, page: Page) -> None:
    await enter(page, two)
    await page.get_by_role("button", name="Suspend all…").click()
    await page.get_by_label("For how long").select_option("7200")
    await page.get_by_label("Why").fill("a freeze")
    await page.get_by_role("button", name="Suspend", exact=True).click()
    await expect(page.locator("#banners")).to_contain_text("All workflows are suspended")
    await expect(page.locator("#banners")).to_contain_text("a freeze")
    await page.get_by_role("button", name="Resume all…").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Resume all…")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Resume", exact=True).click()
    await expect(page.locator("#banners")).not_to_contain_text("All workflows are suspended")


async def test_a_viewer_is_told_once_and_then_not_offered_it(two: Desk, page: Page) -> None:
    await enter(page, two, "viewer", "/#/w/one")
    await page.get_by_role("button", name="Suspend…").click()
    await page.get_by_role("button", name="Suspend", exact=True).click()
    await expect(page.locator("#ask-refused")).to_contain_text("this takes a deployer")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#view")).to_contain_text("may look and not change")
    assert await page.locator("button[data-do]:visible").count() == 0


async def test_a_revoked_token_closes_the_page(two: Desk, page: Page) -> None:
    await enter(page, two)
    two.tokens.revoke(two.tokens.all()[0].name)
    two.bench.put("three", "x")
    await two.bench.settle()
    await expect(page.get_by_label("Token")).to_be_visible()
    await expect(page.locator("#workflows")).to_have_count(0)


async def test_a_daemon_that_is_away_is_told_and_what_happened_meanwhile_is_not_lost(
    two: Desk, page: Page
) -> None:
    await enter(page, two)
    listen = f"127.0.0.1:{two.port}"
    await two.server.stop()
    await expect(page.locator("#banners")).to_contain_text("The daemon doesn't answer")
    await expect(row(page, "one")).to_contain_text("DEPLOYED")
    two.bench.put("three", "x")
    await two.bench.settle()
    config = replace(two.server.config, api=replace(two.server.config.api, listen=listen))
    two.server = type(two.server)(two.control, config)
    await two.server.start()
    await expect(row(page, "three")).to_contain_text("DEPLOYED", timeout=15_000)
    await expect(page.locator("#banners")).not_to_contain_text("doesn't answer")


async def test_a_source_that_cant_be_read_is_told(two: Desk, page: Page) -> None:
    two.bench.specs.rename(two.bench.specs.parent / "gone")
    await two.bench.settle()
    await enter(page, two)
    await expect(page.locator("#banners")).to_contain_text("The source can't be read completely")


async def test_the_dashboard_needs_no_token_and_its_address_works_once(two: Desk, page: Page) -> None:
    async with dashboard(two.bench.world.config.api_socket) as (served, _):
        await page.goto(f"{served.address}/#once={served.secret}")
        await expect(row(page, "one")).to_contain_text("DEPLOYED")
        assert served.secret not in page.url
        await page.get_by_role("button", name="Suspend all…").click()
        await page.get_by_role("button", name="Suspend", exact=True).click()
        await expect(page.locator("#banners")).to_contain_text("All workflows are suspended")
        await second_visit(page, served)


async def second_visit(page: Page, served: Loopback) -> None:
    other = await page.context.browser.new_page()
    await other.goto(f"{served.address}/#once={served.secret}")
    await expect(other.locator("#door-why")).to_contain_text("was used already")
    await other.close()


async def test_the_page_fits_a_phone(two: Desk, page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    for where in ("/", "/#/w/one", "/#/w/two"):
        if where == "/":
            await enter(page, two)
        else:
            await page.goto(f"http://127.0.0.1:{two.port}{where}")
            await expect(page.locator("#detail")).to_be_visible()
        wide, room = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, where


async def test_versions_are_shown_and_a_rollout_is_steered(two: Desk, page: Page) -> None:
    """The rollout itself is scripted: tests/e2e has real ones."""
    asked: list[Any] = []
    state = {
        "workflowId": "one",
        "namespace": "default",
        "taskQueue": "one",
        "deployment": "one",
        "versioned": True,
        "manager": "timewright",
        "problem": "",
        "rollout": {
            "id": "x",
            "buildId": "bbbbbbbbbbbb",
            "from": "aaaaaaaaaaaa",
            "phase": "paused",
            "step": 0,
            "strategy": "Progressive",
            "percent": 25,
            "nextAt": None,
            "startedAt": None,
            "endedAt": None,
            "steps": [{"rampPercentage": 25, "pauseS": 60, "gate": True}],
            "because": f"gate smoke failed: {HOSTILE}",
            "hosts": {"expected": [], "arrived": ["alpha"]},
            "workflows": ["one"],
            "guilty": ["one"],
        },
        "versions": [
            {
                "buildId": build,
                "status": status,
                "percent": percent,
                "releases": {},
                "open": 3,
                "pollers": {"alpha": 1},
                "since": None,
                "served": True,
            }
            for build, status, percent in (("bbbbbbbbbbbb", "Ramping", 25), ("aaaaaaaaaaaa", "Current", 75))
        ],
    }

    async def answer(route: Any) -> None:
        if route.request.method == "GET":
            await route.fulfill(json=state)
            return
        asked.append(route.request.post_data_json)
        operation = {
            "id": "1",
            "kind": "promote",
            "workflowId": "one",
            "state": "succeeded",
            "because": "told",
        }
        await route.fulfill(json=operation, status=202)

    await page.route("**/api/v1/workflows/one/rollout", answer)
    await enter(page, two, where="/#/w/one")
    await expect(page.locator("#versions tbody tr").first).to_contain_text("aaaaaaaaaaaa")
    await expect(page.locator("#versions")).to_contain_text("75 %")
    await expect(page.locator("#rollout")).to_contain_text("its gate has failed; waits for a person")
    await expect(page.locator("#versions")).to_contain_text("gate smoke failed")
    assert await page.title() == "one – timewright"
    await page.get_by_role("button", name="Promote…").click()
    await page.get_by_label("Why").fill("go on")
    await page.get_by_role("button", name="Promote", exact=True).click()
    await expect(page.locator("#told")).to_contain_text("promote one: told")
    assert asked == [{"reason": "go on", "action": "promote"}]
    await expect(page.get_by_role("button", name="Run the gate again…")).to_be_visible()
    if shots := os.environ.get("SHOTS"):
        await page.screenshot(path=f"{shots}/rollout.png", full_page=True)
