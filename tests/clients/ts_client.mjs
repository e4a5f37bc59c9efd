// Makes a video with the official client: node ts_client.mjs ERA PICTURE URL | ERA PICTURE COMMAND...
// ERA is legacy (2025-11-25) or modern (2026-07-28). Prints what it got as one line of JSON.
import { readFile } from "node:fs/promises";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [era, image, ...target] = process.argv.slice(2);
const mode = era === "modern" ? { pin: "2026-07-28" } : "legacy";
const [command, ...args] = target;
const transport = command.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(command))
  : new StdioClientTransport({ command, args, env: process.env });
const client = new Client({ name: "ts-client", version: "1" }, { versionNegotiation: { mode } });
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
const refused = await client.callTool({
  name: "kling_image_to_video",
  arguments: { ...wish, duration: "7" },
});
const file = new URL("./node_modules/@modelcontextprotocol/client/package.json", import.meta.url);
console.log(
  JSON.stringify({
    tools: tools.length,
    path,
    refusal: refused.isError ? refused.content[0].text : "",
    era: client.getProtocolEra(),
    version: JSON.parse(await readFile(file)).version,
  }),
);
await client.close();
