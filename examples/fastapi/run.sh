#!/bin/sh
# FastAPI -> otel-sla -> Prometheus: `sh examples/fastapi/run.sh --help` says what can be chosen.
# Sets up the clone's own environment if it is not there yet (once, about a minute), and hands over to run.py.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
make -s -C "$here/../.." .venv/.installed >&2
exec "$here/../../.venv/bin/python" "$here/run.py" "$@"
