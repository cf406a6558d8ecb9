"""How every test runs."""

import asyncio
import logging
import os

import pytest
from hypothesis import settings

# The same examples in every run: a test that fails here fails everywhere.
settings.register_profile("otel-sla", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("otel-sla")


def _is_not_of_a_closed_loop(record: logging.LogRecord) -> bool:
    # grpcio has one poller for the whole process. It goes on to wake the loops of tests that have ended, and asyncio
    # logs that, at any time, into whichever test is looking at the log by then.
    return "PollerCompletionQueue" not in record.getMessage()


logging.getLogger("asyncio").addFilter(_is_not_of_a_closed_loop)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels once, before there are workers: each of them and each pipeline that they start would."""
    if not getattr(config.option, "numprocesses", None) or "NUMBA_DISABLE_JIT" in os.environ:
        return
    from sla_parts import make_agreement

    from otel_sla.counting.classify.classifier import Classifier
    from otel_sla.counting.kernels import warm_up
    from otel_sla.jit import is_cache_warm
    from otel_sla.sla.series import SeriesTable

    if not is_cache_warm():
        asyncio.run(warm_up(Classifier([make_agreement()], SeriesTable([make_agreement()], series_max=1))))
