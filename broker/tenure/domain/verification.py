"""Whether G1 to G5 hold of what a store keeps and clients have logged, or which revision breaks them.

Pure, and one pass over the events: what is remembered grows with what is registered at a time, not with the history.
"""

from __future__ import annotations

from tenure.domain.beliefs import Beliefs
from tenure.domain.history import StoredHistory
from tenure.domain.replay import Replay
from tenure.domain.verdicts import Guarantee, Report


def verify(history: StoredHistory, beliefs: Beliefs) -> Report:
    """Replay a history and hold what clients believed against it.

    The logs have to be read before the store is, so that the store knows all that was acknowledged.
    """
    replay = Replay(history, beliefs.epochs)
    replay.run()
    beliefs.hold_against(replay, history.history_id, history.next_revision)
    span, unchecked = _span(replay), _unchecked(history, replay)
    return Report(
        history_id=history.history_id,
        first_revision=replay.first_revision,
        last_revision=history.next_revision - 1,
        events=replay.events,
        tenures=replay.tenures,
        intervals=beliefs.intervals,
        verdicts=(
            replay.one_active.verdict(
                Guarantee.G1, f"at most one active for each resource, {span}", unchecked=unchecked
            ),
            beliefs.one_believer.verdict(
                Guarantee.G2, _believers(beliefs, replay), unchecked=_unlogged(beliefs) or unchecked
            ),
            replay.rising_epochs.verdict(
                Guarantee.G3, f"the epochs of {replay.tenures} tenures rise, {span}", unchecked=unchecked
            ),
            beliefs.durable.verdict(
                Guarantee.G4,
                f"all that {beliefs.logs} interval logs acknowledge is in the history",
                unchecked=_unlogged(beliefs) or unchecked,
            ),
            replay.gapless.verdict(Guarantee.G5, f"{replay.events} events without a gap, {span}", unchecked=unchecked),
        ),
    )


def _span(replay: Replay) -> str:
    newest = replay.first_revision + replay.events - 1
    kept = "" if replay.is_complete else "; those before are no longer kept"
    return f"revisions {replay.first_revision} to {newest}{kept}"


def _unchecked(history: StoredHistory, replay: Replay) -> str:
    """Why not all was replayed, if so."""
    if replay.gapless.count:
        return f"from revision {replay.stopped_at} on there is nothing to replay"
    if not replay.events:
        since = "yet" if history.begins_at == 1 else "since it was restored; the backup has what was before"
        return f"nothing to check: nothing has happened {since}"
    return ""


def _unlogged(beliefs: Beliefs) -> str:
    return "" if beliefs.logs else "no interval log was given; clients write them where TENURE_INTERVAL_LOG says"


def _believers(beliefs: Beliefs, replay: Replay) -> str:
    """What of the logs was compared, and what that leaves open."""
    logged = f"{beliefs.intervals} intervals logged of {replay.tenures} tenures"
    parts = [f"{logged}, each over before the next of its resource ({beliefs.compared} compared"]
    if beliefs.by_proof:
        parts.append(f", {beliefs.by_proof} over by proof before their lease")
    parts.append(")")
    if beliefs.uncompared:
        wall = f"overlap in {beliefs.hints} cases" if beliefs.hints else "show no overlap"
        parts.append(f"; {beliefs.uncompared} pairs of different clocks not compared: wall clocks, a mere hint, {wall}")
    if beliefs.forgotten:
        parts.append(f"; {beliefs.forgotten} of tenures that are no longer kept")
    if beliefs.stopped:
        parts.append(f"; {beliefs.stopped} logs stopped before their session did")
    return "".join(parts)
