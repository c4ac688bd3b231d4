// The page of a subscription: pause, resume, move the cursor, redeliver, and retry, skip or dead-letter what failed. Each asks first, and names how
// many events it concerns.
import { confirmed, keepFresh, shown } from "./gate.js";
import { change } from "./change.js";
import { counted, pathOf, perform, planned, plural, redeliver } from "./changes.js";
import "./records.js";

const { name, consumer, backlog, cursor } = document.getElementById("title").dataset;
const rows = document.getElementById("rows");
const state = rows.dataset.state;

// on has f called with what was clicked on, if a selector matches it. Sections are renewed, so the document listens.
function on(selector, f) {
  document.addEventListener("click", (e) => {
    const button = e.target.closest(selector);
    if (button) f(button);
  });
}

on("#pause", async () => {
  const yes = await confirmed({ title: `Pause ${name}?`, text: `Nothing is delivered to ${consumer} until a person resumes it. Its events wait: ${plural(Number(backlog), "event")} now. No time to retry is used up.`, action: `Pause ${name}`, why: true });
  if (yes) await perform(async () => { await change({ method: "POST", path: pathOf(name, "/pause") }, yes.reason); return `${name} is paused.`; });
});

on("#resume", async () => {
  const yes = await confirmed({ title: `Resume ${name}?`, text: `${plural(Number(backlog), "event")} after the cursor, and what failed, are delivered from now on.`, action: `Resume ${name}` });
  if (yes) await perform(async () => { await change({ method: "POST", path: pathOf(name, "/resume") }, yes.reason); return `${name} delivers again.`; });
});

// placed is a time as the gate reads it: what was entered without a zone is in the reader's.
const placed = (text) => {
  const at = new Date(text);
  return isNaN(at) ? "" : at.toISOString();
};

on("#seek", async () => {
  const path = pathOf(name, "/seek");
  const yes = await planned({
    title: `Move the cursor of ${name}`, path, danger: true,
    text: "Back: the gate delivers everything after the place again, in order, as a redelivery. Forward: it gives up everything before the place.",
    fields: [
      { name: "place", label: "To", options: [["time", "a time"], ["now", "now: give up the backlog"], ["beginning", "the beginning of the log"], ["id", "after an event"]] },
      { name: "time", label: "Time, in your zone", type: "datetime-local", when: (v) => v.place === "time" },
      { name: "id", label: "Id of the event", placeholder: cursor, when: (v) => v.place === "id" },
    ],
    body: (v) => {
      const to = { time: placed(v.time), id: v.id }[v.place] ?? v.place;
      return to ? { to } : null;
    },
    tell: (a) => {
      const back = BigInt(a.to) < BigInt(a.from);
      const n = plural(a.events, "event");
      if (back) return { text: `From ${a.from} back to ${a.to}: ${n} before the filter ${a.events === 1 ? "is" : "are"} delivered again as redelivery ${a.redelivery}. ${plural(a.deleted, "exception")} deleted.`, action: `Deliver ${n} again` };
      return { text: `From ${a.from} to ${a.to}: ${n} given up, ${plural(a.skipped, "exception")} recorded as skipped.`, action: `Skip ${n}` };
    },
  });
  if (yes) await perform(async () => { const a = await change({ method: "POST", path, body: yes.body }, yes.reason); return `The cursor moved from ${a.from} to ${a.to}.`; });
});

on("#redeliver", async () => {
  const list = (text) => text.split(",").map((t) => t.trim()).filter(Boolean);
  const path = pathOf(name, "/redeliver");
  const yes = await planned({
    title: `Redeliver to ${name}`, path,
    text: `A job delivers the events again to ${consumer}, beside the normal delivery. It survives restarts, and you can cancel it.`,
    fields: [
      { name: "from", label: "Stored from, in your zone", type: "datetime-local" },
      { name: "to", label: "Stored before (empty: the cursor)", type: "datetime-local" },
      { name: "types", label: "Event types, with commas (empty: all)", placeholder: "invoice.*" },
      { name: "key", label: "Ordering key (empty: all)" },
      { name: "rate", label: "Deliveries per second (empty: as the subscription)", type: "number" },
    ],
    body: (v) => {
      if (!placed(v.from)) return null;
      const body = { from: placed(v.from) };
      if (placed(v.to)) body.to = placed(v.to);
      if (list(v.types).length) body.types = list(v.types);
      if (v.key) body.key = v.key;
      if (v.rate) body.rate = Number(v.rate);
      return body;
    },
    tell: (a) => {
      if (!a.events) return { text: "No event matches." };
      return { text: `${plural(a.events, "event")} would be delivered again.`, action: `Redeliver ${plural(a.events, "event")}` };
    },
  });
  if (yes) await perform(() => redeliver(name, yes.body, yes.reason));
});

on("[data-redeliver]", async (button) => {
  const body = { ids: [button.dataset.redeliver] };
  const a = await counted(pathOf(name, "/redeliver"), body);
  if (!a) return;
  const yes = await confirmed({ title: "Redeliver 1 event?", text: `${button.dataset.message} is delivered again to ${consumer}, on purpose, as redelivery ${a.job.redelivery}.`, action: "Redeliver 1 event", why: true });
  if (yes) await perform(() => redeliver(name, body, yes.reason));
});

on("[data-cancel]", async (button) => {
  const id = button.dataset.cancel;
  const yes = await confirmed({ title: `Cancel job ${id}?`, text: "The events that it has not delivered yet are not delivered again.", action: `Cancel job ${id}`, why: true });
  if (yes) await perform(async () => { await change({ method: "POST", path: pathOf(name, `/jobs/${encodeURIComponent(id)}/cancel`) }, yes.reason); return `Job ${id} is cancelled.`; });
});

// verbs has the words of each change of exceptions.
const verbs = {
  retry: ["Retry", "retried", "They are due now, and their time to retry begins again."],
  skip: ["Skip", "skipped", "They are never delivered. The later events of their keys go on."],
  "dead-letter": ["Dead-letter", "dead-lettered", "They are given up but kept. The later events of their keys go on."],
};
const boxes = () => [...rows.querySelectorAll("input[data-id]")];
const chosen = () => boxes().filter((b) => b.checked);
const all = document.getElementById("choose-all");
const kind = { waiting: "waiting event", parked: "parked event", dead: "dead letter", held: "event that holds its key" }[state];

// update names how many events the buttons concern: those that are chosen, else all that match.
function update() {
  const n = chosen().length;
  document.getElementById("chosen").textContent = n ? `${shown(n)} chosen` : `Choose all ${shown(boxes().length)} shown`;
  all.checked = n > 0 && n === boxes().length;
  all.indeterminate = n > 0 && n < boxes().length;
  for (const button of rows.querySelectorAll("[data-resolve]")) {
    const [verb] = verbs[button.dataset.resolve];
    const total = Number(rows.dataset.total);
    button.textContent = n ? `${verb} ${shown(n)}` : total ? `${verb} all ${shown(total)}` : `${verb} all that match`;
    button.disabled = !n && !rows.dataset.selection;
  }
}
if (all) {
  all.addEventListener("change", () => { for (const b of boxes()) b.checked = all.checked; update(); });
  rows.addEventListener("change", (e) => { if (e.target.dataset.id) update(); });
  update();
}

on("[data-resolve]", async (button) => {
  const [verb, done, means] = verbs[button.dataset.resolve];
  const path = pathOf(name, `/${button.dataset.resolve}`);
  const ids = chosen().map((b) => b.dataset.id);
  const body = ids.length ? { ids } : JSON.parse(rows.dataset.selection);
  if (ids.length && state !== "held") body.state = state;
  // A call takes 1000; the count goes through all of them.
  let n = 0;
  for (let after; ;) {
    const a = await counted(path, after ? { ...body, after } : body);
    if (!a) return;
    n += a.changed;
    if (!(after = a.next)) break;
  }
  const what = plural(n, kind, kind.replace("event", "events").replace("letter", "letters").replace("holds its key", "hold their keys"));
  const yes = await confirmed({ title: `${verb} ${what}?`, text: `${n === 1 ? means.replace("They are", "It is").replaceAll("their keys", "its key").replace("their time", "its time") : means} Subscription ${name}, ${consumer}.`, action: `${verb} ${what}`, danger: button.dataset.resolve === "skip", why: true });
  if (!yes) return;
  await perform(async () => {
    const c = { method: "POST", path, body: { ...body } };
    let total = 0;
    for (;;) { // an approval of the first call goes for those that follow
      const a = await change(c, yes.reason);
      total += a.changed;
      if (!a.next) return `${plural(total, "event")} ${done}.`;
      c.body.after = a.next;
    }
  });
});

// The figures and jobs are always renewed, the rows while nobody chooses among them or looks at an older page.
const older = new URLSearchParams(location.search).has("after");
const moving = ["state", "standing", "chart", "jobs"];
keepFresh(older || all ? moving : [...moving, "rows"], 2000);
