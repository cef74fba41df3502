"""The webhook sender before HTTP servers of other makes: their keep-alive, their versions, their noise, their TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
import trio
import trustme
from receiving import attempt_at

from stationkeeper.daemon.simulation.gateway import free_port
from stationkeeper.engine.sending import Answer
from stationkeeper.transports import WebhookSender

ATTEMPTS = 4


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program}")


@contextmanager
def running(*command: str) -> Iterator[int]:
    """Run a server that prints its port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def answers_of(url: str, tls: ssl.SSLContext | None = None) -> tuple[list[Answer], int]:
    """Return the answers to some attempts one after the other, and how many connections were left at the end."""
    async with aclosing(WebhookSender(allow_http=True, allow_private_networks=True, tls=tls)) as sending:
        answers = [await sending.send(attempt_at(url)) for _ in range(ATTEMPTS)]
        return answers, len(sending._wires)


def check(answers: list[Answer], excerpt: str, status: int = 200) -> None:
    assert [(one.status, one.error, one.excerpt) for one in answers] == [(status, "", excerpt)] * ATTEMPTS


PYTHON_SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        if self.path == "/measured":
            self.send_header("Content-Length", "2")
        else:
            self.close_connection = True
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *words): ...

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize(
    ("version", "path", "kept"),
    [("HTTP/1.0", "measured", 0), ("HTTP/1.0", "until-closed", 0), ("HTTP/1.1", "measured", 1)],
)
async def test_pythons_own(version: str, path: str, kept: int) -> None:
    with running(sys.executable, "-c", PYTHON_SERVER, version) as port:
        answers, left = await answers_of(f"http://127.0.0.1:{port}/{path}")

    check(answers, "ok")
    assert left == kept


NODE_SERVER = """
const server = require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    if (request.url === '/noise') {
      response.writeContinue();
      response.writeProcessing();
      response.writeEarlyHints({link: '</a>; rel=preload'});
    }
    if (request.url === '/close') response.setHeader('connection', 'close');
    if (request.url === '/chunked') { response.write('o'); response.write('k'); response.end(); return; }
    response.end('ok');
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@needs("node")
async def test_nodes() -> None:
    with running("node", "-e", NODE_SERVER) as port:
        for path, kept in (("", 1), ("noise", 1), ("chunked", 1), ("close", 0)):
            answers, left = await answers_of(f"http://127.0.0.1:{port}/{path}")
            check(answers, "ok")
            assert left == kept


AIOHTTP_SERVER = """
import asyncio, socket
from aiohttp import web

async def receive(request):
    await request.read()
    return web.Response(text="ok") if request.path == "/" else web.Response(status=204)

async def main():
    app = web.Application()
    app.router.add_post("/{rest:.*}", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, sock).start()
    print(sock.getsockname()[1], flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_aiohttps() -> None:
    with running(sys.executable, "-c", AIOHTTP_SERVER) as port:
        for path, status, excerpt in (("", 200, "ok"), ("empty", 204, "")):
            answers, left = await answers_of(f"http://127.0.0.1:{port}/{path}")
            check(answers, excerpt, status)
            assert left == 1


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
    ssl_protocols {version}; ssl_session_tickets on; ssl_session_cache shared:one:1m;
    keepalive_requests 3;
    return 200 "ok";
  }}
}}
"""


@contextmanager
def nginx(folder: Path, authority: trustme.CA, version: str) -> Iterator[int]:
    port = free_port()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, version=version))
    words = ("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"))
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


@needs("nginx")
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_nginxs_over_tls(tmp_path: Path, version: str) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with nginx(tmp_path, authority, version) as port:
        for _ in range(500):
            if (await answers_of(f"https://127.0.0.1:{port}/", context))[0][0].status is not None:
                break
            await trio.sleep(0.02)
        answers, left = await answers_of(f"https://127.0.0.1:{port}/", context)

    check(answers, "ok")  # the third answer says `Connection: close`
    assert left == 1
