const host = new Host();
const view = new View(host);
let tool = ANIMATES;
host.on["ui/notifications/tool-input"] = (params) => view.wish(params.arguments ?? {});
host.on["ui/notifications/tool-result"] = (result) => view.answer(tool, result);
host.on["ui/notifications/tool-cancelled"] = () => {
  el("connection").textContent = "The call was cancelled; the video goes on if it was sent.";
};
host.on["ui/notifications/host-context-changed"] = (context) => view.context(context);
host.on["ui/resource-teardown"] = () => view.takes.stop();
el("size").onclick = async () => {
  const mode = document.documentElement.dataset.size === "fullscreen" ? "inline" : "fullscreen";
  view.context({ displayMode: (await host.request("ui/request-display-mode", { mode })).mode });
};
const context = await host.connect();
tool = context.toolInfo?.tool?.name ?? tool;
view.context(context);
