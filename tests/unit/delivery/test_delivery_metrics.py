"""What /metrics says of a link."""

import pytest

from server.delivery import LinkState, LinkStatus
from server.metrics import link_samples


def _status(state: LinkState, last_error: str | None) -> LinkStatus:
    return LinkStatus(
        link_id="link",
        stream_id="site",
        destination_id="warehouse",
        state=state,
        alarm=None,
        last_error=last_error,
        next_attempt_ms=None,
        checkpoint=0,
        lag_events=0,
        lag_bytes=0,
        lag_s=0.0,
        delivered=0,
        dead_letters=0,
        dropped=0,
        rate_per_s=0.0,
        paused_by=None,
        parked=(),
        warnings=(),
    )


@pytest.mark.parametrize(
    ("state", "last_error", "up"),
    [
        (LinkState.WAITING, None, True),
        (LinkState.FLUSHING, None, True),
        (LinkState.BACKING_OFF, "the destination is away", False),
        (LinkState.WAITING, "the destination is away", False),  # the next attempt to reach it, under way
        (LinkState.FLUSHING, "the destination is away", False),  # the same, with a batch in hand
        (LinkState.PAUSED, None, False),
        (LinkState.STOPPED, None, False),
    ],
)
def test_a_link_is_up_from_its_first_success_on(state: LinkState, last_error: str | None, up: bool) -> None:
    samples = {sample.name: sample for sample in link_samples([_status(state, last_error)])}
    ((labels, value),) = samples["penstock_link_up"].rows
    assert labels == ("link", "site", "warehouse")
    assert value == up
