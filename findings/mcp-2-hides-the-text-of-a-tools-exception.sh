#!/usr/bin/env bash
# mcp 2.3.0: a client does not learn the text of an exception that a tool raises, unless it is the SDK's ToolError.
# Guess: `raise ValueError("no run is named x")` reaches the client as this text.
# Seen: the client gets "Error executing tool NAME" alone. A tool has to convert its own errors into ToolError.
set -e
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install -q mcp==2.3.0
cat > program.py <<'P'
import asyncio
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("s", log_level="CRITICAL")

@server.tool()
def plain() -> str:
    raise ValueError("no run is named x")

@server.tool()
def converted() -> str:
    raise ToolError("no run is named x")

async def main():
    async with Client(server) as client:
        for name in ("plain", "converted"):
            result = await client.call_tool(name, {})
            print(name, result.is_error, result.content[0].text)

asyncio.run(main())
P
venv/bin/python program.py 2>/dev/null | tee seen
grep -qx "plain True Error executing tool plain" seen
grep -q "converted True .*no run is named x" seen
