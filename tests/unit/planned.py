"""A switchover in the making, as the tests of switchovers begin with."""

from __future__ import annotations

from tenure.contract.interventions import CancelSwitchover, Switchover
from tenure.contract.messages import BrokerMessage, StepDown
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.scene import Client, Scene


class Planned:
    """`a` is active for `r`, `b` and `c` stand by, and somebody moves the role."""

    def __init__(self, *, hold_limit_ms: int = 0) -> None:
        self.scene = Scene()
        self.a, self.b, self.c = (self.scene.client(name) for name in "abc")
        self.held = self.a.claim("r", hold_limit_ms=hold_limit_ms)
        self.standing = {client.name: client.stand_by("r") for client in (self.b, self.c)}

    def start(self, to: str = "", *, drain_ms: int = 0, epoch: int = 0, even_if_vacant: bool = False) -> BrokerMessage:
        """Ask for the move."""
        return self.scene.ask(
            Switchover(
                resource_id="r",
                epoch=epoch or self.held.epoch,
                to_registration_id=self.standing[to].registration_id if to else 0,
                drain_ms=drain_ms,
                even_if_vacant=even_if_vacant,
                by="ada",
            ),
            identity="uid:7",
        )

    def cancel(self) -> BrokerMessage:
        """Call it off."""
        return self.scene.ask(CancelSwitchover(resource_id="r", epoch=self.held.epoch))

    def step_down(self, drain_ms: int = 0, *, withdrawn: bool = False) -> StepDown:
        """What the holder is told."""
        return StepDown(
            registration_id=self.held.registration_id, epoch=self.held.epoch, drain_ms=drain_ms, withdrawn=withdrawn
        )

    @property
    def asked(self) -> tuple[StepDown, ...]:
        """What was told to the holder last."""
        assert {session for session, _ in self.scene.last.step_downs} <= {self.a.session}
        return tuple(step_down for _, step_down in self.scene.last.step_downs)


def unfit(client: Client) -> None:
    """Let a standby say that it is not well."""
    client.beat(ServiceStatus.UNHEALTHY)
