"""Bearer tokens: who may send."""

import errno
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.receiver.responses import Unauthenticated
from otel_sla.receiver.security.watched_files import WatchedFiles, describe
from otel_sla.receiver.settings import BearerSettings


class BearerAuth:
    """Checks the `authorization` of requests against the tokens.

    Tokens are compared as digests, all of them each time: how long that takes says nothing about them.

    Args:
        settings: The tokens, and the file of more; the file is read again when it changes.
        source: The part of the configuration that names them, for errors.
        clock_s: Monotonic seconds.

    Raises:
        ConfigError: The file cannot be read, or there is no token at all.
    """

    def __init__(self, settings: BearerSettings, source: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._has_started = False
        paths = () if settings.tokens_file is None else (settings.tokens_file,)
        names = (f"{source}.auth", "tokens", "tokens")
        try:
            self._digests = WatchedFiles(
                paths,
                settings.reload_interval_s,
                clock_s,
                self._read,
                names,
                lambda digests: f": {len(digests)} are valid",
            )
        except OSError as error:
            raise ConfigError(source, [ConfigProblem("auth.tokens_file", describe(error))]) from error
        if not self._digests.current():
            raise ConfigError(source, [ConfigProblem("auth", "there is no token")])
        self._has_started = True
        self.reload = self._digests.reload

    def check(self, authorization: str) -> None:
        """Check the value of the header or metadata `authorization`; empty if there is none.

        Raises:
            Unauthenticated: It holds no valid token.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("a bearer token is needed")
        digest = _digest(token.strip())
        is_known = False
        for known in self._digests.current():
            is_known |= hmac.compare_digest(known, digest)
        if not is_known:
            raise Unauthenticated("the bearer token is not valid")

    def _read(self) -> tuple[bytes, ...]:
        # As the request's is: a secret from the environment may end in a newline.
        tokens = [token.strip() for token in self._settings.tokens]
        if (path := self._settings.tokens_file) is not None:
            found = _tokens_in(path)
            if self._has_started and not found:  # Most likely in the midst of a rotation.
                raise OSError(errno.ENODATA, "it holds no token", str(path))
            tokens += found
        return tuple(_digest(token) for token in tokens if token)


def _tokens_in(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    for number, line in enumerate(lines, start=1):
        if not line.isascii():
            raise OSError(errno.EINVAL, f"line {number} is no token, only ASCII can be sent as one", str(path))
    return [line for line in lines if line and not line.startswith("#")]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
