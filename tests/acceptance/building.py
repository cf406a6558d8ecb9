"""How each part is built, in the ordinary way of its language.

Every function here takes an empty folder and the tool's path, and gives what it made in that folder.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

COLLECTOR_VERSION = "0.155.0"
ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "collector-config" / "builder.yaml"
BUILDER_MODULE = f"go.opentelemetry.io/collector/cmd/builder@v{COLLECTOR_VERSION}"
CORE_MODULE = f"go.opentelemetry.io/collector/otelcol v{COLLECTOR_VERSION}"
TELEMETRYGEN_MODULE = f"github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v{COLLECTOR_VERSION}"
PROMETHEUS_VERSION = "3.16.0"  # As a Go module 0.316.0.
PROMETHEUS_MODULE = f"github.com/prometheus/prometheus/cmd/{{}}@v0.{PROMETHEUS_VERSION.replace('.', '', 1)}"
VICTORIAMETRICS_VERSION = "1.136.0"
VICTORIAMETRICS_MODULE = f"github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v{VICTORIAMETRICS_VERSION}"
AXE_VERSION = "4.14.1"
SENDERS = ROOT / "tests" / "acceptance" / "senders"


class PartUnavailable(Exception):
    """The part is not there; the message says why and how to get it."""


def build_collector(folder: Path, go: str) -> Path:
    """The Collector of the manifest."""
    _go(go, ["install", BUILDER_MODULE], folder)
    manifest = MANIFEST.read_text()
    source = folder / "source"
    (folder / "builder.yaml").write_text(manifest.replace("dist:\n", f"dist:\n  output_path: {source}\n", 1))
    generate = ["--config", "builder.yaml", "--skip-get-modules", "--skip-compilation"]
    _run([str(folder / "builder"), *generate], folder, {})
    # The builder's own way ends in `go mod tidy`, which also wants modules that only tests of the parts import and
    # that a proxy may not have. Compiling needs less: the manifest's modules and what they import.
    modules = [*re.findall(r"gomod: (\S+ v\S+)", manifest), CORE_MODULE]
    require = "".join(f"\t{module}\n" for module in modules)
    (source / "go.mod").write_text(f"module otelcol-sla\n\ngo 1.25.0\n\nrequire (\n{require})\n")
    _go(go, ["build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "otelcol"), "."], source)
    return folder / "otelcol"


def install_telemetrygen(folder: Path, go: str) -> Path:
    """OpenTelemetry's own load generator."""
    _go(go, ["install", "-trimpath", "-ldflags=-s -w", TELEMETRYGEN_MODULE], folder)
    return folder / "telemetrygen"


def install_prometheus(folder: Path, go: str) -> Path:
    """Prometheus, without the many services that it can look for targets in: a third of the code and nothing to us."""
    return _install_of_prometheus(folder, go, "prometheus")


def install_promtool(folder: Path, go: str) -> Path:
    """Prometheus' own check of rules."""
    return _install_of_prometheus(folder, go, "promtool")


def _install_of_prometheus(folder: Path, go: str, command: str) -> Path:
    module = PROMETHEUS_MODULE.format(command)
    _go(go, ["install", "-tags=remove_all_sd", "-trimpath", "-ldflags=-s -w", module], folder)
    return folder / command


def install_victoriametrics(folder: Path, go: str) -> Path:
    """VictoriaMetrics, the single server."""
    _go(go, ["install", "-trimpath", "-ldflags=-s -w", VICTORIAMETRICS_MODULE], folder)
    return folder / "victoria-metrics"


def build_go_sender(folder: Path, go: str) -> Path:
    """The sender with the SDK for Go."""
    _go(go, ["build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "sender"), "."], SENDERS / "go")
    return folder / "sender"


def install_node_sender(folder: Path, npm: str) -> Path:
    """A folder with the sender with the SDK for JavaScript and its modules."""
    # A copy: the modules are found beside the program, and the tree is to stay as it is. No lock file is written or
    # read, as it would hold the addresses of one registry; package.json names the versions.
    source = Path(shutil.copytree(SENDERS / "node", folder / "sender"))
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    _run([npm, "install", "--no-package-lock", "--ignore-scripts", *quiet], source, {})
    return source


def get_axe(folder: Path, npm: str) -> Path:
    """The script that looks for what keeps people from reading a page."""
    _run([npm, "pack", "--silent", f"axe-core@{AXE_VERSION}"], folder, {})
    shutil.unpack_archive(folder / f"axe-core-{AXE_VERSION}.tgz", folder, filter="data")
    return folder / "package" / "axe.min.js"


def build_java_sender(folder: Path, mvn: str) -> Path:
    """A folder with the class of the sender with the SDK for Java, and its libraries."""
    source, built = SENDERS / "java", folder / "sender"
    _run([mvn, "-q", "-B", "-f", str(source), "dependency:copy-dependencies", f"-DoutputDirectory={built}"], folder, {})
    _run(["javac", "-cp", f"{built}/*", "-d", str(built), str(source / "Sender.java")], folder, {})
    return built


def _go(go: str, arguments: list[str], folder: Path) -> None:
    _run([go, *arguments], folder, {"GOBIN": str(folder), "GOFLAGS": "-buildvcs=false", "GOWORK": "off"})


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise PartUnavailable(f"`{' '.join(command)}` failed with code {done.returncode}:\n{tail}")
