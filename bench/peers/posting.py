"""Posts signed bodies with a client library of asyncio's world, as one would without an engine: nothing is recorded.

`posting.py LIBRARY URL AUTHORITY BODIES IN_FLIGHT`: *bodies* is a file with a JSON array, *authority* one with the
certificate that the receiver's hangs from. Prints the seconds that it took, on the wall and of CPU, once connected.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import httpx

from stationkeeper.transports.webhooks.standard_webhooks import signed_headers

SECRET = b"0123456789abcdef01234567"

Post = Callable[[bytes, dict[str, str]], Awaitable[None]]


async def post_all(post: Post, bodies: list[bytes], in_flight: int) -> tuple[float, float]:
    """Post the bodies, so many at a time; return the seconds that took, on the wall and of CPU."""
    numbered = iter(enumerate(bodies))

    async def worker(mine: Iterator[tuple[int, bytes]]) -> None:
        for number, body in mine:
            headers = dict(signed_headers([SECRET], f"msg_{number}", int(time.time()), body))
            await post(body, headers | {"content-type": "application/json"})

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker(numbered) for _ in range(in_flight)))
    return time.perf_counter() - began, time.process_time() - cpu


async def by_httpx(url: str, tls: ssl.SSLContext, bodies: list[bytes], in_flight: int) -> tuple[float, float]:
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(verify=tls, limits=limits, timeout=15) as client:

        async def post(body: bytes, headers: dict[str, str]) -> None:
            answer = await client.post(url, content=body, headers=headers)
            assert answer.status_code == 204

        await post_all(post, bodies[:in_flight], in_flight)
        return await post_all(post, bodies, in_flight)


async def by_aiohttp(url: str, tls: ssl.SSLContext, bodies: list[bytes], in_flight: int) -> tuple[float, float]:
    connector = aiohttp.TCPConnector(limit=in_flight, ssl=tls)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(15)) as client:

        async def post(body: bytes, headers: dict[str, str]) -> None:
            async with client.post(url, data=body, headers=headers) as answer:
                await answer.read()
                assert answer.status == 204

        await post_all(post, bodies[:in_flight], in_flight)
        return await post_all(post, bodies, in_flight)


def main() -> None:
    library, url, authority, file, in_flight = sys.argv[1:]
    bodies = [body.encode() for body in json.loads(Path(file).read_text())]
    tls = ssl.create_default_context(cafile=authority)
    by = {"httpx": by_httpx, "aiohttp": by_aiohttp}[library]
    print(json.dumps(asyncio.run(by(url, tls, bodies, int(in_flight)))))


if __name__ == "__main__":
    main()
