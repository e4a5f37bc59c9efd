// Makes a video with the official tasks client: node tasks_extension.mjs URL PICTURE
// Prints what it got as JSON. Needs @modelcontextprotocol/client and @modelcontextprotocol/ext-tasks.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

const [url, image] = process.argv.slice(2);
const protocolVersion = "2026-07-28";
const clientInfo = { name: "tasks-extension-test", version: "1" };
const clientCapabilities = { extensions: { "io.modelcontextprotocol/tasks": {} } };
const statuses = [];
let requests = 0;

// The SDK's own codecs refuse what they do not know; the tasks package asks its host to send such
// requests itself.
async function rawDispatch(request, options) {
  const name = request.params.taskId ?? request.params.name;
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": protocolVersion,
      "mcp-method": request.method,
      "mcp-name": name,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: ++requests, ...request }),
    signal: options?.signal,
  });
  const text = await response.text();
  const json = response.headers.get("content-type").startsWith("text/event-stream")
    ? text.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).at(-1)
    : text;
  const message = JSON.parse(json);
  if (message.result?.status) statuses.push(message.result.status);
  return message.error
    ? { kind: "error", error: message.error }
    : { kind: "result", result: message.result };
}

async function connected() {
  const client = new Client(clientInfo, {
    capabilities: clientCapabilities,
    versionNegotiation: { mode: { pin: protocolVersion } },
  });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const session = createTaskSessionFromClient(client, {
    endpointId: "kling",
    rawDispatch,
    v2RequestFraming: { protocolVersion, clientInfo, clientCapabilities },
  });
  return { client, session };
}

const wish = { image, prompt: "Zoom" };
const { client, session } = await connected();
const execution = await session.callTool("kling_image_to_video", wish);
const video = resultFromTaskOutcome((await execution.settle()).outcome);

const judged = await session.callTool("kling_image_to_video", { ...wish, dry_run: true });
const dryRun = resultFromTaskOutcome((await judged.settle()).outcome);

const again = await session.callTool("kling_image_to_video", wish);
const repeated = resultFromTaskOutcome((await again.settle()).outcome);
await session.close();
await client.close();

console.log(JSON.stringify({ statuses, video, dryRun, repeated }));
