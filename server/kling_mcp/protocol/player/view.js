// What a person sees of the takes.
const WORDS = {
  queued: "waiting for a free slot",
  sending: "on its way",
  submitted: "accepted, not begun yet",
  processing: "being made",
  unknown: "being looked up",
  succeed: "done",
  failed: "failed",
  cancelled: "withdrawn",
};
// How long after a finger its click may come, and how long a button is held down at most.
const CLICK_MS = 350;
const LONGEST_MS = 5_000;
const el = (id) => document.getElementById(id);
const amount = (units, unit = "unit") => `${units} ${unit}${units === 1 ? "" : "s"}`;
const price = ({ estimate_units: units, estimate_usd: usd, unit }) => {
  if (units === undefined) return "Price unknown";
  const dollars = usd === undefined ? "" : ` ($${usd.toFixed(2)})`;
  return `${amount(units, unit)}${dollars}`;
};
const outline = (take) => {
  if (take.shots) {
    const length = take.receipt.seconds ? `, ${take.receipt.seconds} s` : "";
    return `${amount(take.shots.length, "shot")}${length}. ${price(take.receipt)}.`;
  }
  const { model_name, mode, duration_s, n, provider } = take.receipt;
  const made = n ? amount(n, "picture") : `${duration_s} s`;
  const uses = take.receipt.uses ?? [];
  const what = [model_name, mode, made, provider, ...uses].filter(Boolean).join(", ");
  return `${what}. ${price(take.receipt)}.${take.open ? ` Begun ${take.elapsed} s ago.` : ""}`;
};

class View {
  #cards = new Map();
  #own;
  #steady = Promise.resolve();

  constructor(host) {
    this.host = host;
    this.takes = new Takes(host, () => this.draw());
    setInterval(() => this.#tick(), 1_000);
    new ResizeObserver(() => this.#tellSize()).observe(document.documentElement);
    this.#own = el("own");
    this.#own.append(el("take").content.querySelector(".ask").cloneNode(true));
    this.#own.querySelector(".no").onclick = () => this.#close(this.#own);
    const button = this.#button("Animate a picture of your own", () => this.#askForPicture());
    this.#own.querySelector(".actions").append(button);
    this.#own.querySelector("input").onchange = () => this.#chosen();
    this.#listenForPictures();
    addEventListener("pointerdown", ({ button }) => { if (button === 0) this.#holdStill(); },
      { capture: true });
    addEventListener("keydown", ({ key, repeat }) => {
      if (key === " " && !repeat) this.#holdStill();
    }, { capture: true });
  }

  // While a button is held down nothing moves: its click would be lost. On a touch screen the click
  // comes some time after the finger is gone; the end may also be told to a menu or to another page.
  #holdStill() {
    this.#steady = new Promise((resolve) => {
      const over = new AbortController();
      const end = () => { over.abort(); resolve(); };
      const endAfter = (ms, name, capture = true) =>
        addEventListener(name, () => setTimeout(end, ms), { capture, signal: over.signal });
      for (const name of ["click", "keyup", "pointercancel", "contextmenu"]) endAfter(0, name);
      endAfter(CLICK_MS, "pointerup");
      endAfter(0, "blur", false);
      setTimeout(end, LONGEST_MS);
    });
  }

  context({ theme, styles, availableDisplayModes, displayMode }) {
    const root = document.documentElement;
    if (theme) root.dataset.theme = theme;
    for (const [name, value] of Object.entries(styles?.variables ?? {}))
      if (value) root.style.setProperty(name, value);
    if (availableDisplayModes) el("size").hidden = !availableDisplayModes.includes("fullscreen");
    if (displayMode) {
      root.dataset.size = displayMode;
      el("size").textContent = displayMode === "fullscreen" ? "Small size" : "Full size";
    }
  }

  wish(given) {
    this.given = given;
    el("prompt").textContent = given.prompt ?? "";
    const picture = given.image ?? given.image_list?.[0];
    const first = picture ?? given.video ?? given.sound_file ?? "";
    const source = typeof first === "string" ? first : first.image ?? "";
    const shown = picture !== undefined && /^(data:image|https:)/.test(source);
    el("picture").hidden = !shown;
    el("picture").onerror = () => { el("picture").hidden = true; };
    if (shown) el("picture").src = source;
    el("caption").textContent = source.startsWith("data:") ? "" : source;
    el("source").hidden = !source;
  }

  answer(tool, result) {
    const receipt = result.structuredContent ?? {};
    if (result.isError || !(receipt.model_name || receipt.shots)) {
      el("connection").textContent = wordsOf(result);
      this.failed = { tool, given: this.given ?? {}, receipt: {} };
      if (receipt.faults?.some((fault) => /^image/.test(fault.field))) this.#askForPicture(false);
      return;
    }
    const thumbnail = result._meta?.["kling-mcp/thumbnail"];
    if (thumbnail) {
      el("picture").src = thumbnail;
      el("picture").hidden = el("source").hidden = false;
    }
    if (tool !== ANIMATES) el("picture").alt = "The picture that it is made from";
    if (receipt.pictures) el("caption").textContent = receipt.pictures.join(", ");
    this.takes.add(tool, this.given ?? {}, receipt);
  }

  async draw() {
    await this.#steady;
    el("connection").textContent = this.takes.lost;
    for (const take of this.takes.all) {
      if (!this.#cards.has(take)) this.#cards.set(take, this.#card(take));
      this.#fill(this.#cards.get(take), take);
    }
  }

  #card(take) {
    const card = el("take").content.firstElementChild.cloneNode(true);
    card.querySelector("h2").textContent = take.id ? take.name : "Not sent yet";
    card.querySelector(".no").onclick = () => this.#close(card);
    card.querySelectorAll(".pick, .chosen").forEach((part) => part.remove());
    el("takes").append(card);
    return card;
  }

  #fill(card, take) {
    const { status, units, unit, money, currency, path, url, provider_says, next } = take.view;
    const more = take.view.more?.length ? `, and ${take.view.more.length} more` : "";
    const cost = take.view.sandbox ? "Would have cost" : "Cost";
    const saved = path ?? url;
    const state = take.id ? status : "dry";
    card.classList.toggle("failed", status === "failed");
    card.querySelector(".price").textContent = outline(take);
    card.querySelector(".status").textContent = this.#status(take);
    card.querySelector(".advice").textContent = [
      provider_says ? `The provider says: "${provider_says}"` : "",
      take.shots || ["failed", "cancelled", "unknown"].includes(status)
        ? next?.replace(/\.$/, "") : "",
      path ? `Saved at ${path}${more}` : url ? "Saved on the server" : "",
      units === undefined ? "" : `${cost} ${amount(units, unit)}`,
      money === undefined ? "" : `Cost ${[money, currency].join(" ").trim()} of the balance`,
      ...(take.receipt.warnings ?? []),
    ].filter(Boolean).join(". ");
    if (take.shots) this.#strip(card.querySelector(".strip"), take);
    if (card.dataset.state === state + (saved ?? "")) return;
    card.dataset.state = state + (saved ?? "");
    const screen = card.querySelector(".screen");
    if (take.open && !screen.firstChild) screen.append(bar(take));
    else if (status === "succeed" && take.pictures) void this.#show(screen, take);
    else if (status === "succeed" && take.shots && !saved) screen.replaceChildren();
    else if (status === "succeed" && !screen.querySelector("video")) void this.#play(screen, take);
    else if (["failed", "cancelled"].includes(status)) screen.replaceChildren();
    this.#actions(card, take);
  }

  #status(take) {
    if (!take.id) return "A dry run: nothing was sent.";
    const words = WORDS[take.view.status] ?? take.view.status;
    return take.open ? `${take.name}: ${words}` : `${take.name} ${words}`;
  }

  // The shots of a film, each with its first frame once it is made.
  #strip(strip, take) {
    for (const { shot, status, task_id } of take.shots) {
      const item = strip.children[shot - 1] ?? strip.appendChild(document.createElement("li"));
      if (item.dataset.state === (status ?? "")) continue;
      item.dataset.state = status ?? "";
      item.textContent = `${shot} ${WORDS[status] ?? ""}`.trim();
      if (status === "succeed") void this.#still(item, shot, task_id);
    }
  }

  async #still(item, shot, task_id) {
    try {
      const still = document.createElement("img");
      still.alt = `Shot ${shot}`;
      still.src = await this.takes.frame(task_id);
      item.replaceChildren(still);
    } catch {
      // its number and its state stand there
    }
  }

  #tick() {
    for (const [take, card] of this.#cards)
      if (take.open) card.querySelector(".price").textContent = outline(take);
  }

  async #show(screen, take) {
    const shown = await Promise.all(
      take.view.pictures.map((_, place) => this.#picture(take, place + 1)));
    await this.#steady;
    screen.replaceChildren(...shown);
  }

  async #picture(take, number) {
    try {
      const picture = document.createElement("img");
      picture.alt = `Picture ${number} of take ${take.number}: ${take.given.prompt ?? ""}`;
      picture.src = await this.takes.picture(take, number);
      return picture;
    } catch (error) {
      const note = document.createElement("p");
      note.textContent = `Picture ${number} cannot be shown here: ${error.message}`;
      return note;
    }
  }

  async #play(screen, take) {
    const video = document.createElement("video");
    video.controls = video.playsInline = true;
    const shows = take.given.prompt ?? "the video";
    video.setAttribute("aria-label", take.shots ? take.name : `${take.name}: ${shows}`);
    const { url } = take.view.videos?.[0] ?? {};
    const sources = [take.view.sandbox ? undefined : () => url, () => this.takes.bytes(take)];
    let why = "";
    for (const source of sources.filter(Boolean)) {
      try {
        await loaded(video, await source());
        await this.#steady;
        screen.replaceChildren(video);
        return;
      } catch (error) {
        why = error.message;
      }
    }
    const note = document.createElement("p");
    note.textContent = `The video cannot be shown here: ${why}`;
    const again = this.#button("Show the video", () => this.#play(screen, take));
    screen.replaceChildren(note, again);
  }

  #actions(card, take) {
    const { status, path, videos, pictures } = take.view;
    const saved = path ?? take.view.url;
    const url = (take.view.sandbox && take.view.url) || (videos ?? pictures)?.[0]?.url;
    const can = this.host.capabilities;
    const buttons = [];
    const add = (text, run) => {
      const button = this.#button(text, () => this.#run(card, button, run));
      button.setAttribute("aria-label", take.id ? `${text}, ${take.name.toLowerCase()}` : text);
      buttons.push(button);
    };
    if (!take.id)
      add("Make it", () => this.#offer(card, take.tool, { ...take.given, dry_run: false }));
    if (status === "succeed" && !saved && !take.shots) add("Save", () => this.takes.save(take));
    if (ENDED.includes(status) && !take.shots)
      add("Another take", () => this.#offer(card, take.tool, this.takes.nextTake(take)));
    if (status === "succeed" && !take.pictures && !take.shots) add("Continue", () => this.#continue(card, take));
    if (status === "succeed" && take.pictures)
      pictures.forEach((_, place) => add(
        pictures.length > 1 ? `Animate picture ${place + 1}` : "Animate",
        () => this.#continue(card, take, place + 1)));
    const there = pictures ? true : saved || (videos?.[0]?.url && !take.view.sandbox);
    if (status === "succeed" && there && can.downloadFile)
      add("Download", () => this.takes.download(take));
    if (url && can.openLinks) add("Open link", () => this.host.ask("ui/open-link", { url },
      `The host did not open the link. It is: ${url}`));
    if (url) add("Copy link", () => copy(url));
    if (ENDED.includes(status) && can.message)
      add("Ask the assistant", () => this.#write(card, take));
    card.querySelector(".actions").replaceChildren(...buttons);
  }

  async #run(card, button, run) {
    const question = card.querySelector(".question");
    const label = button.textContent;
    button.disabled = true;
    question.textContent = "";
    try {
      const said = await run();
      if (!said) return;
      const name = button.getAttribute("aria-label");
      button.textContent = said;
      button.setAttribute("aria-label", said);
      setTimeout(() => {
        button.textContent = label;
        button.setAttribute("aria-label", name);
      }, 2_000);
    } catch (error) {
      const form = card.querySelector(".ask");
      const again = button.matches(".main") && !form.querySelector(".words").hidden;
      if (!again) this.#ask(card, { question: error.message });
      question.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  // Nothing is spent before the price stands there and a second button is pressed.
  async #offer(card, tool, given) {
    const receipt = await this.takes.price(tool, given);
    const faults = (receipt.faults ?? []).map((fault) => `${fault.field}: ${fault.message}`);
    if (faults.length) throw new Error(faults.join(" "));
    const free = receipt.provider === "sandbox" ? " Nothing is charged in the sandbox." : "";
    this.#ask(card, { question: `This costs ${price(receipt)}.${free}`, yes: "Make it",
      run: async () => {
        await this.takes.make(tool, given);
        card.querySelector(".ask").reset();
        this.#own.querySelector(".chosen").hidden = true;
        this.#close(card);
      } });
  }

  #continue(card, take, number) {
    this.#ask(card, { words: "What happens next?", yes: "Ask for the price", run: (prompt) =>
      this.#offer(card, ANIMATES, this.takes.continuation(take, prompt, number)) });
  }

  #write(card, take) {
    this.#ask(card, { words: "What should the assistant do?", yes: "Send it", run: async (words) => {
      const text = `${words} (${take.name}, task ${take.id})`;
      await this.host.ask("ui/message", { role: "user", content: [{ type: "text", text }] },
        "The host did not take the message. Write it in the chat.");
      this.#close(card);
    } });
  }

  #askForPicture(focus = true) {
    const like = this.takes.all.at(-1) ?? this.failed ??
      { tool: ANIMATES, given: this.given ?? {}, receipt: {} };
    const input = this.#own.querySelector("input");
    const text = this.#own.querySelector("textarea");
    if (!text.value) text.value = this.given?.prompt ?? "";
    this.#ask(this.#own, { words: "What happens in it?", picks: true, yes: "Ask for the price", focus,
      run: async (prompt) =>
        this.#offer(this.#own, ANIMATES, await this.takes.ofOwn(input.files[0], prompt, like)) });
  }

  #ask(card, { question = "", yes = "", run, words = "", picks = false, focus = true }) {
    const form = card.querySelector(".ask");
    const [text, main, file] = ["textarea", ".main", "input"].map((one) => form.querySelector(one));
    form.hidden = false;
    if (file) form.querySelector(".pick").hidden = file.disabled = !picks;
    form.querySelector(".words").hidden = text.disabled = !words;
    form.querySelector(".words span").textContent = words;
    form.querySelector(".question").textContent = question;
    main.hidden = !yes;
    main.disabled = false;
    main.textContent = yes;
    form.onsubmit = (event) => {
      event.preventDefault();
      void this.#run(card, main, () => run(text.value.trim()));
    };
    if (focus) (picks ? file : words ? text : yes ? main : form.querySelector(".no")).focus();
  }

  // A picture was chosen, dropped or pasted: it is shown, or told why it cannot be taken.
  async #chosen() {
    const input = this.#own.querySelector("input");
    const shown = this.#own.querySelector(".chosen");
    const [file] = input.files;
    const amiss = file ? amissWith(file) : "";
    this.#own.querySelector(".question").textContent = amiss;
    shown.hidden = !file || amiss !== "";
    if (amiss) input.value = "";
    if (shown.hidden) return;
    shown.onerror = () => { shown.hidden = true; };
    shown.src = await asData(file);
  }

  #listenForPictures() {
    const root = document.documentElement;
    const take = (event, { files }) => {
      root.classList.remove("dropping");
      if (!files?.length) return;
      event.preventDefault();
      this.#askForPicture();
      this.#own.querySelector("input").files = files;
      void this.#chosen();
    };
    addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      root.classList.add("dropping");
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) root.classList.remove("dropping");
    });
    addEventListener("drop", (event) => take(event, event.dataTransfer));
    addEventListener("paste", (event) => take(event, event.clipboardData));
  }

  #button(text, run) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.onclick = run;
    return button;
  }

  #close(card) {
    card.querySelector(".ask").hidden = true;
    card.querySelector(".actions button")?.focus();
  }

  #tellSize() {
    const { width, height } = document.documentElement.getBoundingClientRect();
    this.host.tell("ui/notifications/size-changed",
      { width: Math.ceil(width), height: Math.ceil(height) });
  }
}

function bar(take) {
  const element = document.createElement("progress");
  element.setAttribute("aria-label", `${take.name} is being made`);
  return element;
}

function loaded(video, source) {
  return new Promise((resolve, reject) => {
    video.onloadedmetadata = resolve;
    video.onerror = () => reject(new Error("this host does not load it, or it is gone."));
    if (source) video.src = source;
    else reject(new Error("there is no link to it."));
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    if (!copied) throw new Error(`This host does not let the player copy. The link: ${text}`);
  }
  return "Copied";
}
