"""Every command of `docs/tutorial.md`, in its order, in one shell."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import parts

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """Each command succeeds; the outage is five minutes of downtime, excluded, and held against them again."""
    page = PAGE.read_text()
    grpc_port, http_port = parts.free_ports(2)
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(commands) == 9
    # The page's ports may be in use here.
    protocols = f'{{grpc: {{endpoint: "localhost:{grpc_port}"}}, http: {{endpoint: "localhost:{http_port}"}}}}'
    receivers = f"receivers: {{otlp: {{protocols: {protocols}}}}}\npage: null\n"
    (tmp_path / "receivers.yaml").write_text(receivers)
    # Half an hour of one month, whenever this runs.
    now = datetime.now(tz=UTC)
    month_start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    moment = now if now - month_start > timedelta(minutes=40) else month_start
    month = f"{moment - timedelta(minutes=1):%Y-%m}"
    program = program.replace("localhost:4317", f"localhost:{grpc_port}")
    (tmp_path / "traffic.py").write_text(program.replace("time.time_ns()", f"{int(moment.timestamp())} * SECOND"))
    moved = "cat ../receivers.yaml >> otel-sla.yaml\ncp ../traffic.py .\n"
    script = "set -eux\ntrap 'kill $(jobs -p) || true' EXIT\n" + commands[0] + moved + "".join(commands[1:])
    script = script.replace("otel-sla report ", f"otel-sla report --month {month} ")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "80",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "tutorial"
    start, stop = (folder / "outage.txt").read_text().split()
    shown = "  ".join(time.replace("T", " ").replace("Z", "") for time in (start, stop))
    period = re.compile(rf"{re.escape(shown)} +5 +50 of 100( +5)?$", re.MULTILINE)
    assert [excluded.strip() for excluded in period.findall(done.stdout)] == ["", "5"], done.stdout
    assert "stopped: accepted_spans 600" in done.stdout
    assert done.stdout.rstrip().endswith("is sound")
    assert start[:10] in (folder / "periods.csv").read_text()
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
