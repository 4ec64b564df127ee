// A client of the types that openapi-typescript makes, with openapi-fetch: BASE NAME TYPE, the type that a taken name is refused with.
import assert from "node:assert";
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

type ErrorType = components["schemas"]["ErrorType"];

async function main(base: string, name: string, taken: string) {
  let token: string | undefined;
  const client = createClient<paths>({ baseUrl: `${base}/api/v1` });
  client.use({
    onRequest({ request }) {
      if (token) request.headers.set("Authorization", `Bearer ${token}`);
    },
  });
  const credentials = { username: name, secret: "correct horse" };
  const params = { path: { room: name } };

  const account = (await client.POST("/users", { body: credentials })).data!.data;
  assert(account.username === name && account.id > 0);
  const { error } = await client.POST("/users", { body: credentials });
  assert.equal(error?.error.type, taken);
  const unknown = await client.GET("/users/me");
  const expected: ErrorType = "INVALID_AUTH_TOKEN";
  assert.equal(unknown.error?.error.type, expected);

  token = (await client.POST("/login", { body: credentials })).data!.data.token;
  const me = (await client.GET("/users/me")).data!;
  assert(me.error === null && me.data.id === account.id);

  const body = { text: "Hello from types", nonce: "n-1" };
  const sent = await client.POST("/rooms/{room}/messages", { params, body });
  assert(sent.response.status === 201 && sent.data!.data.seq === 1);
  const again = await client.POST("/rooms/{room}/messages", { params, body });
  assert(again.response.status === 200 && again.data!.data.id === sent.data!.data.id);
  const query = { after: 0, limit: 10 };
  const history = await client.GET("/rooms/{room}/messages", { params: { ...params, query } });
  assert.deepEqual(history.data!.data.messages.map(({ text }) => text), ["Hello from types"]);
}

const [base, name, taken] = process.argv.slice(2);
main(base, name, taken).catch((e) => {
  console.error(e);
  process.exit(1);
});
