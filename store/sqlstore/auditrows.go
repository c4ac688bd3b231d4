package sqlstore

import (
	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

func scanLink(r Row, l *audit.Link) int64 {
	*l = audit.Link{
		ID: r.Int(0),
		ChainLink: audit.ChainLink{
			Partition: int(r.Int(1)), Sequence: r.Int(2), Worker: r.Text(7),
			ProcessedAt: micros(r.Int(8)), PersistedAt: micros(r.Int(9)),
			Attempts: int(r.Int(10)), LastError: r.Text(11),
		},
		Events: r.Int(5), Requests: r.Int(6), Purges: r.Int(12),
		LastEvent: r.Int(13), LastRequest: r.Int(14),
	}
	r.Copy(3, l.Previous[:])
	r.Copy(4, l.Hash[:])
	return l.ID
}

// scanLetter reads the columns after those of a request: the number of purges of its dead letter,
// and the dead letter.
func scanLetter(r Row, from int, e *entry.Stored) {
	e.Purged = r.Int(from) > 0
	if e.Outcome != hookgate.StageDeadLettered || r.IsNull(from+1) {
		return
	}
	e.Letter = &audit.Letter{Body: r.Bytes(from + 1), RequestID: r.Text(from + 2),
		Reason: r.Text(from + 3), DeadLetteredAt: r.Int(from + 4)}
}

func scanPurge(r Row, p *audit.Purge) int64 {
	*p = audit.Purge{
		ID: r.Int(0), Batch: r.Int(1), RequestID: r.Text(2), By: r.Text(3), Reason: r.Text(4),
		PurgedAt: r.Int(5), Sealed: r.Len(6) > 0,
	}
	r.Copy(6, p.Hash[:])
	return p.ID
}

func scanAnchor(r Row, a *audit.Anchor) int64 {
	*a = audit.Anchor{ID: r.Int(0), Sequence: r.Int(1)}
	r.Copy(2, a.TrailHash[:])
	r.Copy(3, a.Hash[:])
	return a.ID
}

func scanLog(r Row) audit.Log {
	l := audit.Log{
		BeginsAfter: r.Int(0), LastID: r.Int(1), Begun: r.Len(2) > 0, Events: r.Int(3),
		Duplicates: r.Int(4), DeadLetters: r.Int(5), Purges: r.Int(6), Anchored: r.Int(7),
	}
	r.Copy(2, l.Hash[:])
	return l
}

func scanGap(r Row) audit.Gap {
	g := audit.Gap{
		From: r.Int(0), To: r.Int(1), Events: r.Int(4), Duplicates: r.Int(5), DeadLetters: r.Int(6),
		Purges: r.Int(7), Anchors: r.Int(8), Anchored: r.Int(9), PersistedAt: micros(r.Int(10)),
	}
	r.Copy(2, g.Previous[:])
	r.Copy(3, g.Hash[:])
	return g
}

func scanCheckpoint(r Row) audit.Checkpoint {
	c := audit.Checkpoint{
		Partition: int(r.Int(0)), From: r.Int(1), To: r.Int(2), Events: r.Int(5), Duplicates: r.Int(6),
		DeadLetters: r.Int(7), Purges: r.Int(8), PersistedAt: micros(r.Int(9)),
	}
	r.Copy(3, c.Previous[:])
	r.Copy(4, c.Hash[:])
	return c
}

func scanHead(r Row) audit.Head {
	h := audit.Head{Partition: int(r.Int(0)), Sequence: r.Int(1), Events: r.Int(3),
		Duplicates: r.Int(4), DeadLetters: r.Int(5)}
	r.Copy(2, h.Hash[:])
	return h
}

// RemovalsQuery selects the row of webhook_removals.
const RemovalsQuery = `SELECT events, duplicates, dead_letters, last_event, last_request,
	last_batch,
	last_purge FROM webhook_removals`

// ScanRemovals reads a row of RemovalsQuery.
func ScanRemovals(r Row) audit.Removals {
	return audit.Removals{Events: r.Int(0), Duplicates: r.Int(1), DeadLetters: r.Int(2),
		LastEvent: r.Int(3), LastRequest: r.Int(4), LastBatch: r.Int(5), LastPurge: r.Int(6)}
}

// ChainHeadsQuery selects the heads of the chains that earlier releases wrote, if they have a link.
const ChainHeadsQuery = `SELECT partition, sequence, hash FROM webhook_partitions WHERE sequence > 0
	ORDER BY partition`

// ScanChainHead reads a row of ChainHeadsQuery.
func ScanChainHead(r Row) audit.ChainHead {
	h := audit.ChainHead{Partition: int(r.Int(0)), Sequence: r.Int(1)}
	r.Copy(2, h.Hash[:])
	return h
}
