"""What a first start has compiled by a process beside it."""

import asyncio
import subprocess
import sys
import threading

import pytest
from sla_parts import make_agreement

from otel_sla.counting import kernels
from otel_sla.counting.classify.classifier import Classifier
from otel_sla.sla.series import SeriesTable


@pytest.fixture
def classifier() -> Classifier:
    """Of one agreement."""
    agreements = [make_agreement()]
    return Classifier(agreements, SeriesTable(agreements, series_max=10))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """The processes that are started, on a machine whose folder for kernels is taken for empty."""
    processes: list[subprocess.Popen[bytes]] = []
    compile_decoder = kernels._compile_decoder

    def keep() -> "subprocess.Popen[bytes] | None":
        process = compile_decoder()
        processes.extend([process] if process is not None else [])
        return process

    monkeypatch.setattr(kernels, "is_cache_warm", lambda: False)
    monkeypatch.setattr(kernels, "_compile_decoder", keep)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return processes


def test_the_decoder_is_compiled_by_a_process_beside(
    classifier: Classifier, started: list["subprocess.Popen[bytes]"]
) -> None:
    """A first start: the process does its work without an error, and is over when the start is."""
    asyncio.run(kernels.warm_up(classifier))
    assert [process.returncode for process in started] == [0]


def test_a_start_that_is_given_up_ends_the_process(
    classifier: Classifier, started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while kernels are compiled: the process is killed, not left behind."""
    is_begun, end = threading.Event(), threading.Event()

    def compile_for_ever(*_: object) -> None:
        is_begun.set()
        end.wait()

    monkeypatch.setattr(kernels, "load_kernels", compile_for_ever)

    async def give_up() -> None:
        starting = asyncio.create_task(kernels.warm_up(classifier))
        await asyncio.to_thread(is_begun.wait)
        starting.cancel()
        await asyncio.wait((starting,))
        end.set()

    asyncio.run(give_up())
    assert [process.poll() for process in started] == [-9]


def test_without_the_process_all_is_compiled_here(
    classifier: Classifier, started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can be started, the start goes on alone."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    asyncio.run(kernels.warm_up(classifier))
    assert not started


@pytest.mark.usefixtures("started")
def test_no_process_where_it_would_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """One processor, no folder to leave the kernels in, or kernels that are there: none is started."""
    for name, value in (("os.cpu_count", lambda: 1), ("otel_sla.counting.kernels.CACHE_DIRECTORY", None)):
        with monkeypatch.context() as changed:
            changed.setattr(name, value)
            assert kernels._compile_decoder() is None
    monkeypatch.setattr(kernels, "is_cache_warm", lambda: True)
    assert kernels._compile_decoder() is None
