"""Messages between the pipeline and the page's process."""

import asyncio

from otel_sla.page.messages import FramedSocket, FrameKind


def test_frames_are_whole_however_they_are_cut() -> None:
    """Every cut of three frames in two gives the three."""

    async def scenario() -> None:
        frames = [(FrameKind.TASK, b"x" * 40), (FrameKind.RELOAD, b""), (FrameKind.LIVE_STATE, b"{}")]
        wire = b"".join(len(payload).to_bytes(4, "little") + bytes([kind]) + payload for kind, payload in frames)
        for cut in range(len(wire) + 1):
            found: list[tuple[FrameKind, bytes]] = []
            connection = FramedSocket(lambda kind, payload, found=found: found.append((kind, payload)))  # type: ignore[misc]
            connection.data_received(wire[:cut])
            connection.data_received(wire[cut:])
            assert found == frames, cut

    asyncio.run(scenario())
