"""The page as people meet it: real broker, admin and Chromium, and no reload after the first look."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ViewportSize, expect

from bench.talking import Talking
from tenure.contract.messages import Register
from tenure.contract.vocabulary import OnConflict, ServiceRole
from tenure.sdk import Registration, ServiceClient
from tests.browser.people import Person
from tests.integration.admins import admin_of
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, SHORT_LEASE_MS, BrokerHere

PHONE = ViewportSize(width=360, height=800)
_LETTER_PX = 12
_RECORD_HEALTH = """() => {
  window.seen = [];
  const look = () => seen.push(document.querySelector("tbody td:last-child").textContent);
  new MutationObserver(look).observe(document.querySelector("tbody"), { childList: true, subtree: true });
}"""
"""Keeps what the first row has ever said of its health, however short."""


class Contenders:
    """Clients of the broker that want roles."""

    def __init__(self, broker: BrokerHere, stack: AsyncExitStack) -> None:
        self._broker = broker
        self._stack = stack

    async def come(
        self, instance_id: str, resource_id: str = "acct", *, service_name: str = "gateway"
    ) -> tuple[ServiceClient, Registration]:
        """Another one comes, and is active if nobody is."""
        client = await self.connect()
        registration = await client.register(
            service_name, instance_id=instance_id, resource_id=resource_id, role="active", on_conflict="standby"
        )
        return client, registration

    async def connect(self) -> ServiceClient:
        """A client with nothing registered yet."""
        return await self._stack.enter_async_context(ServiceClient(self._broker.ipc, lease_ms=LONG_LEASE_MS))


@pytest.fixture
async def contenders(broker: BrokerHere) -> AsyncIterator[Contenders]:
    """Nobody yet."""
    async with AsyncExitStack() as stack:
        yield Contenders(broker, stack)


async def test_a_failover_appears_without_a_reload(person: Person, broker: BrokerHere, contenders: Contenders) -> None:
    """Whoever looks on sees a new resource come, and the next one take over when the active one's process is killed.

    How soon is measured by `python -m bench watched`.
    """
    with Talking([sys.executable, "-m", "bench.crowd", broker.ipc, "first", "1"]) as process:
        await asyncio.to_thread(process.words, "all")
        await contenders.come("gw-2", "role-0")
        row = person.row("role-0")
        await expect(row.locator("td").first).to_have_text("bench/first")
        await expect(row.get_by_role("listitem")).to_have_text("gateway/gw-2")
        process.send(signal.SIGKILL)
        await expect(row.locator("td").first).to_have_text("gateway/gw-2")
        await expect(row).to_contain_text("no standby ready")
        await expect(person.page.locator("#announce")).to_have_text("gateway/gw-2 is active for role-0")


async def test_what_nobody_is_active_for_is_seen_first(person: Person, contenders: Contenders) -> None:
    """It stands on top, is counted, can be shown alone, and is in the title of the tab."""
    await contenders.come("gw-1", "a-fine-one")
    await (await contenders.connect()).register("gateway", instance_id="gw-9", resource_id="zz-vacant")
    await expect(person.page.get_by_role("row").nth(1)).to_contain_text("zz-vacant")
    await expect(person.page).to_have_title("▲ 1 with nobody active | Tenure")
    await person.page.get_by_role("button", name="nobody active").click()
    await expect(person.page.locator("#count")).to_have_text("1 of 2 resources")


async def test_what_everybody_has_left_stays_in_sight(
    person: Person, broker: BrokerHere, contenders: Contenders
) -> None:
    """★ The one that there was is killed: its row is red and on top, says who was lost, and leads to its past."""
    await contenders.come("gw-1", "a-fine-one")
    silent = await _over_tcp(broker, "gw-2", "zz-lost")
    _fall_silent(silent)
    row = person.row("zz-lost")
    await expect(person.page.get_by_role("row").nth(1)).to_contain_text("zz-lost")
    await expect(row).to_contain_text("gateway/gw-2 was lost: expired")
    await expect(person.page).to_have_title("▲ 1 with nobody active | Tenure")
    await silent.close()
    await _check_with_axe(person)
    await person.look_at("zz-lost")
    await expect(person.page.locator(".note")).to_contain_text("gateway/gw-2 was lost (expired")
    await expect(person.page.locator(".timeline .lane")).to_have_count(1)
    await expect(person.page.get_by_role("button", name="Pause failover")).to_have_count(0)
    back, _ = await contenders.come("gw-3", "zz-lost")
    await expect(person.page.locator(".line .active")).to_contain_text("gateway/gw-3")
    await back.close()
    await expect(person.page.locator(".note")).to_contain_text("Nobody is registered for this resource any longer")
    await expect(person.page.locator(".timeline .lane")).to_have_count(2)


async def test_a_switchover_by_button(person: Person, contenders: Contenders) -> None:
    """It says what will happen, asks for a name and the token, and the role moves to whom was chosen."""
    _, active = await contenders.come("gw-1")
    for instance_id in ("gw-2", "gw-3"):
        await contenders.come(instance_id)
    await person.look_at("acct")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_step_down_when_asked(active))
        await person.page.get_by_role("button", name="Move the role").click()
        await expect(person.page.get_by_role("dialog")).to_contain_text("At no moment are two active")
        await person.page.get_by_label("Who takes over").select_option(label="gateway/gw-3")
        await person.confirm("Move the role")
    await expect(person.page.locator(".line .active")).to_contain_text("gateway/gw-3")
    move = person.page.locator(".moves > li").first
    await expect(move).to_contain_text("gateway/gw-1 → gateway/gw-3")
    await expect(move).to_contain_text("as ada")


async def test_what_nobody_knows_is_drawn_as_such(person: Person, broker: BrokerHere, contenders: Contenders) -> None:
    """★ After its last heartbeat nobody knows whether a holder was active still: hatched, and in words."""
    silent = await _over_tcp(broker, "gw-1", "acct")
    _, standby = await contenders.come("gw-2")
    _fall_silent(silent)
    await asyncio.wait_for(standby.wait_active(), PATIENCE_S)
    await silent.close()
    await person.look_at("acct")
    picture = person.page.get_by_role("img", name="whether the active one still was is not known 1 time,")
    await expect(picture.locator("rect.unsure")).to_have_count(1)
    await expect(picture.locator("rect.unsure title")).to_contain_text("perhaps still active: gateway/gw-1")
    await expect(person.page.get_by_text("Hatched: perhaps still active.")).to_be_visible()
    await person.page.get_by_text("newest tenures as a table").click()
    await expect(person.page.locator("details tbody tr").nth(1)).to_contain_text("at most")
    gap = person.page.locator(".moves > li .badge").first
    await expect(gap).to_have_text(re.compile(r"^nobody for at least .* ms, at most .*s$"))
    await _check_with_axe(person)


async def test_a_pause_by_button(person: Person, contenders: Contenders) -> None:
    """While it is paused nobody takes over, and the page says why; when it ends, the next in line does."""
    first, _ = await contenders.come("gw-1")
    await contenders.come("gw-2")
    await person.look_at("acct")
    await person.page.get_by_role("button", name="Pause failover").click()
    await person.page.get_by_label("Why").fill("the exchange is closed")
    await person.confirm("Pause failover")
    await expect(person.page.locator(".note")).to_contain_text("the exchange is closed")
    await first.close()
    await expect(person.page.locator(".line .nobody")).to_be_visible()
    await person.page.get_by_role("button", name="Resume failover").click()
    await person.confirm("Resume failover")
    await expect(person.page.locator(".line .active")).to_contain_text("gw-2")


async def test_a_wrong_token_is_asked_for_again(person: Person, contenders: Contenders) -> None:
    """Nothing changes without it, and what was filled in is kept."""
    await contenders.come("gw-1")
    await person.look_at("acct")
    await person.page.get_by_role("button", name="Pause failover").click()
    await person.page.get_by_label("Why").fill("a test")
    right, person.token = person.token, "wrong"
    await person.confirm("Pause failover", closes=False)
    dialog = person.page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_have_text("That is not the token.")
    await dialog.get_by_label("Token", exact=True).fill(right)
    await dialog.get_by_role("button", name="Go on").click()
    await expect(person.page.locator(".note")).to_contain_text("a test")


async def test_a_broker_that_is_away_is_never_shown_as_live(
    person: Person, broker: BrokerHere, contenders: Contenders
) -> None:
    """What was known stays, marked as such, and becomes live again by itself."""
    await contenders.come("gw-1")
    await expect(person.row("acct")).to_contain_text("gw-1")
    await broker.stop()
    await expect(person.connection).to_contain_text("No broker")
    await expect(person.page.get_by_role("alert")).to_contain_text("What you see is what was known then")
    await expect(person.page).to_have_title("✕ not live | Tenure")
    await expect(person.row("acct")).to_contain_text("gw-1")
    await broker.start()
    await expect(person.connection).to_have_text("Live")
    await expect(person.page.get_by_role("alert")).to_be_hidden()


async def test_an_admin_that_is_away_is_told(chromium: Browser, broker: BrokerHere, tmp_path: Path) -> None:
    """The page cannot know anything then, and says so."""
    async with admin_of(broker.ipc, tmp_path) as client:
        person = Person(await chromium.new_page(), str(client.base_url), "")
        await person.open()
    await expect(person.connection).to_contain_text("Not connected")


async def test_five_thousand_resources(person: Person, contenders: Contenders) -> None:
    """All are counted, few are drawn, and a search finds one of them."""
    client = await contenders.connect()
    for first in range(0, 5_000, 1_000):
        await client.register_many(
            Register(
                service_name=f"gateway-{number % 7}",
                instance_id="gw-1",
                resource_id=f"account-{number:04}",
                role=ServiceRole.ACTIVE,
                on_conflict=OnConflict.STANDBY,
            )
            for number in range(first, first + 1_000)
        )
    await expect(person.page.locator("#count")).to_have_text("5,000 resources")
    assert await person.page.locator("tbody tr").count() <= 1_000
    await person.page.keyboard.press("/")
    await person.page.keyboard.type("account-4321")
    await expect(person.page.locator("#count")).to_have_text("1 of 5,000 resources")
    await person.page.get_by_label("Search").fill("")
    await person.page.get_by_label("Service").select_option("gateway-3")
    await expect(person.page.locator("#count")).to_have_text("714 of 5,000 resources")


async def test_names_are_never_taken_for_markup(person: Person, contenders: Contenders) -> None:
    """Whoever registers chooses the names; the page shows them as they are."""
    name = "<img src=x onerror=alert(1)>"
    await contenders.come(name, name)
    await person.look_at(name)
    await expect(person.page.get_by_role("heading", level=1)).to_have_text(name)
    assert await person.page.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_it(person: Person, contenders: Contenders, scheme: Literal["light", "dark"]) -> None:
    """Axe finds nothing in the table, in a resource's view and in a dialog, light or dark."""
    await person.page.emulate_media(color_scheme=scheme)
    for instance_id in ("gw-1", "gw-2"):
        await contenders.come(instance_id)
    await expect(person.row("acct")).to_contain_text("gw-1")
    await _check_with_axe(person)
    await person.look_at("acct")
    await _check_with_axe(person)
    await person.page.get_by_role("button", name="Pause failover").click()
    await _check_with_axe(person)


@pytest.mark.parametrize("address", ["#%E0%A4%A", "#/resources/%E0%A4%A", "#/resources/"])
async def test_an_address_that_names_nothing_shows_the_table(
    person: Person, contenders: Contenders, address: str
) -> None:
    """Also one that is no text at all; and a name that nobody has is said to be none."""
    await contenders.come("gw-1")
    await person.open(f"/{address}")
    await expect(person.row("acct")).to_contain_text("gateway/gw-1")
    await person.open("/#/resources/nobody-has-it")
    await expect(person.page.locator(".note")).to_contain_text("Nobody is registered for this resource")


async def test_equal_names_in_two_services_are_told_apart(person: Person, contenders: Contenders) -> None:
    """In the table, in the line of succession, in the picture of the past and in the moves."""
    first, _ = await contenders.come("one")
    await contenders.come("one", service_name="shadow")
    row = person.row("acct")
    await expect(row.locator("td").first).to_have_text("gateway/one")
    await expect(row.get_by_role("listitem")).to_have_text("shadow/one")
    await person.look_at("acct")
    await expect(person.page.locator(".line li b")).to_have_text(["gateway/one", "shadow/one"])
    await first.close()
    await expect(person.page.locator(".line li b")).to_have_text(["shadow/one"])
    await expect(person.page.locator(".timeline .lane")).to_have_count(2)
    await expect(person.page.locator(".moves > li b").first).to_have_text("gateway/one → shadow/one")


async def test_the_tab_names_the_resource_and_its_state(person: Person, contenders: Contenders) -> None:
    """For whoever looks at another tab: who is active, or that nobody is."""
    first, _ = await contenders.come("gw-1")
    await contenders.come("gw-2")
    await person.look_at("acct")
    await expect(person.page).to_have_title("acct: gateway/gw-1 | Tenure")
    await person.page.keyboard.press("Escape")
    await expect(person.page).to_have_title("Tenure")
    await person.look_at("acct")
    await first.close()
    await expect(person.page).to_have_title("acct: gateway/gw-2 | Tenure")


async def test_a_role_that_moves_is_no_alarm(person: Person, contenders: Contenders) -> None:
    """While nobody is active for a moment the table says that it moves, and is red only once that lasts."""
    _, active = await contenders.come("gw-1")
    row = person.row("acct")
    await expect(row.locator("td").first).to_have_text("gateway/gw-1")
    await person.page.evaluate(_RECORD_HEALTH)
    await active.resign()
    await expect(row.locator("td").last).to_contain_text("nobody active")
    seen: list[str] = await person.page.evaluate("() => seen")
    assert [text.split()[0] for text in dict.fromkeys(seen)] == ["moving", "nobody"], seen


async def test_a_resource_of_which_the_broker_knows_more(
    person: Person, broker: BrokerHere, contenders: Contenders
) -> None:
    """While it is away what was known stays; the past of another one is not claimed to be empty, and comes with it."""
    for resource_id in ("acct", "other"):
        await contenders.come("gw-1", resource_id)
    await person.look_at("acct")
    await expect(person.page.locator(".timeline .held")).to_have_count(1)
    await broker.stop()
    await expect(person.page).to_have_title("✕ not live | acct: gateway/gw-1 | Tenure")
    await expect(person.page.locator(".line .active")).to_contain_text("gateway/gw-1")
    await expect(person.page.locator(".timeline .held")).to_have_count(1)
    await person.page.goto(f"{person.url}/#/resources/other")
    await expect(person.page.get_by_role("heading", level=1)).to_have_text("other")
    await expect(person.page.get_by_role("alert")).to_contain_text("What you see is what was known then")
    await expect(person.page.get_by_text("Only the broker knows that")).to_be_visible()
    await broker.start()
    await expect(person.connection).to_have_text("Live")
    await expect(person.page.locator(".timeline .held")).to_have_count(1)


async def test_it_fits_a_phone_and_a_keyboard(person: Person, contenders: Contenders) -> None:
    """Nothing is wider than a phone or too small to be read, and no mouse is needed to see a resource and come back."""
    await person.page.set_viewport_size(PHONE)
    await contenders.come("gw-1", "a-resource-with-a-name-that-is-longer-than-a-phone-is-wide-" + "x" * 60)
    link = person.page.locator("tbody a")
    await link.focus()
    await person.page.keyboard.press("Enter")
    letters = await person.page.locator(".timeline text").first.bounding_box()
    assert letters is not None
    assert letters["height"] >= _LETTER_PX
    assert await person.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await person.page.keyboard.press("Escape")
    await expect(link).to_be_visible()
    assert await person.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def _step_down_when_asked(registration: Registration) -> None:
    await (await registration.wait_active()).wait_asked_to_end()
    await registration.resign()


async def _over_tcp(broker: BrokerHere, instance_id: str, resource_id: str) -> ServiceClient:
    """A client that is active, and whose end is no proof."""
    client = ServiceClient(broker.tcp, lease_ms=SHORT_LEASE_MS)
    await client.open()
    await client.register("gateway", instance_id=instance_id, resource_id=resource_id, role="active")
    return client


def _fall_silent(client: ServiceClient) -> None:
    session = client._session  # pyright: ignore[reportPrivateUsage]
    assert session is not None
    session._thread.stop()  # pyright: ignore[reportPrivateUsage]


async def _check_with_axe(person: Person) -> None:
    found = await Axe().run(person.page)
    assert found.violations_count == 0, found.generate_report()
