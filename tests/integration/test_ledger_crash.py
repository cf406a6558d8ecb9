"""kill -9 in the middle of commits."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ledger_parts import fingerprint

from otel_sla.ledger.writer import Ledger

N_SERIES = 5
TESTS = Path(__file__).resolve().parents[1]

# Commit n adds n to each of five series in minute n, with fingerprint n. It is acknowledged by a line when durable.
PIPELINE = """
import itertools, sys
sys.path.insert(0, {tests!r})
from ledger_parts import make_commit
from otel_sla.ledger.writer import Ledger
from otel_sla.ledger.records import Closing
ledger = Ledger.open({url!r})
first = len(ledger.counts(0, 10**6)) // 5
if first == 0:
    ledger.commit(make_commit([], new_series=5))
    first = 1
else:
    first += 1
for number in itertools.count(first):
    rows = [(number, series_id, number, 0, 0) for series_id in range(5)]
    ledger.commit(make_commit(rows, [(number, number)]))
    print(number, flush=True)
    if number % 7 == 0:
        ledger.close_minutes(Closing(number, number - 5))
        ledger.seal(0, pack_before=number, rows_max=120)
"""


def test_acknowledged_commits_survive_kill_9(tmp_path: Path) -> None:
    """After each of ten kills all that was acknowledged is there, once, and at most the one commit after it: whole."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    code = PIPELINE.format(url=url, tests=str(TESTS))
    acknowledged = 0
    for kill_after in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as pipeline:
            assert pipeline.stdout is not None
            lines = [pipeline.stdout.readline() for _ in range(kill_after)]
            pipeline.kill()
            # What was acknowledged between the last line read and the kill counts too.
            lines += pipeline.stdout.readlines()
        acknowledged = max(int(line) for line in lines if line.endswith("\n"))
        with closing(Ledger.open(url)) as ledger:
            rows = ledger.counts(0, 10**6)
            last = int(rows.epoch_minute[-1])
            assert acknowledged <= last <= acknowledged + 1
            expected = [(number, series_id) for number in range(1, last + 1) for series_id in range(N_SERIES)]
            assert list(zip(rows.epoch_minute.tolist(), rows.series_id.tolist(), strict=True)) == expected
            assert rows.counts[:, 0].tolist() == [number for number, _ in expected]
            assert all(ledger.is_counted(number, fingerprint(number)) for number in range(1, last + 1))
            assert not ledger.is_counted(last + 1, fingerprint(last + 1))
            assert ledger.check() == ()
    assert acknowledged >= 1 + 2 + 3 + 5 + 8 + 13 + 21 + 34 + 55 + 89
