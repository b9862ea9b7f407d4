"""`tenure history`, `pause` and `resume` beside a real broker and instances: what they print, change and return."""

from __future__ import annotations

import json

from tests.integration.cli_stage import Stage


async def test_the_history_of_a_role_is_told_from_the_store(stage: Stage) -> None:
    """The newest tenure first, with why each older one ended; `--json` has the same for programs."""
    async with stage.instances("a", "b"):
        before = await stage.until(lambda view: view.standby_count == 1)
        assert before.active is not None
        code, out = await stage.run("switchover", "acct")
        assert code == 0, out
        after = await stage.view()
        assert after.active is not None

        code, out = await stage.run("history", "acct")

        newest, older = out.splitlines()
        assert (code, newest.split()[0], older.split()[0]) == (0, str(after.active.epoch), str(before.active.epoch))
        assert newest.endswith("gw/b  is active still")
        assert "gw/a  for " in older
        assert "until it stepped down for a switchover" in older
        code, out = await stage.run("history", "acct", "--tenures", "1", "--before", str(after.active.epoch), "--json")
        (told,) = json.loads(out)
        assert (code, told["epoch"], told["instance_id"]) == (0, before.active.epoch, "a")
        assert told["end_reason"] == "switchover"


async def test_a_resource_without_a_history_is_named(stage: Stage) -> None:
    """Nobody was active: exit code 1, one line."""
    code, out = await stage.run("history", "nobody's")
    assert (code, out) == (1, 'tenure: nobody has been active for "nobody\'s", as far as the store knows\n')
