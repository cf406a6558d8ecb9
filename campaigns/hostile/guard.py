"""What a guarded pipeline asks of its senders, and what strangers show instead."""

import datetime as dt
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import trustme

TOKEN = "right"  # noqa: S105 - of a pipeline that lives for a minute.
METADATA = (("authorization", f"Bearer {TOKEN}"),)


class Guard:
    """A token, and where `folder` is given TLS with client certificates as well.

    Args:
        folder: For the server's files.
        asks_for_certificate: Of the clients.
    """

    def __init__(self, folder: Path | None = None, *, asks_for_certificate: bool = True) -> None:
        self._folder = folder
        self._asks_for_certificate = asks_for_certificate
        if folder is not None:
            self.server_ca, self.client_ca, self.other_ca = (trustme.CA() for _ in range(3))
            issued = self.server_ca.issue_cert("localhost", "127.0.0.1")
            issued.private_key_pem.write_to_path(folder / "key.pem")
            for blob in issued.cert_chain_pems:
                blob.write_to_path(folder / "cert.pem", append=True)
            self.client_ca.cert_pem.write_to_path(folder / "client-ca.pem")

    def settings(self) -> Mapping[str, Any]:
        """More settings of either server."""
        auth = {"auth": {"tokens": [TOKEN]}}
        if self._folder is None:
            return auth
        names = {"cert_file": "cert.pem", "key_file": "key.pem"}
        if self._asks_for_certificate:
            names["client_ca_file"] = "client-ca.pem"
        return {**auth, "tls": {key: str(self._folder / name) for key, name in names.items()}}

    def server_certificate(self) -> str:
        """What a client has to trust, PEM; empty for plain text."""
        return "" if self._folder is None else self.server_ca.cert_pem.bytes().decode()

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Those of a sender that is welcome; None for plain text."""
        if self._folder is None:
            return None
        issued = self.client_ca.issue_cert("sender")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return grpc.ssl_channel_credentials(self.server_ca.cert_pem.bytes(), issued.private_key_pem.bytes(), chain)

    def client_tls(self, certificate: str) -> ssl.SSLContext:
        """TLS of a client that shows a certificate: "right", "another CA's", "expired" or "none"."""
        context = ssl.create_default_context()
        self.server_ca.configure_trust(context)
        if certificate == "expired":
            then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
            self.client_ca.issue_cert("sender", not_before=then, not_after=then).configure_cert(context)
        elif certificate != "none":
            ca = self.client_ca if certificate == "right" else self.other_ca
            ca.issue_cert("sender").configure_cert(context)
        return context
