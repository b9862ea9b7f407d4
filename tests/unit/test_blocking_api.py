"""The blocking SDK has the names and the arguments of the asyncio one, but for what is listed and explained here."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any, Final

import pytest

from tenure import sdk
from tenure.sdk import active, blocking
from tenure.sdk.blocking.facade import Facade, OpenedFacade

PAIRS: Final[dict[type[Any], type[Any]]] = {
    sdk.ServiceClient: blocking.ServiceClient,
    sdk.Registration: blocking.Registration,
    sdk.Tenure: blocking.Tenure,
    sdk.EventListener: blocking.EventListener,
    active.ActiveScope: blocking.ActiveScope,
}

INSIDE: Final = {  # what the asyncio classes show each other, and applications have no use for
    "ServiceClient.disown",
    "Registration.disown",
    "Registration.held",
    "Registration.notify",
    "Registration.working",
    "Tenure.wait_over",
}
ONLY_BLOCKING: Final = {
    "EventListener.close",  # ends a wait from another thread, where a task would be cancelled
    "Tenure.is_ending",  # for work that has to ask, where a task would be cancelled
}
ADDED: Final = {  # parameters, where a task would use `asyncio.timeout`
    "ServiceClient.wait_connected": {"timeout_ms"},
    "Registration.wait_active": {"timeout_ms"},
    "Registration.wait_changed": {"timeout_ms"},
    "Tenure.wait_asked_to_end": {"timeout_ms"},
    "Tenure.wait_ending": {"timeout_ms"},
}
OPTIONAL: Final = {  # parameters that have to be given to the asyncio method
    "Tenure.wait_ending": {"margin_ms"},  # left out, it is the moment at which a task would be cancelled
}
OF_SYNTAX: Final = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
"""What `async with` and `async for` call, and what `with` and `for` call instead."""
FOR_ITSELF: Final = {"asynchronous", "here"}
"""How the blocking classes are made."""


def public(of: type[Any]) -> set[str]:
    """The names that applications see of a class, also those that its instances alone have."""
    names = {name for name in dir(of) if not name.startswith("_")}
    names |= {name for name in dir(of) if name in OF_SYNTAX or name in OF_SYNTAX.values()}
    for base in of.__mro__:
        if base.__module__.startswith("tenure."):
            names |= _assigned(base)
    return names


def _assigned(of: type[Any]) -> set[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(of)))
    targets = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {target.attr for target in targets if not target.attr.startswith("_")}


def parameters(of: type[Any], name: str) -> dict[str, tuple[Any, ...]] | None:
    """The parameters of a method with their kinds, annotations and defaults; None for what is read."""
    member = inspect.getattr_static(of, name, None)
    if not inspect.isfunction(member):
        return None
    return {
        parameter.name: (parameter.kind, parameter.annotation, parameter.default)
        for parameter in inspect.signature(member).parameters.values()
    }


@pytest.mark.parametrize("asynchronous", PAIRS, ids=lambda of: of.__name__)
def test_both_have_the_same_names(asynchronous: type[Any]) -> None:
    """Every public method, property and attribute is there in both, and no list above names what is gone."""
    here = f"{asynchronous.__name__}."
    expected = {here + OF_SYNTAX.get(name, name) for name in public(asynchronous)}
    found = {here + name for name in public(PAIRS[asynchronous]) - FOR_ITSELF}
    assert expected - found == {name for name in INSIDE if name.startswith(here)}
    assert found - expected == {name for name in ONLY_BLOCKING if name.startswith(here)}


@pytest.mark.parametrize("asynchronous", PAIRS, ids=lambda of: of.__name__)
def test_both_take_the_same_arguments(asynchronous: type[Any]) -> None:
    """Every method takes the same arguments of the same types with the same defaults, and what is read stays so."""
    compared = 0
    made_by_applications = asynchronous in {sdk.ServiceClient, sdk.EventListener}
    for name in [*public(asynchronous), *(["__init__"] if made_by_applications else [])]:
        full = f"{asynchronous.__name__}.{name}"
        if full in INSIDE:
            continue
        expected = parameters(asynchronous, name)
        found = parameters(PAIRS[asynchronous], OF_SYNTAX.get(name, name))
        assert (found is None) == (expected is None), full
        if found is None or expected is None:
            continue
        for added in ADDED.get(full, set()):
            assert found.pop(added)[2] is None, full
        for optional in OPTIONAL.get(full, set()):
            assert found.pop(optional)[2] is None, full
            assert expected.pop(optional)[2] is inspect.Parameter.empty, full
        assert list(found.items()) == list(expected.items()), full
        compared += 1
    assert compared > 0


def test_nothing_is_left_to_be_awaited() -> None:
    """No method of the blocking classes gives a coroutine or an asynchronous iterator to whoever calls it."""
    for of in (*PAIRS.values(), Facade, OpenedFacade):
        for name in public(of):
            member = inspect.getattr_static(of, name, None)
            assert not inspect.iscoroutinefunction(member), (of, name)
            assert not inspect.isasyncgenfunction(member), (of, name)
