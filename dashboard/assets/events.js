// The page of events: filters in the reader's zone, and the live tail.
import { call, times, Refused } from "./gate.js";
import "./records.js";

// A search that has not come to its end goes on until it finds something, or whoever asked for it has had enough.
const partial = document.getElementById("partial");
if (partial) {
  const more = partial.querySelector("a");
  const text = partial.querySelector("span");
  const side = partial.dataset.side;
  let running = false;
  more.addEventListener("click", async (click) => {
    click.preventDefault();
    if (running) { running = false; return; }
    running = true;
    more.textContent = "Stop";
    let cursor = partial.dataset.cursor;
    const filters = document.getElementById("events").dataset.filters;
    const page = () => `/ui/events?${new URLSearchParams([...new URLSearchParams(filters), [side, cursor]])}`;
    try {
      while (running) {
        const query = new URLSearchParams([...new URLSearchParams(filters), ["order", "newest"], ["limit", 1], [side, cursor]]);
        const { body } = await call("GET", `/api/events?${query}`);
        const next = side === "after" ? body.next : body.previous;
        if (body.events.length || !body.partial || !next) break;
        cursor = next;
        const at = document.createElement("time");
        at.dateTime = body.searchedTo ?? "";
        text.replaceChildren(`Searching: ${side === "after" ? "back" : "up"} to what was received at `, at);
        times(text);
      }
      location.assign(page());
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      text.textContent = `Broken off: ${e.message}`;
      more.textContent = "Continue the search";
      partial.dataset.cursor = cursor;
      running = false;
    }
  });
}

const list = document.getElementById("events");
const button = document.getElementById("tail");
const told = document.getElementById("tailing");
const kept = 200; // rows of a tail
const pause = 1000; // ms between two looks

if (button) {
  button.hidden = false;
  let cursor = list.dataset.tail;
  let timer = 0;
  let on = false;
  let seen = 0;

  const address = (query) => {
    const all = new URLSearchParams(list.dataset.filters);
    all.set("order", "stored");
    for (const [name, value] of Object.entries(query)) all.set(name, value);
    return `/api/events?${all}`;
  };

  const look = async () => {
    try {
      const { body } = await call("GET", address({ before: cursor, limit: 100 }));
      let fresh = body.events;
      if (body.previous) cursor = body.previous;
      if (fresh.length === 100) {
        // More come than can be shown: go on at the newest.
        const { body: newest } = await call("GET", address({ limit: 50 }));
        fresh = newest.events;
        if (newest.previous) cursor = newest.previous;
        table().replaceChildren();
        say("Many arrive at once: only the newest are shown.");
      } else {
        seen += fresh.length;
        say(`Following live: ${seen} since ${new Date(started).toLocaleTimeString()}.`);
      }
      show(fresh);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      if (e.status === 401 || e.status === 403) { location.reload(); return; }
      say(`Not followed at the moment: ${e.message}`);
    }
    if (on && !document.hidden) timer = setTimeout(look, pause);
  };

  let started = 0;
  const say = (text) => { told.hidden = !text; if (told.textContent !== text) told.textContent = text; };

  // table returns the body of the table, which an empty list lacks.
  const table = () => {
    let body = list.querySelector("tbody");
    if (!body) {
      const t = document.createElement("table");
      t.className = "records";
      const head = t.createTHead().insertRow();
      for (const name of ["received", "message id", "type", "source", "key", "size"]) {
        const th = document.createElement("th");
        th.textContent = name;
        if (name === "size") th.className = "n";
        head.append(th);
      }
      body = t.createTBody();
      const box = document.createElement("div");
      box.className = "scroll";
      box.append(t);
      list.querySelector(".empty")?.remove();
      told.after(box);
    }
    return body;
  };

  const show = (events) => {
    if (!events.length) return;
    const body = table();
    for (const row of body.querySelectorAll(".fresh")) row.classList.remove("fresh");
    const links = new Set([...body.querySelectorAll("a")].map((a) => a.getAttribute("href")));
    body.prepend(...events.filter((e) => !links.has(address1(e))).map(row));
    while (body.rows.length > kept) body.lastElementChild.remove();
    times(body);
  };

  const address1 = (e) => `/ui/events/${encodeURIComponent(e.id)}`;

  // row makes a row as the server does. All of it is text.
  const row = (e) => {
    const tr = document.createElement("tr");
    tr.className = "fresh";
    const cell = (label, kind, content) => {
      const td = tr.insertCell();
      td.dataset.l = label;
      td.className = kind;
      td.append(content);
    };
    const bdi = (text) => { const b = document.createElement("bdi"); b.textContent = text; return b; };
    const at = document.createElement("time");
    at.dateTime = e.receivedAt;
    cell("received", "", at);
    const a = document.createElement("a");
    a.href = address1(e);
    a.append(bdi(e.messageId));
    cell("message id", "text mono", a);
    cell("type", "text", bdi(e.eventType));
    cell("source", "text", bdi(e.source));
    cell("key", "text", bdi(e.orderingKey));
    cell("size", "n", size(e.size));
    return tr;
  };

  const size = (n) => {
    const units = ["B", "KiB", "MiB", "GiB"];
    let u = 0;
    for (; n >= 1024 && u < units.length - 1; u++) n /= 1024;
    return `${Math.round(10 * n) / 10} ${units[u]}`;
  };

  const follow = (wanted) => {
    on = wanted;
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Stop following" : "Follow live";
    const here = new URL(location.href);
    if (on) here.searchParams.set("live", "1"); else here.searchParams.delete("live");
    history.replaceState(null, "", here);
    clearTimeout(timer);
    if (on) { started ||= Date.now(); look(); } else say("");
  };

  button.addEventListener("click", () => follow(!on));
  // Whoever does not look costs nothing.
  document.addEventListener("visibilitychange", () => { clearTimeout(timer); if (on && !document.hidden) look(); });
  if (new URL(location.href).searchParams.has("live")) follow(true);
}
