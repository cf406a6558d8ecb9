"""A process that forks right after it made a processor, and again while it counts: run by its test, as `python`.

Arguments: the ledger's file.
"""

import os
import sys
from collections.abc import Callable

from sdk_parts import MINUTE_NANOS, Application, running


def in_child(act: Callable[[], None]) -> Callable[[], None]:
    """Fork, and let the child do something; gives what waits for it to have gone well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)

    def wait() -> None:
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the child ended with {status}"

    return wait


def count_one(app: Application) -> None:
    """Count a request in a child: it is the only one there."""
    app.request(500)
    app.pass_minutes(2)
    assert app.requests() == {"succeeded": 0, "failed": 1, "invalid": 0}, app.requests()
    app.processor.shutdown()


def main(ledger: str) -> None:
    """Each process counts its own requests; the parent's ledger stays the parent's."""
    reading, writing = os.pipe()

    def count_and_stay() -> None:
        os.close(writing)
        count_one(app)
        os.read(reading, 1)  # Until the parent has opened its ledger again.

    with running(ledger=ledger) as app:
        in_child(lambda: count_one(app))()
        app.request()
        assert app.processor.force_flush()
        app.request()
        wait = in_child(count_and_stay)
        app.request()
        app.pass_minutes(2)
        assert app.requests() == {"succeeded": 3, "failed": 0, "invalid": 0}, app.requests()
        app.clock.now += MINUTE_NANOS
    with running(ledger=ledger, clock=app.clock) as again:
        again.pass_minutes(1)
        assert again.values("sla.downtime") == [0]  # The series is known from the ledger.
    os.close(writing)
    wait()
    servers = {"grpc", "uvicorn", "httptools", "typer", "rich"} & set(sys.modules)
    assert not servers, servers


if __name__ == "__main__":
    main(sys.argv[1])
