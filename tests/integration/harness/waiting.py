"""Waiting for conditions. Nothing in these tests sleeps and hopes."""

import time

DEADLINE = 20.0  # seconds; generous, since it only decides when to give up
_STEP = 0.005


def wait_until(predicate, deadline=DEADLINE, what="the condition"):
    """Returns the first true value of `predicate`; fails when there is none within `deadline` seconds.

    `what` says what for, in the message: a text, or a function that makes one then.
    """
    give_up_at = time.monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {deadline:g} s in vain for {what() if callable(what) else what}")
        time.sleep(_STEP)
