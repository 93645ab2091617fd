"""The yardstick: the smallest BlackSheep application on the same Granian, in the same embedded mode as the
real server.

`/empty` answers without reading its body, `/read` reads it, `/loads` runs orjson.loads on the body. Started
as a process by bench/ratios.py.
"""

import sys

import orjson
import uvloop
from blacksheep import Application, Content, Request, Response
from granian.constants import Interfaces
from granian.server.embed import Server

app = Application()
_OK = Content(b"application/json", b'{"success":true}')


@app.router.post("/empty")
async def empty(_request: Request) -> Response:
    return Response(200, None, _OK)


@app.router.post("/read")
async def read(request: Request) -> Response:
    await request.read()
    return Response(200, None, _OK)


@app.router.post("/loads")
async def loads(request: Request) -> Response:
    orjson.loads(await request.read() or b"null")
    return Response(200, None, _OK)


async def main(port: int) -> None:
    await app.start()
    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        backlog=1024,
    )
    await server.serve()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
