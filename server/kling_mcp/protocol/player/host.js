// The host around this page, spoken to by JSON-RPC over postMessage (MCP Apps, 2026-01-26).
const ANSWER_WITHIN_MS = 65_000;

class Host {
  #last = 0;
  #waiting = new Map();
  on = {};
  capabilities = {};

  constructor() {
    addEventListener("message", (event) => {
      if (event.source === parent && event.data?.jsonrpc === "2.0") this.#hear(event.data);
    });
  }

  async connect() {
    const { hostCapabilities, hostContext } = await this.request("ui/initialize", {
      appInfo: { name: "kling-player", version: "1.0.0" },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
      protocolVersion: "2026-01-26",
    });
    this.capabilities = hostCapabilities ?? {};
    this.tell("ui/notifications/initialized", {});
    return hostContext ?? {};
  }

  tell(method, params) {
    parent.postMessage({ jsonrpc: "2.0", method, params }, "*");
  }

  request(method, params) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(id, { error: { message: "no answer" } }),
        ANSWER_WITHIN_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      parent.postMessage({ jsonrpc: "2.0", id, method, params }, "*");
    });
  }

  // The structured answer of a tool; throws its words when it is an error.
  async tool(name, given) {
    const result = await this.request("tools/call", { name, arguments: given });
    if (result.isError) throw new ToolError(wordsOf(result));
    return result.structuredContent ?? {};
  }

  // What only the host can do; throws these words when it does not.
  async ask(method, params, otherwise) {
    const { isError } = await this.request(method, params) ?? {};
    if (isError) throw new Error(otherwise);
  }

  async read(uri) {
    const { contents } = await this.request("resources/read", { uri });
    return contents[0];
  }

  #hear(message) {
    if (message.method && message.id !== undefined) this.#answer(message);
    else if (message.method) this.on[message.method]?.(message.params ?? {});
    else this.#settle(message.id, message);
  }

  #answer({ id, method }) {
    const known = method === "ping" || method === "ui/resource-teardown";
    this.on[method]?.({});
    const error = { code: -32601, message: `${method} is not known here` };
    parent.postMessage({ jsonrpc: "2.0", id, ...(known ? { result: {} } : { error }) }, "*");
  }

  #settle(id, { result, error }) {
    const waiter = this.#waiting.get(id);
    if (!waiter) return;
    this.#waiting.delete(id);
    clearTimeout(waiter.timer);
    if (error) waiter.reject(new Error(error.message));
    else waiter.resolve(result);
  }
}

// What the server itself refused; any other error is one of the way to it.
class ToolError extends Error {}

const wordsOf = (result) =>
  (result.content ?? []).filter((part) => part.type === "text").map((part) => part.text).join(" ");
