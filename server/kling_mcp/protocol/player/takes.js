// The takes of one wish, kept up to date by asking the server, not the model.
const ANIMATES = "kling_image_to_video";
const ENDED = ["succeed", "failed", "cancelled"];
const ASK_FOR_S = 15;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
const PART_BYTES = 2 * 1024 * 1024;
const SHOWN_BYTES = 48 * 1024 * 1024;

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
    const content = [{ type: "text", text: `The person made take ${take.number} in the player: `
      + `task ${take.id}. It is waited for there.` }];
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
    const { model_name, mode } = take.receipt;
    const which = number ? `images/${number}` : "frames/last";
    const given = { image: `kling://tasks/${take.id}/${which}`, prompt };
    for (const name of ["provider", "duration", "sound", ...(number ? [] : ["max_units"])])
      if (take.given[name] !== undefined) given[name] = take.given[name];
    if (take.tool === ANIMATES) Object.assign(given, { model_name, mode });
    return given;
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
