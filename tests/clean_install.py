"""Builds wheel and sdist, installs each into an environment of its own, and runs it there. Run: make package."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(folder: Path) -> tuple[Path, Path]:
    """Build both, the wheel out of the sdist, so that the one lacks what the other does."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def install(package: Path, folder: Path) -> Path:
    """Install a package with all it needs into a new environment; gives its folder of commands."""
    venv.create(folder, with_pip=True)
    commands = folder / "bin"
    subprocess.run([commands / "pip", "install", "--quiet", "--disable-pip-version-check", str(package)], check=True)
    return commands


def try_out(commands: Path, folder: Path) -> None:
    """Run the installed commands as a user would, away from the sources."""
    for command in (
        ["otel-sla", "--version"],
        ["python", "-m", "otel_sla", "validate"],
        ["otel-sla", "init", "--output", "otel-sla.yaml"],
        ["otel-sla", "validate", "--config", "otel-sla.yaml"],
        ["otel-sla", "demo"],
    ):
        done = subprocess.run(
            [commands / command[0], *command[1:]], cwd=folder, capture_output=True, text=True, check=False, timeout=180
        )
        sys.stdout.write(f"  {' '.join(command)}: {'fine' if done.returncode == 0 else done.stderr.strip()}\n")
        if done.returncode != 0:
            raise SystemExit(1)


def main() -> None:
    """Try both packages."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for package in build(folder / "dist"):
            sys.stdout.write(f"{package.name}, {package.stat().st_size / 1024:.0f} KiB\n")
            away = folder / f"away-{package.suffix[1:]}"
            away.mkdir()
            try_out(install(package, folder / f"env-{package.suffix[1:]}"), away)


if __name__ == "__main__":
    main()
