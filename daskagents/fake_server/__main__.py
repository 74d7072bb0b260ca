"""Serve as the script says that is the one argument; print the port, and end when stdin closes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType

# The package itself imports what a server has no use for: a bare one stands in for it.
if __name__ == "__main__":
    bare = sys.modules["daskagents"] = ModuleType("daskagents")
    bare.__path__ = [str(Path(__file__).parents[1])]

import msgspec

from daskagents.fake_server.connection import Connection
from daskagents.fake_server.script import Script
from daskagents.fake_server.server import Server


async def serve(script: Script, port: int) -> None:
    """Serve until the standard input closes, which it does when our parent ends."""
    loop = asyncio.get_running_loop()
    shared = Server(script)
    server = await loop.create_server(
        lambda: Connection(shared), "127.0.0.1", port, backlog=4096, reuse_port=True
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    parent = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    await parent.read()


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Script), int(sys.argv[2])))
