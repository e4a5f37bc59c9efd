// The takes of one wish, kept up to date by asking the server, not the model.
const ANIMATES = "kling_image_to_video";
const ENDED = ["succeed", "failed", "cancelled"];
const ASK_FOR_S = 15;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
const PART_BYTES = 2 * 1024 * 1024;
const SHOWN_BYTES = 48 * 1024 * 1024;
const PICTURE_BYTES = 10 * 1024 * 1024;
// The origins from which this page may send a picture to the server's upload address.
const UPLOADS_FROM = [/*origins*/];

// A task with what an answer about many says once, and the whole path of its file.
function whole({ tasks, unless_stated: shared = {} }, index) {
  const view = { ...shared, ...tasks[index] };
  for (const name of Object.keys(view)) if (view[name] === null) delete view[name];
  if (view.path) view.path = view.path.replaceAll("{task_id}", view.task_id);
  if (view.path && tasks[index].path && !/[\\/]/.test(view.path))
    view.path = (shared.folder ?? "") + view.path;
  return view;
}

class Take {
  constructor(tool, given, receipt) {
    this.tool = tool;
    this.given = given;
    this.receipt = receipt;
    this.id = receipt.task_id;
    this.number = receipt.take;
    this.name = receipt.shots ? `Film ${receipt.name}` : `Take ${receipt.take}`;
    this.began = Date.now();
    this.view = { task_id: this.id, status: receipt.status };
  }

  get open() {
    return this.id !== undefined && !ENDED.includes(this.view.status);
  }

  get elapsed() {
    return Math.round((Date.now() - this.began) / 1000);
  }

  // The shots of a film; undefined for any other take.
  get shots() {
    return this.view.shots ?? this.receipt.shots;
  }

  get pictures() {
    return this.view.pictures?.length > 0;
  }

  see(view) {
    this.view = view;
    if (view.elapsed_s !== undefined) this.began = Date.now() - view.elapsed_s * 1000;
  }
}

class Takes {
  #all = [];
  #asking = false;
  #stopped = false;
  #uploads = new WeakMap();

  constructor(host, changed) {
    this.host = host;
    this.changed = changed;
    this.lost = "";
  }

  get all() {
    return this.#all;
  }

  add(tool, given, receipt) {
    const same = this.#all.find((take) => receipt.task_id && take.id === receipt.task_id);
    if (same) return same;
    const take = new Take(tool, given, receipt);
    this.#all.push(take);
    this.changed();
    void this.#follow();
    return take;
  }

  stop() {
    this.#stopped = true;
  }

  // The price of the same wish once more, or of another one; nothing is sent.
  async price(tool, given) {
    return this.host.tool(tool, { ...given, dry_run: true });
  }

  async make(tool, given) {
    const take = this.add(tool, given, await this.host.tool(tool, given));
    const own = given.image?.startsWith("kling://uploads/") ? ` of a picture sent as ${given.image}`
      : given.image?.startsWith("data:") ? " of a picture" : "";
    const content = [{ type: "text", text: `The person made take ${take.number}${own} in the `
      + `player: task ${take.id}. It is waited for there.` }];
    if (this.host.capabilities.updateModelContext)
      this.host.request("ui/update-model-context", { content }).catch(() => {});
    return take;
  }

  nextTake(take) {
    const numbers = this.#all.filter((other) => other.given.prompt === take.given.prompt)
      .map((other) => other.number);
    return { ...take.given, take: Math.max(...numbers) + 1, dry_run: false };
  }

  // What goes on from the last frame of a video, or from one of the pictures.
  continuation(take, prompt, number) {
    const which = number ? `images/${number}` : "frames/last";
    const kept = ["provider", "duration", "sound", ...(number ? [] : ["max_units"])];
    return this.#animating(`kling://tasks/${take.id}/${which}`, prompt, take, kept);
  }

  // What animates a picture of the person's as this take, or this call that failed, was to be made.
  async ofOwn(file, prompt, { tool, given, receipt }) {
    const kept = tool === ANIMATES ? ["provider", "duration", "sound", "max_units"] : ["provider"];
    return this.#animating(await this.#sent(file), prompt, { tool, given, receipt }, kept);
  }

  #animating(image, prompt, { tool, given, receipt }, kept) {
    const names = tool === ANIMATES ? [...kept, "model_name", "mode"] : kept;
    const known = { ...given, ...(receipt.model_name ? receipt : {}) };
    const from = (name) => (kept.includes(name) ? given : known)[name];
    const same = names.map((name) => [name, from(name)]).filter(([, value]) => value !== undefined);
    return { image, prompt, ...Object.fromEntries(same) };
  }

  // What stands for a picture of the person's: an upload, else the picture itself.
  async #sent(file) {
    const known = this.#uploads.get(file);
    if (known) return known;
    const here = (origin) => origin.endsWith(":*")
      ? self.origin.startsWith(origin.slice(0, -1)) : origin === self.origin;
    let refused = "";
    if (UPLOADS_FROM.some(here)) {
      try {
        const { upload_url, image } = await this.host.tool("kling_upload_picture", {});
        const answer = await fetch(upload_url, { method: "PUT", body: file });
        if (answer.ok) this.#uploads.set(file, image);
        else refused = (await answer.json()).error;
      } catch {
        // it goes in the call itself
      }
      if (refused) throw new Error(refused);
    }
    if (!this.#uploads.has(file)) this.#uploads.set(file, await asData(file));
    return this.#uploads.get(file);
  }

  // Hands the files of a take to the host, which saves them where the person says.
  async download(take) {
    const numbers = (take.view.pictures ?? []).map((_, place) => place + 1);
    const contents = numbers.length
      ? await Promise.all(numbers.map((number) => this.#pictureFile(take, number)))
      : [await this.#videoFile(take)];
    await this.host.ask("ui/download-file", { contents },
      "Nothing was downloaded: the host refused it, or you did.");
    return "Downloaded";
  }

  async #pictureFile(take, number) {
    const { blob } = await this.host.read(`kling://tasks/${take.id}/images/${number}`);
    return embedded(`kling-${take.id}-${number}.png`, "image/png", blob);
  }

  async #videoFile(take) {
    const { path, url } = take.view;
    const link = take.view.sandbox ? url : url ?? take.view.videos?.[0]?.url;
    const named = path ?? (url && decodeURIComponent(new URL(url).pathname));
    const name = named?.split(/[\\/]/).at(-1) ?? `kling-${take.id}.mp4`;
    const linked = { type: "resource_link", uri: link, name, mimeType: "video/mp4" };
    if (!path && link) return linked;
    try {
      const data = await this.bytes(take);
      return embedded(name, "video/mp4", data.slice(data.indexOf(",") + 1));
    } catch (error) {
      if (link) return linked;
      throw new Error(`The video cannot be handed over (${error.message}) It is saved at ${path}`);
    }
  }

  async save(take) {
    const saved = await this.host.tool("kling_save_video", { task_id: take.id });
    take.see({ ...take.view, path: saved.path, url: saved.url });
    this.changed();
  }

  // A picture that the task made, as a data: URL.
  async picture(take, number) {
    const { blob } = await this.host.read(`kling://tasks/${take.id}/images/${number}`);
    return `data:image/png;base64,${blob}`;
  }

  // The first frame of a shot, as a data: URL.
  async frame(task_id) {
    const { blob } = await this.host.read(`kling://tasks/${task_id}/frames/first`);
    return `data:image/png;base64,${blob}`;
  }

  // The whole saved file as a data: URL, read in parts.
  async bytes(take) {
    const parts = [];
    let first = 0;
    for (;;) {
      const last = first + PART_BYTES - 1;
      const part = await this.host.read(`kling://tasks/${take.id}/video/${first}-${last}`);
      const size = (part.blob.length / 4) * 3 - (part.blob.match(/=*$/)[0].length);
      parts.push(part.blob);
      first += size;
      if (size < PART_BYTES) return `data:video/mp4;base64,${parts.join("")}`;
      if (first >= SHOWN_BYTES) throw new ToolError("The video is too large to be shown here.");
    }
  }

  async #follow() {
    if (this.#asking) return;
    this.#asking = true;
    let pause = FIRST_PAUSE_MS;
    while (!this.#stopped && this.#all.some((take) => take.open)) {
      try {
        await this.#ask();
        this.lost = "";
        pause = FIRST_PAUSE_MS;
      } catch (error) {
        this.lost = error instanceof ToolError ? error.message
          : "The connection to the server is lost; trying again. The video goes on without it.";
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
      this.changed();
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    this.#asking = false;
  }

  async #ask() {
    const open = this.#all.filter((take) => take.open);
    const task_ids = open.map((take) => take.id);
    const answer = await this.host.tool("kling_wait_for_tasks",
      { task_ids, timeout_s: ASK_FOR_S });
    open.forEach((take, index) => take.see(whole(answer, index)));
    for (const take of open.filter((one) => one.shots))
      take.see(await this.host.tool("kling_get_task", { task_id: take.id }));
  }
}

const embedded = (name, mimeType, blob) =>
  ({ type: "resource", resource: { uri: `file:///${encodeURIComponent(name)}`, mimeType, blob } });

function asData(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The picture cannot be read. Choose it again."));
    reader.readAsDataURL(file);
  });
}

// Why a file cannot be taken as a picture; empty when nothing is against it.
function amissWith(file) {
  if (file.type && !file.type.startsWith("image/")) return `${file.name} is no picture.`;
  if (file.size > PICTURE_BYTES)
    return `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MB; Kling takes 10 MB at most.`;
  return file.size ? "" : `${file.name} is empty.`;
}
