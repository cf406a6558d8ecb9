"""What is shipped, and the files that people deploy it with."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from otel_sla.config import load_config
from otel_sla.ledger.connection import BUSY_TIMEOUT_MS
from otel_sla.serving.pipeline import DRAIN_S, STOP_GRACE_S

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built with the backend of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_whole_package_and_nothing_else(dist: Path) -> None:
    """Every module and data file of the package, its licence and its command; no tests, no caches."""
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "otel_sla").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= names
    assert {name.split("/")[0] for name in names} == {"otel_sla", f"otel_sla-{VERSION}.dist-info"}
    assert not [name for name in names if name.endswith(".pyc")]
    assert f"otel_sla-{VERSION}.dist-info/licenses/LICENSE" in names


def test_the_sdist_can_test_itself(dist: Path) -> None:
    """Sources, tests, documents and the Makefile; nothing that was made here."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "Makefile",
        "tests/conftest.py",
        "docs/clauses.md",
        "deploy/Dockerfile",
        "collector-config/builder.yaml",
    ):
        assert name in names
    assert not [name for name in names if re.search(r"__pycache__|\.venv|\.db$|node_modules", name)]


def test_the_wheel_runs_by_itself(dist: Path, tmp_path: Path) -> None:
    """Unpacked away from the sources, the command says its version and validates its defaults."""
    (wheel,) = dist.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)  # noqa: S202 - our own.
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from otel_sla.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path), "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"otel-sla {VERSION}"), done.stderr


@pytest.mark.parametrize("number", range(3))
def test_kubernetes_manifests_fit_the_schema(number: int) -> None:
    """Each manifest, strictly: a misspelt key is an error."""
    manifest = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))[number]
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_kubernetes_runs_this_version_with_a_sound_configuration(tmp_path: Path) -> None:
    """The image is this version's, the mounts fit the paths, the configuration validates."""
    config, _, stateful_set = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"otel-sla:{VERSION}"
    path = tmp_path / "otel-sla.yaml"
    path.write_text(config["data"]["otel-sla.yaml"])
    ledger = Path(load_config(path, {}).ledger.url.removeprefix("sqlite:///"))
    assert str(ledger.parent) in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert load_config(path, {}).agreements == load_config(None, {}).agreements


def test_the_shipped_configuration_is_sound() -> None:
    """The container's and the unit's configuration validates, with and without their environment."""
    inside = load_config(DEPLOY / "otel-sla.yaml", {})
    assert inside.receiver.grpc is not None
    assert inside.receiver.grpc.endpoint == "0.0.0.0:4317"
    unit = (DEPLOY / "otel-sla.service").read_text(encoding="utf-8")
    environ = dict(pair.split("=", 1) for pair in re.findall(r"\bOTEL_SLA_\w+=\S+", unit))
    local = load_config(DEPLOY / "otel-sla.yaml", environ)
    assert local.receiver.grpc is not None
    assert local.receiver.grpc.endpoint == "localhost:4317"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """No unknown key, no bad value; hardened beyond the defaults."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "otel-sla.service"
    text = (DEPLOY / "otel-sla.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/otel-sla/bin/otel-sla", sys.executable))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = [analyze, "security", "--offline=true", "--threshold=20", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_the_dockerfile_copies_what_there_is() -> None:
    """Its sources are in the project and not ignored; it runs as nobody in particular, with a health check."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert name in kept, name
    assert re.search(r"^USER \d+:\d+$", text, flags=re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("status", "returncode"), [(200, 0), (503, 1)])
def test_the_health_check_asks_the_container_itself(status: int, returncode: int) -> None:
    """Whatever proxy Docker has put into the environment: fine when ready, not when not."""

    class Readiness(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r'CMD \["python", "-c", "(.*urllib.*)"\]', text)
    assert found is not None
    with HTTPServer(("127.0.0.1", 0), Readiness) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        code = found[1].replace("127.0.0.1:4318", f"127.0.0.1:{server.server_port}")
        environ = {"http_proxy": "http://127.0.0.1:9", "PATH": os.environ["PATH"]}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=False)
    assert done.returncode == returncode, done.stderr


def test_the_page_builds_what_the_manifest_runs() -> None:
    """The image has one name in the page, the Dockerfile and the manifest; files that the page names are there."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    build = f"docker build -f deploy/Dockerfile -t otel-sla:{VERSION} ."
    assert build in page
    assert build in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for name in re.findall(r"\bdeploy/[\w.-]+\w", page):
        assert (ROOT / name).exists(), name


def test_who_manages_the_process_waits_for_its_stop() -> None:
    """Unit, manifests and the container's command give a stop the time that it may take."""
    needed_s = STOP_GRACE_S + BUSY_TIMEOUT_MS / 1000 + DRAIN_S
    for path, pattern in (
        ("deploy/otel-sla.service", r"^TimeoutStopSec=(\d+)s$"),
        ("deploy/kubernetes.yaml", r"terminationGracePeriodSeconds: (\d+)$"),
        ("docs/deploy.md", r"--stop-timeout (\d+) "),
    ):
        given = re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert [int(seconds) >= needed_s for seconds in given] == [True], path
