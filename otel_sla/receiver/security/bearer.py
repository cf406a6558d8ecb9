"""Bearer tokens: who may send."""

import errno
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.receiver.security.watched_files import WatchedFiles
from otel_sla.receiver.settings import BearerSettings
from otel_sla.receiver.status import Unauthenticated

_log = logging.getLogger(__name__)


class BearerAuth:
    """Checks the `authorization` of requests against the tokens.

    Tokens are compared as digests, all of them each time: how long that takes tells nothing about them.

    Args:
        settings: The tokens, and the file of more; the file is read again when it changes.
        source: The part of the configuration that names them, for errors.
        clock_s: Monotonic seconds.

    Raises:
        ConfigError: The file cannot be read, or there is no token at all.
    """

    def __init__(self, settings: BearerSettings, source: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        paths = () if settings.tokens_file is None else (settings.tokens_file,)
        self._files = WatchedFiles(paths, settings.reload_interval_s, clock_s)
        try:
            self._digests = self._read()
        except OSError as error:
            problem = ConfigProblem("auth.tokens_file", f"cannot read {error.filename}: {error.strerror}")
            raise ConfigError(source, [problem]) from error
        if not self._digests:
            raise ConfigError(source, [ConfigProblem("auth", "there is no token")])

    def check(self, authorization: str) -> None:
        """Check the value of the header or metadata `authorization`; empty if there is none.

        Raises:
            Unauthenticated: It holds no valid token.
        """
        if self._files.have_changed():
            self._reload()
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("a bearer token is needed")
        digest = _digest(token.strip())
        is_known = False
        for known in self._digests:
            is_known |= hmac.compare_digest(known, digest)
        if not is_known:
            raise Unauthenticated("the bearer token is not valid")

    def reload(self) -> None:
        """Read the file again now; without one there is nothing to read."""
        if self._settings.tokens_file is not None:
            self._files.look_now()
            self._reload()

    def _reload(self) -> None:
        """Take the tokens of the changed file; keep all former ones until there are some in it."""
        try:
            digests = self._read(is_reload=True)
        except OSError as error:
            self._files.look_again()
            _log.warning(
                "cannot read the tokens again, the former stay valid: %s",
                error,
                extra={"action": "tokens_not_reloaded"},
            )
            return
        self._digests = digests
        _log.info("tokens read again: %d are valid", len(digests), extra={"action": "tokens_reloaded"})

    def _read(self, *, is_reload: bool = False) -> tuple[bytes, ...]:
        # As the request's is: a secret from the environment may end in a newline.
        tokens = [token.strip() for token in self._settings.tokens]
        if self._settings.tokens_file is not None:
            found = _tokens_in(self._settings.tokens_file)
            if (
                is_reload and not found
            ):  # In the midst of a rotation, most likely; those sent by must not be locked out.
                raise OSError(errno.ENODATA, "it holds no token", str(self._settings.tokens_file))
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
