"""Stands in for the library of this name in the tests of API.md: as much of it as the example there uses."""

import asyncio
import base64
import os
from email.message import Message
from urllib.parse import urlsplit


class ConnectionClosed(Exception):
    def __init__(self, rcvd):
        self.rcvd = rcvd


class InvalidHandshake(Exception):
    pass


class InvalidStatus(InvalidHandshake):
    def __init__(self, response):
        self.response = response


class Response:
    def __init__(self, head):
        first, *lines = head.decode().split("\r\n")
        self.status_code = int(first.split(" ")[1])
        self.headers = Message()
        for line in filter(None, lines):
            self.headers.add_header(*line.split(": ", 1))


class Close:
    def __init__(self, code):
        self.code = code


class connect:
    def __init__(self, url, additional_headers, open_timeout, close_timeout):
        self.url, self.headers, self.frames = urlsplit(url), additional_headers, asyncio.Queue()
        self.open_timeout = open_timeout

    async def __aenter__(self):
        await asyncio.wait_for(self.open(), self.open_timeout)
        self.reading = asyncio.create_task(self.read())
        return self

    async def open(self):
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
            raise InvalidHandshake from error
        response = Response(head)
        if response.status_code != 101:
            raise InvalidStatus(response)

    async def __aexit__(self, *_):
        self.reading.cancel()
        self.writer.close()

    async def send(self, text):
        mask, payload = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        length = len(payload)
        size = [0x80 | length] if length < 126 else [0xFE, *length.to_bytes(2, "big")]
        self.writer.write(bytes([0x81, *size]) + mask + masked)

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
