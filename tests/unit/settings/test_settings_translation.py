"""What the settings become for the packages that carry them out."""

from server.settings import load
from server.translation import warehouse_limits


def test_the_statement_timeout_reaches_the_destination_and_a_stalled_wire_is_given_up_later() -> None:
    limits = warehouse_limits(load(None, {}, {"delivery.statement_timeout_s": "7.5"}))
    assert limits.statement_timeout_s == 7.5
    assert limits.statement_timeout_s < limits.stall_timeout_s < 2 * limits.statement_timeout_s
