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
    def __init__(self, url, additional_headers, close_timeout):
        self.url, self.headers, self.frames = urlsplit(url), additional_headers, asyncio.Queue()

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
        self.reading = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, *_):
        self.reading.cancel()
        self.writer.close()

    async def send(self, text):
        mask, payload = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.writer.write(bytes([0x81, 0x80 | len(payload)]) + mask + masked)

    async def recv(self):
        frame = await self.frames.get()
        if isinstance(frame, ConnectionClosed):
            raise frame
        return frame

    async def read(self):
        while True:
            try:
                first, length = await self.reader.readexactly(2)
                for marker, size in ((126, 2), (127, 8)):
                    if length == marker:
                        length = int.from_bytes(await self.reader.readexactly(size), "big")
                        break
                payload = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return self.frames.put_nowait(ConnectionClosed(None))
            if first == 0x81:
                self.frames.put_nowait(payload.decode())
            if first == 0x88:
                return self.frames.put_nowait(ConnectionClosed(Close(int.from_bytes(payload[:2], "big"))))
