// The page of an event: its neighbours of the same ordering key. No index has them, so that the gate looks around for a moment.
import { call, confirmed, keepFresh, times, Refused } from "./gate.js";
import { counted, pathOf, perform, redeliver } from "./changes.js";

// The way of the event is renewed until every subscription has settled it.
if (document.querySelector("#lineage[data-unsettled]")) keepFresh(["lineage"], 2000);

document.getElementById("resend")?.addEventListener("submit", async (e) => {
  e.preventDefault();
  const to = e.target.elements.subscription.value;
  const body = { ids: [e.target.dataset.event] };
  const a = await counted(pathOf(to, "/redeliver"), body);
  if (!a) return;
  const yes = await confirmed({ title: `Redeliver 1 event to ${to}?`, text: `The consumer gets it again on purpose, as redelivery ${a.job.redelivery}, also if it did its work before.`, action: `Redeliver to ${to}`, why: true });
  if (yes) await perform(() => redeliver(to, body, yes.reason));
});

const list = document.getElementById("neighbours");
const own = list.querySelector("[aria-current]");

// near asks for the events next to this one; side is "after" for those stored before it, and "before" for those stored since.
async function near(side) {
  const query = new URLSearchParams({ order: "stored", key: list.dataset.key, limit: 3, [side]: list.dataset.event });
  const { body } = await call("GET", `/api/events?${query}`);
  const rows = body.events.map(row);
  if (rows.length < 3) {
    const end = document.createElement("li");
    end.className = "muted";
    const which = side === "after" ? "earlier" : "later";
    end.textContent = body.partial ? `nothing ${which} near by` : `nothing ${which}`;
    if (side === "after") rows.push(end); else rows.unshift(end);
  }
  if (side === "after") own.after(...rows); else own.before(...rows);
}

function row(e) {
  const li = document.createElement("li");
  const a = document.createElement("a");
  a.className = "mono";
  a.href = `/ui/events/${encodeURIComponent(e.id)}`;
  a.append(isolated(e.messageId));
  const small = document.createElement("small");
  const at = document.createElement("time");
  at.dateTime = e.receivedAt;
  small.append(isolated(e.eventType), " · ", at);
  li.append(a, " ", small);
  return li;
}

// isolated is a text that turns the direction of nothing around it.
function isolated(text) {
  const b = document.createElement("bdi");
  b.textContent = text;
  return b;
}

try {
  await near("before");
  await near("after");
} catch (e) {
  if (!(e instanceof Refused)) throw e;
  const li = document.createElement("li");
  li.className = "bad";
  li.textContent = `Not looked up: ${e.message}`;
  list.append(li);
}
times(list);
list.dataset.ready = "";
