"""A client of the code that openapi-generator makes for Python: BASE NAME TYPE, the type that a taken name is refused with."""

import sys

from pydantic import ValidationError
from chat import AccountsApi, ApiClient, ApiException, Configuration, Credentials, ErrorType, MessageDraft, RoomsApi

base, name, taken = sys.argv[1:]
client = ApiClient(Configuration(host=f"{base}/api/v1"))
accounts, rooms = AccountsApi(client), RoomsApi(client)
credentials = Credentials(username=name, secret="correct horse")


def refused(call, *arguments):
    try:
        call(*arguments)
    except ApiException as e:
        return e.data.error.type
    raise AssertionError("it was not refused")


try:
    Credentials(username=name, secret="")
    raise AssertionError("an empty secret passes for one")
except ValidationError:
    pass

account = accounts.sign_up(credentials).data
assert account.username == name and account.id > 0
assert refused(accounts.sign_up, credentials) == taken
assert ErrorType(refused(accounts.me)) == ErrorType.INVALID_AUTH_TOKEN

client.configuration.access_token = accounts.log_in(credentials).data.token
me = accounts.me()
assert me.error is None and me.data.id == account.id

draft = MessageDraft(text="Hello from Python", nonce="n-1")
sent = rooms.send_message_with_http_info(name, draft)
assert sent.status_code == 201 and sent.data.data.seq == 1
again = rooms.send_message_with_http_info(name, draft)
assert again.status_code == 200 and again.data.data.id == sent.data.data.id
messages = rooms.read_history(name, after=0, limit=10).data.messages
assert [message.text for message in messages] == ["Hello from Python"]
