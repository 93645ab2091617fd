"""The cyclic garbage collector, as the server runs it."""

import gc


def calm_collector() -> None:
    """Make it rare, and leave alone what there is already: what requests and rows leave behind is freed by
    reference counts. Call it once everything is imported (imports leave 1,000 objects to collect of 80,000,
    which takes 25 ms and is not done).

    With the defaults it took a tenth of the loop's time under load (the dedupe sets are large and live
    long), see ARCHITECTURE.md, Decisions.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    gc.enable()
