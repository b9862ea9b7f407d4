"""A resource's tenures, a line each: since when, for how long as far as is known, why no longer and on whose word."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.cli.tenures import lines
from tenure.contract.views import TenureView
from tenure.contract.vocabulary import ChangeReason

LASTS = TenureView(epoch=7, service_name="svc", instance_id="a", began_ms=1_000)


@pytest.mark.parametrize(
    ("reason", "certain_until_ms", "possible_until_ms", "said"),
    [
        (ChangeReason.SWITCHOVER, 43_000, 43_000, "for 42,000 ms: it stepped down for a switchover, as ada had asked"),
        (
            ChangeReason.EXPIRED, 3_000, 43_000,
            "for at most 42,000 ms (heard last after 2,000 ms): it fell silent until its time ran out",
        ),
        (ChangeReason.EXPIRED, None, 43_000, "for at most 42,000 ms: it fell silent until its time ran out"),
        (
            ChangeReason.GIVEN_UP, 3_000, 3_000,
            "for 2,000 ms: it gave the role up, because it could not confirm its lease; that was told 40,000 ms later",
        ),
        (ChangeReason.RESTORED, 43_000, None, "for at least 42,000 ms: a backup was restored in which it was active"),
    ],
)  # fmt: skip
def test_each_end_is_told_as_far_as_it_is_known(
    reason: ChangeReason, certain_until_ms: int | None, possible_until_ms: int | None, said: str
) -> None:
    """★ What the broker decided is at most; what a holder was heard of or said itself is so, and when that came."""
    tenure = structs.replace(
        LASTS, ended_ms=43_000, end_revision=9, end_reason=reason, certain_until_ms=certain_until_ms,
        possible_until_ms=possible_until_ms, by="ada",
    )  # fmt: skip
    (line,) = lines([tenure])
    assert line.endswith(f"  svc/a  {said}")


def test_one_that_lasts_has_no_end() -> None:
    """Nor a length, which would be another one when it is read."""
    (line,) = lines([LASTS])
    assert line.endswith("svc/a  is active still")
