package config

// removedSettings are settings of earlier versions, and what to do instead. A setting covers the
// settings below it. A start with one of them stops with this text.
var removedSettings = map[string]string{
	"failover": "write `spool: off` for `failover: off`; remove `failover: on`," +
		" which is the default",
	"queue.cache":        "remove it; the store accepts the webhooks and needs no cache",
	"queue.claim_filter": "remove it; the store recognises repetitions",
	"queue.kind": "remove it; Redis is the queue if redis.url is set, else the store" +
		" accepts the webhooks",
	"spool.high_water":         "set queue.high_water, which limits the spool too",
	"redis.timeout":            "set queue.timeout, which bounds the wait for Redis too",
	"database.connect_timeout": "add connect_timeout, in seconds, to database.url; the default is 5 s",

	"admin.session_max": "remove it; a session of the dashboard ends after 7 days;" +
		" admin.session_idle ends it earlier",
	"admin.live_streams": "remove it; 20 browsers get live numbers at a time",
	"admin.audit_timeout": "remove it; GET /api/audit/verify may take 10 minutes, hookgate audit" +
		" verify as long as it needs",
	"admin.search_time": "remove it; a page of a search takes at most 500 ms and then continues" +
		" on request",
	"approvals.max_pending": "remove it; a person may have 20 pending requests",
	"evidence.max_size":     "set evidence.max_total; a bundle may use a sixteenth of it",
	"evidence.max_bundles":  "remove it; the gate keeps 1000 bundles, within evidence.max_total",
	"evidence.timeout":      "remove it; the upload of a bundle may take 10 minutes",

	"http.read_header_timeout": "remove it; a header may take 5 s, or http.read_timeout if that is" +
		" less",

	"worker.min": "remove it; the number of workers follows the load, from 1 to" +
		" worker.count",
	"worker.max_records":   "remove it; a batch has at most 2000 records, fewer if the store is slow",
	"worker.max_bytes":     "remove it; a batch has at most 8 MiB of bodies",
	"worker.linger":        "remove it; a worker waits 100 ms for a fuller batch",
	"worker.apply_target":  "remove it; batches shrink if the store takes longer than 250 ms",
	"worker.apply_timeout": "remove it; an attempt to store a batch may take 30 s",
	"worker.backoff_min":   "remove it; the pauses after failed attempts grow from 50 ms to 5 s",
	"worker.backoff_max":   "remove it; the pauses after failed attempts grow from 50 ms to 5 s",

	"guard.depth.sustain": "remove it; the breaker opens when the depth was at" +
		" guard.depth.limit for 2 s",
	"guard.depth.clear":     "remove it; the depth clears at five sixths of guard.depth.limit",
	"guard.depth.clear_for": "remove it; the depth clears after 2 s",
	"guard.lag": "remove it; the breaker ignores the lag, which grows in every" +
		" outage of the database",
	"guard.p95.sustain": "remove it; the breaker opens when P95 was at guard.p95.limit for" +
		" 10 s",
	"guard.p95.clear":     "remove it; P95 clears at a quarter of guard.p95.limit",
	"guard.p95.clear_for": "remove it; P95 clears after 5 s",
	"guard.recovery": "remove it; after an overload the breaker takes 10 s to admit all" +
		" webhooks again",
	"guard.in_flight.min": "remove it; the limit in flight never falls below 100, or" +
		" guard.in_flight.max if that is less",
	"guard.triggers": "set release.triggers; there is one sustain for all triggers, which" +
		" also is the time to clear",
	"guard.alarm": "set release.alarm.url and release.alarm.secret; an attempt may" +
		" take 10 s, and all attempts 15 minutes",
	"guard.rollback_command": "set release.rollback_command",
	"guard.rollback_cooldown": "remove it; the gate starts release.rollback_command once an hour" +
		" at most",
	"canary.max_evidence_age": "remove it; a certification counts for 24 hours",
	"rollback.drain_timeout": "remove it; the default is 2 minutes, and hookgate rollback" +
		" --drain-timeout sets another time",
	"rollback.health_timeout": "remove it; the roll-back waits 2 minutes for the expected version," +
		" and --resume waits again",
	"rollback.goal": "remove it; the report compares the roll-back with a goal of 10" +
		" minutes",
	"rollback.allow_undrained": "remove it; pass --allow-undrained to hookgate rollback",
	"retention.share_percent":  "remove it; retention uses a tenth of the store's time at most",
}
