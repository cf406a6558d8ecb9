import logging
import os
from pathlib import Path

import pytest

from otel_sla.errors import ConfigError
from otel_sla.receiver.responses import Unauthenticated
from otel_sla.receiver.security.bearer import BearerAuth
from otel_sla.receiver.settings import BearerSettings


class Clock:
    """Seconds that pass when told to."""

    now_s = 0.0

    def read(self) -> float:
        """Give the time."""
        return self.now_s


def is_let_in(auth: BearerAuth, authorization: str) -> bool:
    """Tell whether `authorization` is accepted."""
    try:
        auth.check(authorization)
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize(
    ("authorization", "is_valid"),
    [
        ("Bearer one", True),
        ("bearer two", True),
        ("Bearer  two ", True),
        ("Bearer three", False),
        ("Bearer on", False),
        ("Bearer onee", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("Basic one", False),
        ("one", False),
        ("", False),
        ("Bearer \udcff\xe4", False),
    ],
)
def test_any_of_the_tokens_lets_in(authorization: str, *, is_valid: bool) -> None:
    """Each token is valid, whole and with the scheme in any case; all else is refused."""
    auth = BearerAuth(BearerSettings(tokens=("one", "two", "")), "here")
    assert is_let_in(auth, authorization) is is_valid


def test_a_rotated_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens of the file change without a restart, not before the interval; without any token the previous stay."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "tokens"
    path.write_text("# rotated weekly\n\nold\nnew  \n")
    clock = Clock()
    auth = BearerAuth(BearerSettings(tokens=("fixed",), tokens_file=path, reload_interval_s=10), "here", clock.read)
    assert all(is_let_in(auth, f"Bearer {token}") for token in ("fixed", "old", "new"))
    path.write_text("newer token file\n")
    clock.now_s = 9.9
    assert is_let_in(auth, "Bearer old")
    clock.now_s = 10.0
    assert not is_let_in(auth, "Bearer old")
    assert is_let_in(auth, "Bearer newer token file")
    path.unlink()
    clock.now_s = 20.0
    assert is_let_in(auth, "Bearer newer token file")
    assert is_let_in(auth, "Bearer fixed")
    assert [record.action for record in caplog.records] == ["tokens_reloaded", "tokens_not_reloaded"]
    assert "tokens read again: 2 are valid" in caplog.text
    assert "newer token file" not in caplog.text


def test_tokens_are_read_again_when_it_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the interval: new tokens hold at once, and those of a file that is gone stay; each is logged once."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "tokens"
    path.write_text("old")
    clock = Clock()
    auth = BearerAuth(BearerSettings(tokens_file=path, reload_interval_s=10), "here", clock.read)
    path.write_text("new")
    auth.reload()
    clock.now_s = 20.0
    assert (is_let_in(auth, "Bearer old"), is_let_in(auth, "Bearer new")) == (False, True)
    path.unlink()
    auth.reload()
    assert is_let_in(auth, "Bearer new")
    BearerAuth(BearerSettings(tokens=("fixed",)), "here").reload()
    assert [record.action for record in caplog.records] == ["tokens_reloaded", "tokens_not_reloaded"]


def test_an_emptied_file_locks_nobody_out(tmp_path: Path) -> None:
    """A file that lost all its tokens is taken for a mistake: the previous ones stay valid."""
    path = tmp_path / "tokens"
    path.write_text("old")
    clock = Clock()
    auth = BearerAuth(BearerSettings(tokens_file=path), "here", clock.read)
    path.write_text("# nothing")
    clock.now_s = 60
    assert is_let_in(auth, "Bearer old")


def test_an_emptied_file_beside_fixed_tokens_locks_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beside `tokens` too, an emptied file's previous tokens stay valid, with a warning, until it has some again."""
    path = tmp_path / "tokens"
    path.write_text("old")
    clock = Clock()
    auth = BearerAuth(BearerSettings(tokens=("fixed",), tokens_file=path), "here", clock.read)
    for minute, text in enumerate(("", "# nothing", "new"), start=1):
        path.write_text(text)
        clock.now_s = 60 * minute
        assert is_let_in(auth, "Bearer fixed")
        assert is_let_in(auth, "Bearer old") is (text != "new")
    assert is_let_in(auth, "Bearer new")
    assert [record.action for record in caplog.records] == ["tokens_not_reloaded"] * 2
    assert "it holds no token" in caplog.text
    assert str(path) in caplog.text


def test_a_file_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    """A rotated file that becomes readable without a trace in its stamp is taken at the next look."""
    path = tmp_path / "tokens"
    path.write_text("old")
    clock = Clock()
    auth = BearerAuth(BearerSettings(tokens_file=path), "here", clock.read)
    path.write_bytes("nöw".encode())  # No token, as an unreadable file holds none.
    clock.now_s = 60
    assert is_let_in(auth, "Bearer old")
    stamp = path.stat()
    path.write_bytes(b"new!")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    clock.now_s = 120
    assert is_let_in(auth, "Bearer new!")
    assert not is_let_in(auth, "Bearer old")


def test_tokens_are_read_as_they_are_sent(tmp_path: Path) -> None:
    """A newline behind a secret of the environment and a file's byte order mark are no part of a token."""
    path = tmp_path / "tokens"
    path.write_bytes(b"\xef\xbb\xbffirst\r\nsecond\r\n")
    auth = BearerAuth(BearerSettings(tokens=("fixed\n",), tokens_file=path), "here")
    assert all(is_let_in(auth, f"Bearer {token}") for token in ("fixed", "first", "second"))
    path.write_bytes("first\nzweiter Schlüssel\n".encode())
    with pytest.raises(ConfigError, match=r"here: auth.tokens_file: cannot read .*: line 2 is no token, only ASCII"):
        BearerAuth(BearerSettings(tokens_file=path), "here")


def test_no_token_at_all_is_a_config_error(tmp_path: Path) -> None:
    """A missing file, or no token anywhere, is an error at the start."""
    with pytest.raises(ConfigError, match=r"here: auth.tokens_file: cannot read .*missing: No such file"):
        BearerAuth(BearerSettings(tokens_file=tmp_path / "missing"), "here")
    with pytest.raises(ConfigError, match="there is no token"):
        BearerAuth(BearerSettings(tokens=("",)), "here")


def test_tokens_are_not_shown() -> None:
    """The settings' text, which ends in logs and tracebacks, holds no token."""
    assert "s3cret" not in repr(BearerSettings(tokens=("s3cret",)))
