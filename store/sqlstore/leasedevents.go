package sqlstore

import (
	encoding "encoding/binary"
	"errors"

	"github.com/hookgate/hookgate"
)

// webhook_leases.events has the events of a lease, in their order. A commit writes hundreds of
// them, so they are short:
//
//	format   1 byte   leasedFormat
//	then for each event:
//	id       varint   the difference to the id before it
//	flags    1 byte   see below
//	key      uvarint  the length of the ordering key, and the key
//	                  if leasedMore is set:
//	         uvarint  redelivery
//	         uvarint  attempts
//	         uvarint  job
const leasedFormat = 1

// The flags of an event.
const (
	leasedExcepted byte = 1 << iota
	leasedPath
	leasedAcked
	leasedGivenBack
	leasedMore
)

var errLeasedEvents = errors.New("the stored events of the lease are damaged")

// appendLeased appends the stored form of events.
func appendLeased(b []byte, events []hookgate.LeasedEvent) []byte {
	b = append(b, leasedFormat)
	before := int64(0)
	for i := range events {
		e := &events[i]
		flags := leasedFlags(e)
		b = append(encoding.AppendVarint(b, e.Event-before), flags)
		b = append(encoding.AppendUvarint(b, uint64(len(e.OrderingKey))), e.OrderingKey...)
		if flags&leasedMore != 0 {
			b = encoding.AppendUvarint(b, uint64(e.Redelivery))
			b = encoding.AppendUvarint(b, uint64(e.Attempts))
			b = encoding.AppendUvarint(b, uint64(e.Job))
		}
		before = e.Event
	}
	return b
}

func leasedFlags(e *hookgate.LeasedEvent) (flags byte) {
	if e.Excepted {
		flags |= leasedExcepted
	}
	if e.Path {
		flags |= leasedPath
	}
	switch e.State {
	case hookgate.LeasedAcked:
		flags |= leasedAcked
	case hookgate.LeasedGivenBack:
		flags |= leasedGivenBack
	}
	if e.Redelivery != 0 || e.Attempts != 0 || e.Job != 0 {
		flags |= leasedMore
	}
	return flags
}

// parseLeased reads the stored form of events.
func parseLeased(b []byte) (events []hookgate.LeasedEvent, err error) {
	if len(b) == 0 || b[0] != leasedFormat {
		return nil, errLeasedEvents
	}
	p := leasedParser{b[1:], false}
	for id := int64(0); len(p.rest) > 0 && !p.damaged; {
		id += p.varint()
		e := hookgate.LeasedEvent{Event: id}
		flags := p.bytes(1)
		e.OrderingKey = string(p.bytes(p.uvarint()))
		if p.damaged {
			break
		}
		e.Excepted, e.Path = flags[0]&leasedExcepted != 0, flags[0]&leasedPath != 0
		switch {
		case flags[0]&leasedAcked != 0:
			e.State = hookgate.LeasedAcked
		case flags[0]&leasedGivenBack != 0:
			e.State = hookgate.LeasedGivenBack
		}
		if flags[0]&leasedMore != 0 {
			e.Redelivery, e.Attempts = int64(p.uvarint()), int(p.uvarint())
			e.Job = int64(p.uvarint())
		}
		events = append(events, e)
	}
	if p.damaged {
		return nil, errLeasedEvents
	}
	return events, nil
}

// leasedParser reads values from the front of rest. After the first one that is damaged all are
// zero.
type leasedParser struct {
	rest    []byte
	damaged bool
}

func (p *leasedParser) varint() int64 {
	v, n := encoding.Varint(p.rest)
	p.skip(n)
	return v
}

func (p *leasedParser) uvarint() uint64 {
	v, n := encoding.Uvarint(p.rest)
	p.skip(n)
	return v
}

func (p *leasedParser) bytes(n uint64) (b []byte) {
	if n > uint64(len(p.rest)) {
		p.rest, p.damaged = nil, true
		return nil
	}
	b, p.rest = p.rest[:n], p.rest[n:]
	return b
}

// skip skips a value of n bytes; n is not positive if it is damaged.
func (p *leasedParser) skip(n int) {
	if n <= 0 {
		p.rest, p.damaged = nil, true
		return
	}
	p.rest = p.rest[n:]
}
