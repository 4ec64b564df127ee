"""What schemathesis checks beside its own: that what the document allows is taken. It is its `positive_data_acceptance`, which
knows statuses alone, with what no schema can say: which names there are, bytes, and what a name looks like."""

import unicodedata
from urllib.parse import unquote

import schemathesis


def is_folded(room):
    return any(part in (".", "..") for name in (room, unquote(room)) for part in name.replace("\\", "/").split("/")) or (
        unquote(room).startswith("/") or unquote(room).endswith("/")
    )


def is_long(room):
    return max(len(room.encode()), len(unicodedata.normalize("NFC", room).encode())) > 128


def reasons(case):
    """The types that this valid request may be refused with."""
    body = case.body if isinstance(case.body, dict) else {}
    operation = case.operation.definition.raw["operationId"]
    room = unquote((case.path_parameters or {}).get("room", ""))
    if is_folded(room) or is_long(room):
        yield "BAD_ROOM"
    if operation == "signUp":
        yield "USER_EXISTS"
        if len(body["secret"].encode()) > 1024:
            yield "BAD_PASSWORD"
        if not body["username"].isascii():
            yield "BAD_BINDING"  # it may be hidden, or look like another
    if operation == "logIn":
        yield from ("USER_NOT_FOUND", "PASSWORD_MATCH_FAILED")
    if operation == "sendMessage" and len(body["text"].encode()) > 4096:
        yield "TOO_LARGE"
    if operation == "followRoom":
        yield "BAD_BINDING"  # it is no handshake


@schemathesis.check
def valid_is_taken(ctx, response, case):
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code < 400:
        return
    refused = response.json()["error"]["type"]
    assert refused in reasons(case), f"valid, and refused: {refused}"
