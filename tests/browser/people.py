"""Somebody at the page: what they see and what they do, by the words and roles that the page gives to everybody."""

from __future__ import annotations

from typing import Final

from playwright.async_api import Dialog, Locator, Page, expect

PATIENCE_MS: Final = 30_000
"""How long somebody waits for what has to come."""
expect.set_options(timeout=PATIENCE_MS)


class Person:
    """Somebody with the page before them, who may know the token."""

    def __init__(self, page: Page, url: str, token: str) -> None:
        self.page = page
        self.url = url
        self.token = token
        self.errors: list[str] = []
        """What scripts of the page threw or the browser refused them; and dialogs that only a script could open."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._refuse)

    async def open(self, path: str = "/") -> None:
        """Open the page, and wait until it is live."""
        await self.page.goto(self.url + path)
        await expect(self.connection).to_have_text("Live")

    @property
    def connection(self) -> Locator:
        """What the page says of its connection."""
        return self.page.locator("#connection")

    def row(self, resource_id: str) -> Locator:
        """A resource's row in the table."""
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("link", name=resource_id, exact=True))

    async def look_at(self, resource_id: str) -> None:
        """Open a resource's own view."""
        await self.page.get_by_role("link", name=resource_id, exact=True).click()
        await expect(self.page.get_by_role("heading", name="Who was active when")).to_be_visible()

    async def confirm(self, button: str, *, closes: bool = True) -> None:
        """Sign the open dialog with a name and confirm it; the token is given if it is asked for."""
        dialog = self.page.get_by_role("dialog")
        await dialog.get_by_label("Your name, for the record").fill("ada")
        await dialog.get_by_role("button", name=button, exact=True).click()
        token = dialog.get_by_label("Token", exact=True)
        await expect(token.or_(self.page.locator("dialog:not([open])"))).to_have_count(1)
        if await token.count():
            await token.fill(self.token)
            await dialog.get_by_role("button", name="Go on").click()
        if closes:
            await expect(self.page.locator("dialog")).not_to_have_attribute("open", "")

    async def _refuse(self, dialog: Dialog) -> None:
        self.errors.append(f"a script opened a dialog: {dialog.message}")
        await dialog.dismiss()
