"""The page's process: whatever happens to it the pipeline goes on, and it ends when the pipeline does."""

import asyncio
import base64
import http.client
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import builders
import parts
import pytest
import trustme
import yaml
from pipeline_parts import Clock, make_config, run, running

from otel_sla.config import Config
from otel_sla.errors import ConfigError
from otel_sla.page.process import PageProcess
from otel_sla.page.settings import PageSettings, PageTask
from otel_sla.receiver.settings import BearerSettings, TlsSettings
from otel_sla.serving.pipeline import Pipeline

TIMEOUT_S = 60.0  # Never reached unless a test fails.
TOKEN = "s3cret-of-the-page"  # noqa: S105 - of tests.


def page_config(folder: Path, **settings: object) -> Config:
    """A pipeline with a page on a free port."""
    page = PageSettings(**{"endpoint": "127.0.0.1:0", **settings})  # type: ignore[arg-type]
    return replace(make_config(folder), page=page)


def ask(port: int, path: str = "/", *, tls: ssl.SSLContext | None = None, authorization: str = "") -> tuple[int, str]:
    """Ask the page: status and text; status 0: it does not answer."""
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        if tls is None
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=tls)
    )
    with closing(connection):
        try:
            connection.request("GET", path, headers={"authorization": authorization} if authorization else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""


async def until(is_so: Callable[[], object]) -> None:
    """Ask again and again until it is so, in a thread."""
    deadline = time.monotonic() + TIMEOUT_S
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline, "it did not come to it"


def pages_of(pid: int) -> list[int]:
    """The pages that a process has started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It has ended meanwhile.
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z" and b"otel_sla.page" in path.with_name("cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


def has_ended(pid: int) -> bool:
    """Whether a process has ended, whether or not somebody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def good_body(seed: int) -> bytes:
    """A request of spans that end now."""
    return builders.realistic_request(10, seed, start_unix_nano=time.time_ns(), duration_nano=1)


def test_a_killed_page_is_started_again(tmp_path: Path) -> None:
    """The page is killed: spans are acknowledged meanwhile, and it answers again."""

    async def scenario() -> None:
        async with running(page_config(tmp_path), Clock(time.time_ns())) as (pipeline, send):
            port = pipeline.page.addresses[0].port
            await until(lambda: ask(port)[0] == 200)
            (page,) = pages_of(os.getpid())
            os.kill(page, signal.SIGKILL)
            await send(good_body(1))
            await until(lambda: pages_of(os.getpid()) and pages_of(os.getpid()) != [page])
            await until(lambda: ask(port)[0] == 200)
            await send(good_body(2))
        assert not pages_of(os.getpid())

    run(scenario)


def test_a_page_that_fails_does_not_end_the_pipeline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The certificate is gone after the start, and the page with it: it cannot be started, spans are acknowledged."""
    settings, _ = write_certificate(tmp_path)

    async def scenario() -> None:
        async with running(page_config(tmp_path, tls=settings), Clock(time.time_ns())) as (_, send):
            settings.cert_file.unlink()
            await until(lambda: pages_of(os.getpid()))
            for page in pages_of(os.getpid()):
                os.kill(page, signal.SIGKILL)
            await until(lambda: "exit code 1" in caplog.text)
            await send(good_body(1))

    run(scenario)


def test_whatever_fails_the_page_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """What it serves cannot be put together, which is no error of the system: that is logged, and tried again."""
    tried: list[int] = []

    def fail(_descriptors: tuple[int, ...]) -> PageTask:
        tried.append(1)
        raise RuntimeError("no task")

    async def scenario() -> None:
        page = PageProcess(PageSettings(endpoint="127.0.0.1:0"), fail, lambda: pytest.fail("it is not asked"))
        await page.start()
        await until(lambda: len(tried) == 2)
        await page.stop()

    run(scenario)
    assert "RuntimeError: no task" in caplog.text


def test_a_port_in_use_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another program has the page's port: the pipeline serves, and the log says what to do."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            config = page_config(tmp_path, endpoint=f"127.0.0.1:{other.getsockname()[1]}")
            async with running(config, Clock(time.time_ns())) as (pipeline, send):
                assert pipeline.page.url is None
                await send(good_body(1))

    run(scenario)
    (said,) = [record for record in caplog.records if getattr(record, "action", "") == "page_off"]
    assert "set page.endpoint to another port, or page: null" in said.getMessage()


@pytest.mark.parametrize("what", ["tls", "auth"])
def test_files_that_cannot_be_used_end_the_start(tmp_path: Path, what: str) -> None:
    """No certificate, no file of tokens: an error of the configuration, as of the receivers."""
    absent = tmp_path / "absent"
    settings = {
        "tls": TlsSettings(cert_file=absent, key_file=absent),
        "auth": BearerSettings(tokens_file=absent),
    }

    async def scenario() -> None:
        with pytest.raises(ConfigError, match=f"page.*{what}"):
            await Pipeline(page_config(tmp_path, **{what: settings[what]})).start()

    run(scenario)


def write_certificate(folder: Path, ca: trustme.CA | None = None) -> tuple[TlsSettings, ssl.SSLContext]:
    """Put a certificate in place; gives a client's side, too."""
    ca = ca or trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return TlsSettings(cert_file=folder / "cert.pem", key_file=folder / "key.pem", reload_interval_s=3600), client


def test_certificates_and_tokens_are_read_again(tmp_path: Path) -> None:
    """TLS with a token as bearer or as a browser's password; both are rotated and read again on SIGHUP's order."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    settings, client = write_certificate(tmp_path)
    auth = BearerSettings(tokens_file=tokens, reload_interval_s=3600)

    async def scenario() -> None:
        async with running(page_config(tmp_path, tls=settings, auth=auth), Clock(time.time_ns())) as (pipeline, _):
            port = pipeline.page.addresses[0].port
            assert pipeline.page.url == f"https://127.0.0.1:{port}/"
            await until(lambda: ask(port, tls=client)[0] == 401)
            password = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
            for authorization, status in (
                (f"Bearer {TOKEN}", 200),
                (f"Basic {password}", 200),
                (f"Basic {password[:-4]}", 401),
                ("Basic !", 401),
                ("Basic /w==", 401),
            ):
                answered, _ = await asyncio.to_thread(ask, port, tls=client, authorization=authorization)
                assert (authorization, answered) == (authorization, status)
            _, other_client = write_certificate(tmp_path)
            tokens.write_text("another-token\n")
            pipeline.reload()
            await until(lambda: ask(port, tls=other_client)[0] == 401)
            assert await asyncio.to_thread(ask, port, tls=client) == (0, "")
            for token, status in (("another-token", 200), (TOKEN, 401)):
                answered, _ = await asyncio.to_thread(ask, port, tls=other_client, authorization=f"Bearer {token}")
                assert answered == status

    run(scenario)


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({}, "anybody who reaches 0.0.0.0:"),
        ({"auth": BearerSettings(tokens=(TOKEN,))}, "plain text"),
    ],
)
def test_a_page_that_is_open_to_others_is_logged(
    tmp_path: Path, settings: dict[str, object], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All interfaces without a token, or with one in plain text: a warning at the start."""

    async def scenario() -> None:
        async with running(page_config(tmp_path, endpoint="0.0.0.0:0", **settings), Clock(time.time_ns())):
            pass

    caplog.set_level(logging.WARNING)
    run(scenario)
    (said,) = [record for record in caplog.records if getattr(record, "action", "") == "endpoint_open"]
    assert warning in said.getMessage()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[parts.LoggedProcess]:
    """A real `otel-sla run` with a page."""
    config = tmp_path / "otel-sla.yaml"
    protocols = {"grpc": {"endpoint": "127.0.0.1:0"}}
    settings = {"page": {"endpoint": "127.0.0.1:0"}, "receivers": {"otlp": {"protocols": protocols}}}
    config.write_text(yaml.safe_dump({**settings, "ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}))
    process = parts.LoggedProcess([sys.executable, "-m", "otel_sla", "run", "--config", str(config)])
    process.start()
    process.wait_for("action=serving", timeout_s=120)
    yield process
    process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_page_ends_with_its_pipeline(served: parts.LoggedProcess, how: signal.Signals) -> None:
    """The pipeline is stopped, or killed: so is its page, and its port is free."""
    asyncio.run(until(lambda: pages_of(served.pid)))
    (page,) = pages_of(served.pid)
    os.kill(served.pid, how)
    asyncio.run(until(lambda: has_ended(page)))


def test_run_ends_with_the_exit_code_of_a_wrong_configuration(tmp_path: Path) -> None:
    """`otel-sla run` with a certificate for the page that is not there: exit code 2, and the file is named."""
    config = tmp_path / "otel-sla.yaml"
    tls = {"cert_file": str(tmp_path / "absent.pem"), "key_file": str(tmp_path / "absent.pem")}
    settings = {"page": {"endpoint": "127.0.0.1:0", "tls": tls}, "ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    protocols = {"grpc": {"endpoint": "127.0.0.1:0"}}
    config.write_text(yaml.safe_dump({**settings, "receivers": {"otlp": {"protocols": protocols}}}))
    command = [sys.executable, "-m", "otel_sla", "run", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "page" in ended.stderr
    assert "absent.pem" in ended.stderr
