// Pulls events from hookgate and gives each of them its effect exactly once. See ../README.md.
import { appendFileSync, ftruncateSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

type Event = { id: string; key: string; webhookId: string; redelivery: number; body: string };
const gate = `${process.env.HOOKGATE_URL}/api/subscriptions/${process.env.HOOKGATE_SUBSCRIPTION}`;
const headers = { Authorization: `Bearer ${process.env.HOOKGATE_TOKEN}` };
const leaseTime = Number(process.env.LEASE_SECONDS ?? "60");
const stopping = new AbortController();
const journal = openSync(process.env.DATABASE ?? "consumer.ndjson", "a+");
const lines = readFileSync(journal, "utf8").match(/.*\n/g) ?? []; // a crash may cut the last line
ftruncateSync(journal, Buffer.byteLength(lines.join("")));
const inbox = new Set(lines.map((line) => JSON.parse(line).inbox)); // a line has the effect too

async function processEvent(event: Event): Promise<object> { // your code: it returns the effect
  const { payload } = JSON.parse(Buffer.from(event.body, "base64").toString());
  if (payload === undefined) throw new Error("the event has no payload");
  return { event: event.id, key: event.key, payload };
}

async function processBatch({ lease, events }: { lease: string; events: Event[] }) {
  let done: string[] = [], failed = new Map<string, object>(), extended = Date.now();
  for (const event of events) {
    if (Date.now() - extended > leaseTime * 1000 / 3) {
      if (!(await call("extend", { lease, for: `${leaseTime}s` }))) return;
      extended = Date.now();
    }
    if (failed.has(event.key)) continue; // the later events of its key come again after it
    const id = `${event.webhookId}/${event.redelivery}`;
    if (!inbox.has(id)) {
      const effect = await processEvent(event).catch((error) => {
        failed.set(event.key, { lease, ids: [event.id], reason: String(error) });
      });
      if (!effect) continue;
      appendFileSync(journal, JSON.stringify({ inbox: id, effect }) + "\n", { flush: true });
      inbox.add(id);
    }
    done.push(event.id);
  }
  if (done.length > 0) await call("ack", { lease, ids: done });
  for (const nack of failed.values()) await call("nack", nack);
}

async function call(name: string, body: object): Promise<any> {
  for (let pause = 100; ; pause = Math.min(pause * 2, 10_000)) {
    const [status, text] = await fetch(`${gate}/${name}`, {
      method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(30_000),
    }).then(async (answer) => [answer.status, await answer.text()] as const)
      .catch(() => [503, ""] as const); // the gate is away
    if (status < 300) return JSON.parse(text || "{}");
    if (status === 409 && name !== "pull") return; // the lease has ended: its events come again
    if (status < 429) throw new Error(`${name}: ${status} ${text}`);
    await sleep(Math.random() * pause, undefined, stopping).catch(() => process.exit(0));
  }
}

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => stopping.abort());
while (!stopping.signal.aborted) // a signal ends the loop after the batch
  await processBatch(await call("pull", { max: 100, wait: "5s", lease: `${leaseTime}s` }));
