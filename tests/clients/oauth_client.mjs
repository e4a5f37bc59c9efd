// Signs in with an official client, as claude.ai's servers do it:
//   node oauth_client.mjs PACKAGE URL CALLBACK [DESCRIPTION]
// Prints the address for the person's browser, reads from standard input the address to which the
// browser was led, and prints what it got, with every request, as one line of JSON.
import { createInterface } from "node:readline/promises";
import { readFile } from "node:fs/promises";

const [name, url, callback, description] = process.argv.slice(2);
const of = (path) => import(name.endsWith("/sdk") ? `${name}/client/${path}.js` : name);
const { Client } = await of("index");
const { StreamableHTTPClientTransport } = await of("streamableHttp");
const { UnauthorizedError } = await of("auth");

const requests = [];
const watched = async (input, init = {}) => {
  const answer = await fetch(input, init);
  const sent = init.body ? String(init.body) : "";
  requests.push({
    method: init.method ?? "GET",
    url: String(input),
    status: answer.status,
    body: sent.slice(0, 2000),
    login: new Headers(init.headers).has("authorization"),
    challenge: answer.headers.get("www-authenticate") ?? undefined,
  });
  return answer;
};

const kept = {};
let sentTo;
const provider = {
  redirectUrl: callback,
  clientMetadataUrl: description,
  clientMetadata: {
    client_name: "Claude",
    redirect_uris: [callback],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  state: () => "the-state-of-this-visit",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  redirectToAuthorization: (address) => void (sentTo = address),
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  codeVerifier: () => kept.verifier,
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (state) => void (kept.discovery = state),
};

async function tools() {
  const client = new Client({ name: "sign-in", version: "1" });
  const options = { authProvider: provider, fetch: watched };
  const transport = new StreamableHTTPClientTransport(new URL(url), options);
  try {
    await client.connect(transport);
  } catch (error) {
    if (error instanceof UnauthorizedError) return { transport };
    throw error;
  }
  const { tools } = await client.listTools();
  await client.close();
  return { tools: tools.length };
}

const { transport } = await tools();
console.log(JSON.stringify({ open: sentTo }));
const lines = createInterface({ input: process.stdin });
const led = new URL(await new Promise((resolve) => lines.once("line", resolve)));
lines.close();
// The newer client checks the issuer of the answer (RFC 9207) itself.
await transport.finishAuth(name.endsWith("/sdk") ? led.searchParams.get("code") : led.searchParams);
const first = await tools();
const before = kept.tokens;
// As if an hour had passed: the server refuses the access token, and the client refreshes it.
kept.tokens = { ...before, access_token: "kmcpa_expired" };
const second = await tools();
const file = new URL(`./node_modules/${name}/package.json`, import.meta.url);
console.log(
  JSON.stringify({
    tools: [first.tools, second.tools],
    refreshed: kept.tokens.refresh_token !== before.refresh_token,
    scope: kept.tokens.scope,
    client: kept.client.client_id,
    version: JSON.parse(await readFile(file)).version,
    requests,
  }),
);
