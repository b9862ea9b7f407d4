"""Resources for which the broker promotes nobody on its own, until somebody says so or the time is over.

A pause touches neither tenures nor leases: it only keeps vacancies from being filled, by `Draft.fill` and by candidates
that register, unless somebody has asked for it: with a claim that insists, a change of roles, or a switchover. Nothing
that must hold hangs on when it ends.
"""

from __future__ import annotations

from tenure.contract.errors import LimitExceededError, NotFoundError
from tenure.contract.events import AnyEvent, ResourcePausedEvent, ResourceResumedEvent
from tenure.contract.interventions import Paused, PauseResource, Resumed, ResumeResource
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ResumeReason
from tenure.domain.draft import Draft
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import DropPause, PutPause


def start(draft: Draft, request: PauseResource, by: str, limits: RegistryLimits) -> Paused:
    """Pause a resource, or say anew who has paused it, why and until when.

    Raises:
        NotFoundError: Nobody is registered for it, and it is not paused.
        LimitExceededError: Too many resources are paused.
    """
    resource_id, pauses = request.resource_id, draft.state.pauses
    if resource_id not in pauses:
        resource = draft.state.resources.get(resource_id)
        if resource is None or resource.is_abandoned:
            raise NotFoundError(f"nobody is registered for resource {resource_id!r}")
        if len(pauses) >= limits.pauses_max:
            raise LimitExceededError(
                f"{len(pauses)} resources are paused, which is the limit (pauses_max); resume some, or raise it",
                limit=limits.pauses_max,
            )
    now_ms = draft.now.unix_ms
    pause = Pause(resource_id=resource_id, why=request.why, paused_ms=now_ms, until_ms=now_ms + request.for_ms, by=by)

    def event(revision: int) -> AnyEvent:
        return ResourcePausedEvent(
            revision=revision, at_ms=now_ms, resource_id=resource_id, why=pause.why, until_ms=pause.until_ms, by=by
        )

    draft.step(PutPause(pause), event)
    pauses.watch(pause, draft.now)
    return Paused(pause=pause)


def end(draft: Draft, request: ResumeResource, by: str) -> Resumed:
    """End a pause because somebody asks for that, and fill the vacancy that there may be.

    Raises:
        NotFoundError: The resource is not paused.
    """
    pause = draft.state.pauses.get(request.resource_id)
    if pause is None:
        raise NotFoundError(f"resource {request.resource_id!r} is not paused; nothing was changed")
    _end(draft, pause, ResumeReason.ASKED, by)
    return Resumed(pause=pause)


def end_due(draft: Draft, registrations_max: int) -> int:
    """End the pauses whose time is over, until so many registrations may have been looked at; returns how many were."""
    seen = 0
    while seen < registrations_max and (pause := draft.state.pauses.pop_due(draft.now)) is not None:
        resource = draft.state.resources.get(pause.resource_id)
        seen += 1 + (0 if resource is None else resource.registration_count)
        _end(draft, pause, ResumeReason.EXPIRED, "")
    return seen


def _end(draft: Draft, pause: Pause, reason: ResumeReason, by: str) -> None:
    resource_id = pause.resource_id

    def event(revision: int) -> AnyEvent:
        return ResourceResumedEvent(
            revision=revision,
            at_ms=draft.now.unix_ms,
            resource_id=resource_id,
            reason=reason,
            by=by,
            why=pause.why,
            paused_by=pause.by,
        )

    draft.step(DropPause(resource_id), event)
    draft.fill(resource_id)
