"""How a blocking object is made from an asyncio one: its methods with the same arguments, which wait in the thread.

The arguments are never listed a second time: type checkers and `inspect.signature` see those of the asyncio method.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Concatenate

from tenure.contract.errors import ClientClosedError
from tenure.sdk.blocking.portal import Portal


class Facade[A]:
    """Something that stands in front of an asyncio object, which lives on a portal's event loop."""

    def __init__(self, of: A, portal: Portal | None) -> None:
        self._of = of
        self._portal: Portal | None = portal

    @property
    def asynchronous(self) -> A:
        """What it stands in front of; it belongs to the portal's event loop. For the SDK itself."""
        return self._of

    def here(self) -> tuple[Portal, A]:
        """The portal and what lives there; for the SDK itself.

        Raises:
            ClientClosedError: It is not open.
        """
        portal = self._portal  # before what lives there: closing replaces both, and a closed portal takes no calls
        if portal is None:
            raise ClientClosedError(f"the {type(self).__name__} is not open: use it in a `with` block")
        return portal, self._of

    def _wait_for[T](self, begin: Callable[[A], Coroutine[Any, Any, T]]) -> T:
        """Have the event loop do something with the asyncio object, and wait for its outcome.

        Raises:
            ClientClosedError: It is not open, was closed meanwhile, or this process is the child of a fork.
            Exception: Whatever it raised there.
        """
        portal, of = self.here()
        return portal.call(begin(of))


class OpenedFacade[A](Facade[A], ABC):
    """One that has a portal of its own while it is open. Several threads may use it at once."""

    def __init__(self, of: A) -> None:
        super().__init__(of, None)
        self._changing = threading.Lock()

    @abstractmethod
    def close(self) -> None:
        """End what is open."""

    def _begin(self) -> tuple[Portal, bool]:
        """The portal, and whether it was made for this call.

        Raises:
            ClientClosedError: This process is the child of a fork.
        """
        if self._portal is not None:
            self._portal.check_here()  # before the lock, which another thread may have held at the fork
        with self._changing:
            if self._portal is not None:
                return self._portal, False
            self._portal = Portal()
            return self._portal, True

    @contextlib.contextmanager
    def _opening(self) -> Generator[Portal]:
        """The portal for what opens this; one that was made for it ends if it fails."""
        portal, is_new = self._begin()
        try:
            yield portal
        except BaseException:
            if is_new:
                self.close()
            raise


def waiting[**P, A, T](
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Facade[A], P], T]:
    """The method that waits for an asyncio method's outcome."""
    return waiting_for(method, _as_it_is)


def waiting_for[**P, A, R, T](
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], give: Callable[[R, Portal], T]
) -> Callable[Concatenate[Facade[A], P], T]:
    """The method that waits for an asyncio method's outcome, and makes something blocking of it."""

    @functools.wraps(method)
    def wait(self: Facade[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        portal, of = self.here()
        return give(portal.call(method(of, *args, **kwargs)), portal)

    return wait


def takes_arguments_of[**P, A, F](
    make: Callable[P, A],
) -> Callable[[Callable[[F, Callable[[], A]], None]], Callable[Concatenate[F, P], None]]:
    """Give an `__init__` the arguments of an asyncio class; it gets what makes one with them."""

    def decorate(init: Callable[[F, Callable[[], A]], None]) -> Callable[Concatenate[F, P], None]:
        @functools.wraps(make.__init__)
        def initialise(self: F, /, *args: P.args, **kwargs: P.kwargs) -> None:
            init(self, functools.partial(make, *args, **kwargs))

        return initialise

    return decorate


def _as_it_is[T](outcome: T, portal: Portal) -> T:  # noqa: ARG001
    return outcome
