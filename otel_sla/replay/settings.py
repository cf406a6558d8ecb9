"""How files are read; imports nothing, so that `replay --help` need not wait for numba."""

from enum import Enum


class Format(Enum):
    """How records follow each other."""

    AUTO = "auto"
    JSON = "json"
    PROTO = "proto"


class OnError(Enum):
    """What becomes of a file when a record of it is broken, and of the others when a file is."""

    STOP = "stop"
    SKIP = "skip"
