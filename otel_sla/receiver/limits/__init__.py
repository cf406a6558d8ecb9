"""How much memory and time requests may take: bytes in flight, turns of large requests, deadlines of bodies."""
