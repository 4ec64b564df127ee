"""The server of a later release, in front of this one's: what clients are promised that they will live with. Answers have
keys that nobody knows, and a name that is taken is refused with a type that nobody knows. It prints where it is."""

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = sys.argv[1].removeprefix("http://")


def later(value):
    if isinstance(value, list):
        return [later(item) for item in value]
    if not isinstance(value, dict):
        return "NAME_IS_GONE" if value == "USER_EXISTS" else value
    added = {"added": {"in": ["a", "later"]}, "release": 1, "andNull": None}
    return {key: later(item) for key, item in value.items()} | added


class Later(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(HOST, timeout=10)
        headers = {key: value for key, value in self.headers.items() if key.lower() in ("authorization", "content-type", "host")}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        body = json.dumps(later(json.load(answer))).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_GET = do_POST = forward

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Later)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
