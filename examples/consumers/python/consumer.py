"""Pulls events from hookgate and gives each of them its effect exactly once. See ../README.md."""
import base64, http.client, itertools, json, os, random, signal, sqlite3, threading, time, urllib.request

subscription = os.environ["HOOKGATE_SUBSCRIPTION"]
gate = f"{os.environ['HOOKGATE_URL']}/api/subscriptions/{subscription}"
headers = {"Authorization": f"Bearer {os.environ['HOOKGATE_TOKEN']}"}
lease_time = int(os.environ.get("LEASE_SECONDS", "60"))
stopping = threading.Event()
db = sqlite3.connect(os.environ.get("DATABASE", "consumer.db"), 60, isolation_level="IMMEDIATE")
db.execute("PRAGMA journal_mode = WAL")
db.execute("CREATE TABLE IF NOT EXISTS effects (event, key, payload)")
db.execute("CREATE TABLE IF NOT EXISTS inbox (subscription, webhook_id, redelivery,"
           " PRIMARY KEY (subscription, webhook_id, redelivery))")

def process_event(event):
    with db:  # a transaction: the effect and the row of the inbox are both stored or none
        if db.execute("INSERT INTO inbox VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                      (subscription, event["webhookId"], event["redelivery"])).rowcount == 1:
            # Your code. After an exception the event comes again later.
            payload = json.dumps(json.loads(base64.b64decode(event["body"]))["payload"])
            db.execute("INSERT INTO effects VALUES (?, ?, ?)", (event["id"], event["key"], payload))

def process_batch(batch):
    done, failed, extended = [], {}, time.monotonic()
    for event in batch["events"]:
        if time.monotonic() - extended > lease_time / 3:
            if call("extend", {"lease": batch["lease"], "for": f"{lease_time}s"}) is None:
                return
            extended = time.monotonic()
        if event["key"] not in failed:  # the later events of its key come again after it
            try:
                process_event(event)
                done.append(event["id"])
            except Exception as error:
                failed[event["key"]] = event["id"], repr(error)
    if done:
        call("ack", {"lease": batch["lease"], "ids": done})
    for id, reason in failed.values():
        call("nack", {"lease": batch["lease"], "ids": [id], "reason": reason})

def call(name, body):
    for attempt in itertools.count():
        try:
            request = urllib.request.Request(f"{gate}/{name}", json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or "{}")
        except (OSError, http.client.HTTPException) as error:
            status, reason = getattr(error, "code", 503), error  # 503: the gate is away
        if status == 409 and name != "pull":
            return None  # the lease has ended: its events come again
        if status < 429:
            raise SystemExit(f"{name}: {reason}")
        if stopping.wait(random.random() * min(10, 0.1 * 2 ** min(attempt, 10))):
            raise SystemExit

for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopping.set())
while not stopping.is_set():  # a signal ends the loop after the batch
    process_batch(call("pull", {"max": 100, "wait": "5s", "lease": f"{lease_time}s"}))
