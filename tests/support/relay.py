"""Leads a port of this machine's loopback into the network of other processes: `relay PORT NAMESPACE PORT-THERE`.

It listens here, moves into the namespace (a file such as /proc/PID/ns/net), and connects from there.
"""

import asyncio
import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000


async def relay(port: int, namespace: Path, port_there: int) -> None:
    """Pass on every connection, until cancelled."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", port_there)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", port)
    with namespace.open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            sys.exit(f"{namespace}: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
