"""`notifications`: what is read, what is refused, and what is never shown."""

import sys
from pathlib import Path

import pytest

from otel_sla.config import Config, check_notifications, load_config
from otel_sla.errors import ConfigError
from otel_sla.exporter.settings import NotificationSettings, Topic


def load(folder: Path, text: str) -> Config:
    """Read and check a configuration as `run` does."""
    path = folder / "otel-sla.yaml"
    path.write_text(text)
    config = load_config(path, {"WEBHOOK": "json://user:hunter2@example.com/hunter2"})
    check_notifications(config)
    return config


def test_a_target_is_read_and_its_urls_are_not_shown(tmp_path: Path) -> None:
    """Defaults, and all keys; what `validate` prints reads the same but for the URLs."""
    text = """
agreements: [{name: chat}, {name: search}]
notifications:
  ops: {urls: '${env:WEBHOOK}'}
  boss: {urls: ['${env:WEBHOOK}', 'json://b'], agreements: chat, on: [breach, budget], interval: 15m}
"""
    config = load(tmp_path, text)
    url = "json://user:hunter2@example.com/hunter2"
    assert config.notifications == (
        NotificationSettings(target="ops", urls=(url,)),
        NotificationSettings(
            target="boss",
            urls=(url, "json://b"),
            agreements=("chat",),
            on=frozenset({Topic.BREACH, Topic.BUDGET}),
            interval_s=900,
        ),
    )
    assert config.notifications[0].name == "notifications/ops"
    assert "hunter2" not in config.effective + repr(config.notifications)
    assert "interval: 15m" in config.effective


@pytest.mark.parametrize(
    ("target", "path", "message"),
    [
        ("{}", "urls", "is required"),
        ("{urls: []}", "urls", "must not be empty"),
        ("{urls: 'json://a', on: sms}", "on[0]", "must be one of downtime, budget, breach, month_closed; not 'sms'"),
        ("{urls: 'json://a', on: []}", "on", "must not be empty"),
        ("{urls: 'json://a', interval: 0s}", "interval", "must be longer than 0s"),
        (
            "{urls: 'json://a', agreements: chat}",
            "agreements[0]",
            "must be the name of an agreement (default), not 'chat'",
        ),
        ("{urls: 'json://a', url: b}", "url", "unknown key; did you mean 'urls'?"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, target: str, path: str, message: str) -> None:
    """Each mistake with its place."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"notifications: {{ops: {target}}}")
    found = {problem.path: problem.message.partition(" (line")[0] for problem in raised.value.problems}
    assert found == {f"notifications.ops.{path}": message}


def test_urls_that_apprise_does_not_take_are_refused(tmp_path: Path) -> None:
    """Of several targets each URL is named by its place, and none is shown."""
    text = "notifications: {a: {urls: [json://x, bogus://hunter2]}, b: {urls: slack://hunter2}}"
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert [problem.path for problem in raised.value.problems] == ["notifications.a.urls[1]", "notifications.b.urls[0]"]
    assert "hunter2" not in str(raised.value)


def test_without_apprise_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed: an error of the configuration, where there is a target, and else none."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    load(tmp_path, "notifications: {}")
    with pytest.raises(ConfigError, match=r"pip install 'otel-sla\[notifications\]'"):
        load(tmp_path, "notifications: {ops: {urls: json://x}}")
