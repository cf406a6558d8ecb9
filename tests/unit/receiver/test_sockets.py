import asyncio
import socket

import pytest

from otel_sla.errors import ListenError
from otel_sla.receiver.sockets import addresses_of, close_sockets, open_sockets, split_endpoint


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("localhost:4317", ("localhost", 4317)),
        ("[::1]:0", ("::1", 0)),
        (":4318", ("", 4318)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),  # noqa: S104 - text only.
    ],
)
def test_endpoints_are_host_and_port(endpoint: str, parts: tuple[str, int]) -> None:
    """Names, addresses in brackets and the empty host are taken apart."""
    assert split_endpoint(endpoint) == parts


@pytest.mark.parametrize("endpoint", ["", "localhost", "localhost:", "localhost:x", "::1:4317", "a:65536", "a:-1"])
def test_what_is_no_endpoint_is_an_error(endpoint: str) -> None:
    """Anything else is an error that shows the text."""
    with pytest.raises(ListenError, match="is not host:port"):
        split_endpoint(endpoint)


@pytest.mark.parametrize("endpoint", ["192.0.2.1:0", "no.such.name.invalid:0"])
def test_an_address_of_others_is_an_error_in_one_line(endpoint: str) -> None:
    """An address that is not ours, or no address, is a ListenError naming endpoint and protocol."""
    with pytest.raises(ListenError) as caught:
        asyncio.run(open_sockets(endpoint, "HTTP"))
    assert str(caught.value).startswith(f"cannot listen on {endpoint} (HTTP): ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("protocol", "other"), [("gRPC", "localhost:14417 "), ("HTTP", "localhost:14418 ")])
def test_a_port_in_use_is_an_error_that_names_another(protocol: str, other: str) -> None:
    """The hint names the setting of the protocol, and the port that the documents give it beside a Collector."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ListenError) as caught:
        asyncio.run(open_sockets(f"127.0.0.1:{taken.getsockname()[1]}", protocol))
    assert f"receivers.otlp.protocols.{protocol.lower()}.endpoint" in caught.value.hint
    assert other in caught.value.hint


def test_all_addresses_of_a_name_get_one_port() -> None:
    """With port 0 the addresses of localhost share one free port, in the brackets that IPv6 needs."""
    sockets = asyncio.run(open_sockets("localhost:0", "HTTP"))
    addresses = addresses_of(sockets)
    close_sockets(sockets)
    assert len({address.port for address in addresses}) == 1
    assert all(str(address).startswith(("127.", "[::1]:")) for address in addresses)


def test_answers_are_not_delayed() -> None:
    """An accepted connection sends its second write at once: with Nagle's delay an answer took 40 ms and more."""

    async def main() -> None:
        sockets = await open_sockets("127.0.0.1:0", "HTTP")
        delays: list[int] = []

        def on_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            delays.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(on_connection, sock=sockets[0]):
            reader, writer = await asyncio.open_connection(*sockets[0].getsockname())
            await reader.read()
            writer.close()
        assert delays == [1]

    asyncio.run(main())
