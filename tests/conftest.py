"""How every test runs."""

import logging

from hypothesis import settings

# The same examples in every run: a test that fails here fails everywhere.
settings.register_profile("otel-sla", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("otel-sla")


def _is_not_of_a_closed_loop(record: logging.LogRecord) -> bool:
    # grpcio has one poller for the whole process. It goes on to wake the loops of tests that have ended, and asyncio
    # logs that, at any time, into whichever test is looking at the log by then.
    return "PollerCompletionQueue" not in record.getMessage()


logging.getLogger("asyncio").addFilter(_is_not_of_a_closed_loop)
