// A client of the code that openapi-generator makes for typescript-fetch: BASE NAME TYPE, the type that a taken name is refused with.
import assert from "node:assert";
import { AccountsApi, Configuration, ErrorType, RefusalFromJSON, ResponseError, RoomsApi } from "./typescript-fetch";

async function refused(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (e) {
    if (e instanceof ResponseError) return RefusalFromJSON(await e.response.json()).error.type;
    throw e;
  }
  throw new Error("it was not refused");
}

async function main(base: string, name: string, taken: string) {
  let token = "";
  const configuration = new Configuration({ basePath: `${base}/api/v1`, accessToken: async () => token });
  const accounts = new AccountsApi(configuration), rooms = new RoomsApi(configuration);
  const credentials = { username: name, secret: "correct horse" };

  const account = (await accounts.signUp({ credentials })).data;
  assert(account.username === name && account.id > 0);
  assert.equal(await refused(accounts.signUp({ credentials })), taken);
  assert.equal(await refused(accounts.me()), ErrorType.InvalidAuthToken);

  token = (await accounts.logIn({ credentials })).data.token;
  const me = await accounts.me();
  assert(me.error === null && me.data.id === account.id);

  const messageDraft = { text: "Hello from TypeScript", nonce: "n-1" };
  const sent = await rooms.sendMessageRaw({ room: name, messageDraft });
  const message = (await sent.value()).data;
  assert(sent.raw.status === 201 && message.seq === 1);
  const again = await rooms.sendMessageRaw({ room: name, messageDraft });
  assert(again.raw.status === 200 && (await again.value()).data.id === message.id);
  const { messages } = (await rooms.readHistory({ room: name, after: 0, limit: 10 })).data;
  assert.deepEqual(messages.map(({ text }) => text), ["Hello from TypeScript"]);
}

const [base, name, taken] = process.argv.slice(2);
main(base, name, taken).catch((e) => {
  console.error(e);
  process.exit(1);
});
