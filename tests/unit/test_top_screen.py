"""What `tenure top` shows and what its keys do, without a terminal and without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import override

import pytest
from rich.cells import cell_len
from rich.text import Text

from tenure.cli.following import Following, News
from tenure.cli.top_rows import next_in_line
from tenure.cli.top_screen import TopScreen
from tenure.contract.interventions import PauseResource
from tenure.contract.views import ResourceView
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.replica_stage import copy_of, presence_of
from tests.unit.scene import Scene


class Told(Following):
    """It is told what is the case, and whether that is live."""

    is_heard = True

    @property
    @override
    def is_live(self) -> bool:
        return self.is_heard

    def learn(self, scene: Scene) -> None:
        """Take in all of a scene."""
        self.board.begin(copy_of(scene))
        self.board.observe(presence_of(scene))
        self.is_open = True


@pytest.fixture
def following() -> Iterator[Told]:
    """Nothing is known yet."""
    told = Told(("ipc:///nowhere",))
    yield told
    told.reader.close()


def many(count: int) -> Scene:
    """So many resources, all well but the last one, which nobody is active for."""
    scene = Scene()
    one, two = scene.client("one"), scene.client("two")
    for number in range(count - 1):
        one.claim(f"account-{number:04}")
        two.stand_by(f"account-{number:04}")
    two.stand_by(f"account-{count - 1:04}")
    return scene


def plain(lines: list[Text]) -> list[str]:
    """Lines without their looks."""
    return [line.plain.rstrip() for line in lines]


def names(lines: list[Text]) -> list[str]:
    """The resources whose rows are shown."""
    return [line.split()[0] for line in plain(lines) if line.startswith("account-")]


def selected(lines: list[Text]) -> list[str]:
    """The row that is shown inverted."""
    rows = [line for line in lines if line.plain.startswith("account-")]
    return [row.plain.split()[0] for row in rows if any(span.style == "reverse" for span in row.spans)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 3), (80, 1)])
def test_it_fits_whatever_the_size(following: Told, width: int, height: int) -> None:
    """No more lines than there are; at 80 columns and more no row is cut off, and columns are aligned."""
    scene = many(100)
    long = "a-resource-with-a-very-long-name-that-no-column-holds"
    scene.client("x").claim(long, instance_id="an-instance-with-a-very-long-name-that-no-column-holds")
    scene.client("y").stand_by(long, instance_id="y" * 200)
    following.learn(scene)
    lines = TopScreen(following).lines(width, height)
    assert len(lines) <= height
    if width >= 80 and height > 1:
        rows = [line for line in lines if "healthy" in line.plain]
        assert all(cell_len(line.plain) <= width for line in rows)
        assert len({line.plain.index("healthy") for line in rows}) == 1
        assert any(long in line.plain for line in rows) == (width >= 200)


def test_only_what_is_visible_is_looked_at(following: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hundreds of resources a screen costs as many views as it has rows."""
    following.learn(many(400))
    screen = TopScreen(following)
    screen.lines(80, 24)
    asked: list[str] = []
    view = following.board.view

    def asking(resource_id: str) -> ResourceView | None:
        asked.append(resource_id)
        return view(resource_id)

    monkeypatch.setattr(following.board, "view", asking)
    screen.press("end")
    assert names(screen.lines(80, 24))[-1] == "account-0398"
    assert len(asked) < 24


def test_the_troubled_first_and_the_counts_on_top(following: Told) -> None:
    """What nobody is active for comes before all that are well."""
    following.learn(many(30))
    lines = TopScreen(following).lines(80, 24)
    assert plain(lines)[1] == "30 resources: 1 nobody active"
    assert names(lines)[:2] == ["account-0029", "account-0000"]
    following.learn(many(1))
    assert plain(TopScreen(following).lines(80, 24))[1] == "1 resource: 1 nobody active"


def test_what_may_be_out_of_date_is_never_shown_as_live(following: Told) -> None:
    """The state says so, the counts are the last known, and each status stands in brackets, also in an explanation."""
    following.learn(many(3))
    screen = TopScreen(following)
    assert plain(screen.lines(80, 24))[0].startswith("● live")
    following.is_heard = False
    lines = plain(screen.lines(80, 24))
    assert "NOT HEARD since" in lines[0]
    assert lines[1].startswith("last known: 3 resources")
    assert [line for line in lines if " healthy" in line] == []
    assert "(healthy)" in next(line for line in lines if line.startswith("account-0000"))
    for key in ("j", "enter"):
        screen.press(key)
    assert "NOT HEARD since" in plain(screen.lines(80, 24))[0]


def test_the_selection_stays_with_its_resource(following: Told) -> None:
    """Also when others go past it; when it is gone, whoever is in its place is selected."""
    scene = many(5)
    following.learn(scene)
    screen = TopScreen(following)
    assert selected(screen.lines(80, 24)) == []
    for key in ("j", "down", "k", "j"):
        screen.press(key)
    assert selected(screen.lines(80, 24)) == ["account-0000"]
    scene.client("z", status=ServiceStatus.STARTING).stand_by("account-0004b")
    following.learn(scene)
    lines = screen.lines(80, 24)
    assert names(lines)[:3] == ["account-0004", "account-0004b", "account-0000"]
    assert selected(lines) == ["account-0000"]
    for key in "/0004":
        screen.press(key)
    assert selected(screen.lines(80, 24)) == ["account-0004b"]
    screen.press("escape")
    screen.press("escape")
    assert selected(screen.lines(80, 24)) == []


def test_moving_scrolls_and_ends_at_both_ends(following: Told) -> None:
    """Page by page and to the ends; rows beyond an end are none."""
    following.learn(many(100))
    screen = TopScreen(following)
    screen.lines(80, 24)
    screen.press("G")
    assert names(screen.lines(80, 24))[-1] == "account-0098"
    screen.press("page up")
    assert selected(screen.lines(80, 24)) == ["account-0085"]
    screen.press("g")
    lines = screen.lines(80, 24)
    assert (names(lines)[0], selected(lines)) == ("account-0099", ["account-0099"])
    screen.press("up")
    assert selected(screen.lines(80, 24)) == ["account-0099"]
    screen.press("left")
    assert selected(screen.lines(80, 24)) == ["account-0099"]


def test_a_filter_is_typed_mended_and_left(following: Told) -> None:
    """While it is typed, q is a letter; enter keeps it, and the arrows move in what it shows."""
    following.learn(many(30))
    screen = TopScreen(following)
    for key in ("/", "q", "backspace", "0", "0", "2"):
        screen.press(key)
    assert not screen.is_over
    lines = screen.lines(80, 24)
    assert plain(lines)[-1] == "filter: 002"
    assert names(lines)[0] == "account-0029"
    assert len(names(lines)) == 11  # and account-0002
    screen.press("down")
    assert plain(screen.lines(80, 24))[-1] == "filter: 002  11 shown   esc all"
    for key in "/zzz":
        screen.press(key)
    assert "no name contains this" in plain(screen.lines(80, 24))
    screen.press("enter")
    screen.press("escape")
    assert len(names(screen.lines(80, 60))) == 30
    screen.press("q")
    assert screen.is_over


def test_an_explanation_takes_the_place_of_the_resources(following: Told) -> None:
    """Of the selected one, as soon as it is there; it can be scrolled, and left."""
    following.learn(many(3))
    screen = TopScreen(following)
    screen.lines(80, 24)
    screen.press("enter")
    assert (selected(screen.lines(80, 24)), screen.explained_id) == (["account-0002"], None)
    screen.press("enter")
    assert screen.explained_id == "account-0002"
    assert plain(screen.lines(80, 10))[2] == "…"
    screen.explanation = [f"line {number} {'word ' * 20}" for number in range(20)]
    lines = plain(screen.lines(80, 10))
    assert (lines[2][:6], lines[3][:11], len(lines)) == ("line 0", "      word ", 10)
    screen.press("G")
    assert plain(screen.lines(80, 10))[-3].startswith("line 19")
    screen.press("home")
    assert plain(screen.lines(80, 10))[2].startswith("line 0")
    screen.press("escape")
    assert names(screen.lines(80, 24)) == ["account-0002", "account-0000", "account-0001"]


def test_the_newest_event_is_at_the_bottom(following: Told) -> None:
    """Above the keys; a long name leaves room for what happened."""
    following.learn(many(3))
    for number in range(30):
        following.news.append(News(1_700_000_000_000, [("r" * 200, "bold"), (f": change {number}", "")]))
    lines = plain(TopScreen(following).lines(80, 24))
    assert lines[-2].endswith(": change 29")
    assert lines[-2].count("r") < 30
    assert lines[-3].endswith(": change 28")


def test_a_filter_chooses_events_too(following: Told) -> None:
    """By the names that they are about, whichever words tell them; what concerns all is never left out."""
    following.learn(many(3))
    for name in ("account-0001", "account-0002"):
        told = [(name, "bold"), (": svc/one standby → active", "")]
        following.news.append(News(1_700_000_000_000, told, f"{name}\nsvc/one"))
    following.news.append(News(1_700_000_000_000, [("events are missing", "")]))
    screen = TopScreen(following)
    shown: dict[str, int] = {}
    for letters in ("0001", "SVC/one", "active"):
        for key in ("escape", "/", *letters, "enter"):
            screen.press(key)
        lines = plain(screen.lines(80, 24))
        shown[letters] = sum("→ active" in line for line in lines)
        assert lines[-2].endswith("events are missing")
    assert shown == {"0001": 1, "SVC/one": 2, "active": 0}


def test_a_pause_stands_in_its_row_and_in_the_counts(following: Told) -> None:
    """Before those who would be next otherwise."""
    scene = many(3)
    scene.ask(PauseResource(resource_id="account-0001", why="a test", for_ms=60_000))
    following.learn(scene)
    lines = plain(TopScreen(following).lines(80, 24))
    assert lines[1] == "3 resources: 1 nobody active, 1 paused"
    assert names(TopScreen(following).lines(80, 24)) == ["account-0002", "account-0001", "account-0000"]
    assert lines[4].endswith("paused two")


def test_before_anything_is_known_it_says_so(following: Told) -> None:
    """And when nobody is registered, that."""
    assert plain(TopScreen(following).lines(80, 24)) == ["Asking the broker what is the case …"]
    following.learn(Scene())
    lines = plain(TopScreen(following).lines(80, 24))
    assert lines[1] == "nobody is registered"


def test_who_is_next_as_far_as_there_is_room() -> None:
    """In order; whoever has no room is counted, and so is whoever may not be promoted."""
    scene = Scene()
    scene.client("a").claim("acct")
    assert next_in_line(scene.resource("acct"), 30).plain == "none"
    sick = scene.client("sick", status=ServiceStatus.UNHEALTHY)
    sick.stand_by("acct")
    assert next_in_line(scene.resource("acct"), 30).plain == "none ready of 1"
    for name in ("second", "third", "fourth"):
        scene.client(name).stand_by("acct")
    view = scene.resource("acct")
    told = [next_in_line(view, columns).plain for columns in (40, 24, 18, 12, 8)]
    assert told == ["second, third, fourth +1", "second, third, fourth +1", "second, third +2", "second +3", "se…nd +3"]
