// Package simulation tests the whole path of an event, from the sender to the consumer, in a world
// without real time, disks and networks. It has tests only.
//
//	senders ─► queue/spool ─► queue/direct ──────────► store ─► deliver ──────► consumers
//	            │    ▲          or                       ▲  └──► deliver/pull ─► clients
//	            ▼    │         a queue ─► persist ───────┘
//	           a file
//
// The queue, the spool, the workers, the dispatcher and the server of pulls are the real code. The
// store, the queue between processes and the files of spools are in memory, and pass the suites of
// their ports. One or two processes use them.
//
// # Schedules
//
// A seed chooses a world (processes, queue, spool, subscriptions, how often something fails) and
// then one schedule of it. Every call of a port waits until the scheduler carries it out. The
// scheduler acts only when every goroutine is blocked, and takes one step at a time: it carries out
// one call, closes one wake-up, lets fake time pass (testing/synctest), or disturbs the world. So
// the seed decides which of the calls under way comes first, and which process learns late that the
// log has grown. A seed gives the same schedule each time; TestRepeats compares the traces.
//
// # Faults
//
//	a call fails and is not done; is done and reported as failed; or fails and is done later
//	a call takes so long that its caller gives up, and is done afterwards or not
//	a process is killed; each of its calls under way was done or was not
//	a process gets no answers for up to a minute, and goes on as if nothing had happened
//	a process is asked to stop
//	a consumer is away, fails, asks for a pause, answers late, or does its work and reports a failure
//	a client that pulls dies, is late, acks out of order, nacks, extends
//	a person pauses, resumes, retries, skips, makes dead letters, and has events delivered again
//	the clock of the store differs from that of the processes
//
// After a time of faults all of them end but one: consumers go on to refuse the events of one key.
// All other events must arrive then. At last that key recovers, and nothing may be left over.
//
// # Guarantees
//
// The checks know what was sent, acknowledged and accepted. They look at the store after each
// change:
//
//	a 202 is durable                         when the sender has its answer, the request is somewhere
//	acknowledged events are stored once
//	events are stored in order               an event whose predecessor was acknowledged before
//	every request has its lineage            duplicates too
//	duplicates name the first request
//	the bytes are kept
//	old owners are fenced                    of partitions and of subscriptions
//	the cursor leaves nothing behind         up to it: settled, waiting, leased, or held
//	events are delivered in order            with retries
//	one attempt of a key at a time           of all processes that wait for one
//	an event has one lease
//	an ack is stored, or rejected
//	nothing is skipped without a person
//	slow start                               after an outage
//	a failing key delays no other            nor a failing subscription another one
//	everything arrives
//
// # Failures
//
// A failure prints the steps of its schedule in their order and the command that repeats it:
//
//	go test ./simulation -run TestSchedules -first SEED -seeds 1
//
// The flag -choices also shows what the scheduler could choose from in each step.
//
// TestMutations puts mistakes into the code, one at a time, and the simulation must find each.
package simulation
