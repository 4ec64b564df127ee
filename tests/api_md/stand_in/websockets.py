"""Stands in for the library of this name in the tests of API.md: as much of it as the example there uses."""

import asyncio
import base64
import os
from urllib.parse import urlsplit


class ConnectionClosed(Exception):
    def __init__(self, rcvd):
        self.rcvd = rcvd


class InvalidStatus(Exception):
    pass


class Close:
    def __init__(self, code):
        self.code = code


class connect:
    def __init__(self, url, additional_headers):
        self.url, self.headers, self.close_code = urlsplit(url), additional_headers, None

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection(self.url.hostname, self.url.port)
        key = base64.b64encode(os.urandom(16)).decode()
        headers = {
            "Host": self.url.netloc,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            **self.headers,
        }
        target = self.url.path + ("?" + self.url.query if self.url.query else "")
        lines = [f"GET {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode())
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError from error
        if b" 101 " not in head:
            raise InvalidStatus(head.split(b"\r\n")[0].decode())
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            try:
                first, length = await self.reader.readexactly(2)
                for marker, size in ((126, 2), (127, 8)):
                    if length == marker:
                        length = int.from_bytes(await self.reader.readexactly(size), "big")
                        break
                payload = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise ConnectionClosed(None) from error
            if first == 0x81:
                return payload.decode()
            if first == 0x88:
                self.close_code = int.from_bytes(payload[:2], "big")
                if self.close_code in (1000, 1001):
                    raise StopAsyncIteration
                raise ConnectionClosed(Close(self.close_code))
