// A host as small as one can be: the official client and the official bridge around the player.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const MIME = "text/html;profile=mcp-app";
const said = { context: [], messages: [], calls: [], links: [], files: [] };

function contentSecurityPolicy(csp = {}) {
  const hosts = (csp.resourceDomains ?? []).join(" ");
  return [
    "default-src 'none'", "script-src 'unsafe-inline'", "style-src 'unsafe-inline'",
    `img-src data: ${hosts}`, `media-src data: ${hosts}`,
    `connect-src ${(csp.connectDomains ?? ["'none'"]).join(" ")}`,
  ].join("; ");
}

// `can` are further capabilities of the host; what it is `unwilling` to do it refuses. With an
// `ownOrigin` the page's origin is that of this page, as a host's sandbox has one; else it is none.
async function open({ tool, given, theme = "light", width = 700, can = {}, unwilling = false,
  ownOrigin = false }) {
  document.body.classList.toggle("dark", theme === "dark");
  const client = new Client({ name: "host", version: "1" }, {
    capabilities: { extensions: { "io.modelcontextprotocol/ui": { mimeTypes: [MIME] } } },
  });
  await client.connect(new StreamableHTTPClientTransport(new URL("/mcp", location.href)));
  const { tools } = await client.listTools();
  const shown = tools.find((one) => one.name === tool);
  const uri = shown._meta.ui.resourceUri;
  const { contents: [page] } = await client.readResource({ uri });
  const frame = document.createElement("iframe");
  frame.title = "Player";
  frame.style.width = `${width}px`;
  frame.sandbox = `allow-scripts allow-forms${ownOrigin ? " allow-same-origin" : ""}`;
  const csp = contentSecurityPolicy(page._meta?.ui?.csp);
  const meta = `<meta http-equiv="Content-Security-Policy" content="${csp}">`;
  const bridge = new AppBridge(client, { name: "host", version: "1" }, {
    serverTools: {}, serverResources: {}, updateModelContext: { text: {} }, ...can,
  }, { hostContext: { theme, toolInfo: { tool: shown }, displayMode: "inline",
    availableDisplayModes: ["inline", "fullscreen"] } });
  bridge.onupdatemodelcontext = async (params) => { said.context.push(params); return {}; };
  const done = (list) => async (params) => { list.push(params); return { isError: unwilling }; };
  bridge.onmessage = done(said.messages);
  bridge.onopenlink = done(said.links);
  bridge.ondownloadfile = done(said.files);
  bridge.onrequestdisplaymode = async ({ mode }) => {
    frame.style.width = mode === "fullscreen" ? "100%" : `${width}px`;
    return { mode };
  };
  bridge.onsizechange = ({ height }) => { if (height) frame.style.height = `${height}px`; };
  const ready = new Promise((resolve) => { bridge.oninitialized = resolve; });
  document.body.append(frame);
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = page.text.replace("<head>", `<head>${meta}`);
  await ready;
  await bridge.sendToolInput({ arguments: given });
  const result = await client.callTool({ name: tool, arguments: given });
  await bridge.sendToolResult(result);
  return { bridge, client, frame, result };
}

window.host = { open, said };
