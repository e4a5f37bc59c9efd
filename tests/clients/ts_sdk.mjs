// Makes a video with the client of the older official SDK, which knows only the 2025-11-25
// protocol: node ts_sdk.mjs ERA PICTURE URL | ERA PICTURE COMMAND...
// Prints what it got as one line of JSON.
import { readFile } from "node:fs/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [, image, ...target] = process.argv.slice(2);
const [command, ...args] = target;
const transport = command.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(command))
  : new StdioClientTransport({ command, args, env: process.env });
// A transport is told the version that was agreed on.
let agreed;
const tell = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  agreed = version;
  tell?.(version);
};
const client = new Client({ name: "ts-sdk", version: "1" });
await client.connect(transport);

async function facts(name, given) {
  const result = await client.callTool({ name, arguments: given });
  if (result.isError) throw new Error(JSON.stringify(result.content));
  return result.structuredContent;
}

const { tools } = await client.listTools();
const wish = { image, prompt: "Slow zoom" };
const { task_id } = await facts("kling_image_to_video", wish);
const waited = await facts("kling_wait_for_tasks", { task_ids: [task_id] });
if (!waited.done) throw new Error(JSON.stringify(waited));
const { path } = await facts("kling_save_video", { task_id });
// What a host would show, also when the client refuses the answer.
const refusal = await client
  .callTool({ name: "kling_image_to_video", arguments: { ...wish, duration: "7" } })
  .then((refused) => (refused.isError ? refused.content[0].text : ""), String);
const file = new URL("./node_modules/@modelcontextprotocol/sdk/package.json", import.meta.url);
console.log(
  JSON.stringify({
    tools: tools.length,
    path,
    refusal,
    era: agreed < "2026-07-28" ? "legacy" : "modern",
    version: JSON.parse(await readFile(file)).version,
  }),
);
await client.close();
