"""A small disk of its own for the ledger, which can be filled."""

import subprocess
from pathlib import Path

SIZE = "96m"


class SmallDisk:
    """A tmpfs; who may not mount one has an ordinary folder, which is never full.

    Args:
        folder: Made by it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        mounting = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
        )
        self.is_small = mounting.returncode == 0

    def fill(self) -> None:
        """Leave no room."""
        with (self.folder / "filler").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def make_room(self) -> None:
        """Take away what fills it."""
        (self.folder / "filler").unlink()

    def close(self) -> None:
        """Unmount it."""
        if self.is_small:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
