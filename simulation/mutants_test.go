package simulation

// mutant is a mistake in the code. The test binary that TestMutations builds has all of them, each
// behind a switch: mutated reports whether the switch of a name is on.
type mutant struct {
	name string
	// file is the file with the mistake. old occurs in it once, and becomes new.
	file, old, new string
	// guarantee does not hold then. If another one may break first, both are there with a bar between
	// them.
	guarantee string
}

// lostPlace is broken when an event loses its place: the cursor may pass it, or a later one of its
// key.
const lostPlace = "the cursor leaves nothing behind|events are delivered in order"

var mutants = []mutant{
	{"a 202 before the commit", "queue/direct/committer.go",
		"	outcome, took, err := c.apply(ctx, b)\n",
		"	if mutated(`a 202 before the commit`) {\n" +
			"		for i := range c.group {\n" +
			"			c.group[i].answer(hookgate.Receipt{}, nil)\n" +
			"		}\n" +
			"		_, _, err := c.apply(ctx, b)\n" +
			"		c.release(err)\n" +
			"		return\n" +
			"	}\n" +
			"	outcome, took, err := c.apply(ctx, b)\n",
		"a 202 is durable"},
	{"a time-out is a 202", "queue/direct/direct.go",
		"	err := errTimeout{q.Timeout}\n",
		"	if mutated(`a time-out is a 202`) {\n		return hookgate.Receipt{}, nil\n	}\n" +
			"	err := errTimeout{q.Timeout}\n",
		"a 202 is durable"},
	{"a duplicate without its first", "queue/direct/committer.go",
		"		if result.DuplicateOf.IsZero() {\n",
		"		if result.DuplicateOf.IsZero() || mutated(`a duplicate without its first`) {\n",
		"duplicates name the first request"},
	{"a body that is not copied", "queue/direct/committer.go",
		"		d.Body, d.Headers = c.body(d.Body), c.header(d.Headers)\n",
		"		if !mutated(`a body that is not copied`) {\n" +
			"			d.Body, d.Headers = c.body(d.Body), c.header(d.Headers)\n		}\n",
		"the bytes are kept"},
	{"the spool is released before it is moved", "queue/spool/move.go",
		"	err := m.prepare(records, moved)\n",
		"	if mutated(`the spool is released before it is moved`) {\n" +
			"		_ = reader.Commit(ctx, hookgate.LastOffsets(records))\n	}\n" +
			"	err := m.prepare(records, moved)\n",
		"a 202 is durable"},
	{"appends pass the spool", "queue/spool/drain.go",
		"		if stats.Depth == 0 {\n			next = phasePrimary\n",
		"		if stats.Depth == 0 || mutated(`appends pass the spool`) {\n			next = phasePrimary\n",
		"events are stored in order"},
	{"the queue is released before the commit", "persist/worker.go",
		"	if err := w.storeAll(ctx, records); err != nil {\n",
		"	if mutated(`the queue is released before the commit`) {\n" +
			"		_ = reader.Commit(ctx, hookgate.LastOffsets(records))\n	}\n" +
			"	if err := w.storeAll(ctx, records); err != nil {\n",
		"a 202 is durable"},
	{"an unknown outcome is done", "persist/store.go",
		"			w.metrics.Fenced()\n		}\n		return err\n",
		"			w.metrics.Fenced()\n		}\n" +
			"		if mutated(`an unknown outcome is done`) && !errors.Is(err, hookgate.ErrFenced) {\n" +
			"			outcome.Results = make([]hookgate.Result, len(b.Records))\n" +
			"			return nil\n		}\n" +
			"		return err\n",
		"a 202 is durable"},
	{"an old owner of a partition stores", "simulation/store_test.go",
		"		if epoch < t.epochs[partition] {\n",
		"		if epoch < t.epochs[partition] && !mutated(`an old owner of a partition stores`) {\n",
		"old owners are fenced"},
	{"no look for the identity", "simulation/store_test.go",
		"	first, known := s.first[claim]\n",
		"	first, known := s.first[claim]\n" +
			"	if mutated(`no look for the identity`) {\n" +
			"		first, known = hookgate.RequestID{}, false\n	}\n",
		"acknowledged events are stored once"},
	{"no trail of a duplicate", "simulation/store_test.go",
		"		s.entries[r.RequestID] = entry{result, hookgate.StageDuplicate}\n",
		"		if !mutated(`no trail of a duplicate`) {\n" +
			"			s.entries[r.RequestID] = entry{result, hookgate.StageDuplicate}\n		}\n",
		"every request has its lineage"},
	{"an old owner of a subscription saves", "deliver/memory/subscriptions.go",
		"		if sub == nil || sub.epoch != epoch {\n",
		"		if sub == nil || sub.epoch != epoch && !mutated(`an old owner of a subscription saves`) {\n",
		"old owners are fenced"},
	{"the cursor passes an open event", "deliver/runner.go",
		"	return r.ring.cursor(r.position)\n",
		"	if mutated(`the cursor passes an open event`) {\n		return r.position\n	}\n" +
			"	return r.ring.cursor(r.position)\n",
		lostPlace},
	{"a hold is not written", "deliver/keys.go",
		"	r.pending.Hold(k.name, k.after, 0)\n	r.setExcepted",
		"	if !mutated(`a hold is not written`) {\n" +
			"		r.pending.Hold(k.name, k.after, 0)\n	}\n	r.setExcepted",
		lostPlace},
	{"the next event passes a retry", "deliver/attempt.go",
		"		r.setExcepted(k, true)\n",
		"		r.setExcepted(k, !mutated(`the next event passes a retry`))\n",
		"events are delivered in order"},
	{"an event of a held key is attempted", "deliver/fill.go",
		"		if k.held {\n",
		"		if k.held && !mutated(`an event of a held key is attempted`) {\n",
		"events are delivered in order"},
	{"a freed key forgets its tail", "deliver/keys.go",
		"	if k.lastSeen > max(k.after, k.readTo) {\n",
		"	if k.lastSeen > max(k.after, k.readTo) && !mutated(`a freed key forgets its tail`) {\n",
		lostPlace},
	{"a Save with an error is stored", "deliver/runner.go",
		"	case err != nil:\n		r.saveFails++\n",
		"	case err != nil && !mutated(`a Save with an error is stored`):\n		r.saveFails++\n",
		lostPlace},
	{"no slow start", "deliver/attempt.go",
		"		r.slow.begin(a.at)\n",
		"		if !mutated(`no slow start`) {\n			r.slow.begin(a.at)\n		}\n",
		"slow start"},
	{"attempts go on after the lease", "deliver/runner.go",
		"	if r.lapsed(now) {\n		r.closing = true\n		r.cancelAttempts()\n",
		"	if r.lapsed(now) {\n		r.closing = true\n" +
			"		if !mutated(`attempts go on after the lease`) {\n			r.cancelAttempts()\n		}\n",
		"one attempt of a key at a time"},
	{"a lapsed subscription is kept", "deliver/deliver.go",
		"		if e.Owner == d.config.Owner {\n",
		"		if e.Owner == d.config.Owner && !mutated(`a lapsed subscription is kept`) {\n",
		"a failing key delays no other"},
	{"a late ack is taken", "deliver/pull/round.go",
		"	for _, lease := range expired(st, r.now) {\n",
		"	for _, lease := range expired(st, r.now) {\n" +
			"		if mutated(`a late ack is taken`) && len(r.calls) > 0 {\n			break\n		}\n",
		"an ack is stored, or rejected"},
	{"a lease that has ended takes acks", "deliver/pull/round.go",
		"	c.err = ErrEnded\n	if",
		"	if c.err = ErrEnded; mutated(`a lease that has ended takes acks`) {\n		c.err = nil\n	}\n	if",
		"an ack is stored, or rejected"},
	{"a nack leaves the next one leased", "deliver/pull/settle.go",
		"	st.follow(l, i, now)\n",
		"	if !mutated(`a nack leaves the next one leased`) {\n		st.follow(l, i, now)\n	}\n",
		"events are delivered in order"},
	{"an expired lease forgets its events", "deliver/pull/settle.go",
		"	st.giveBack(l, l.Events, leaseMax, now)\n	st.end(l)\n",
		"	if !mutated(`an expired lease forgets its events`) {\n" +
			"		st.giveBack(l, l.Events, leaseMax, now)\n	}\n	st.end(l)\n",
		lostPlace},
	{"a hold begins behind the lease", "deliver/pull/state.go",
		"			after = l.Events[i].Event - 1\n",
		"			if !mutated(`a hold begins behind the lease`) {\n" +
			"				after = l.Events[i].Event - 1\n			}\n",
		lostPlace},
	{"time counts again with each commit", "deliver/pull/state.go",
		"	st.idle, st.readAt = 0, st.at\n",
		"	if !mutated(`time counts again with each commit`) {\n" +
			"		st.idle, st.readAt = 0, st.at\n	}\n",
		"nothing is skipped without a person"},
	{"two processes lease one event", "deliver/memory/leases.go",
		"sub.epoch != epoch || sub.version != version",
		"sub.epoch != epoch && !mutated(`two processes lease one event`) || sub.version != version",
		"an event has one lease"},
}
