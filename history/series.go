package history

import (
	"context"
	"slices"
	"time"
)

// Query selects a part of the history.
type Query struct {
	// From is rounded down to Step, and To up. Minutes from From on, and before To, are selected.
	From, To time.Time
	// Step is the length of a point: whole minutes.
	Step time.Duration
	// Only restricts the subjects; see Subject.Selects.
	Only Subject
}

// End is To, rounded up.
func (q Query) End() time.Time {
	if whole := q.To.Truncate(q.Step); whole.Before(q.To) {
		return whole.Add(q.Step)
	}
	return q.To
}

// Point are the counts of a step.
type Point struct {
	At time.Time // its beginning
	Counts
}

// Series are the points of a subject, oldest first. Steps without traffic have none.
type Series struct {
	Total  Counts
	Points []*Point
}

// Read sums the minutes of all processes up by subject and step.
func Read(ctx context.Context, r Reader, q Query) (map[Subject]*Series, error) {
	all := map[Subject]*Series{}
	points := map[Subject]map[int64]*Point{}
	err := r.Minutes(ctx, q.From.Truncate(q.Step), q.End(), q.Only, func(m *Minute) {
		if all[m.Subject] == nil {
			all[m.Subject], points[m.Subject] = &Series{}, map[int64]*Point{}
		}
		at := m.At.Truncate(q.Step).UTC()
		p := points[m.Subject][at.Unix()]
		if p == nil {
			p = &Point{At: at}
			points[m.Subject][at.Unix()] = p
			all[m.Subject].Points = append(all[m.Subject].Points, p)
		}
		p.Add(&m.Counts)
		all[m.Subject].Total.Add(&m.Counts)
	})
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		// The minutes that a process has not stored yet come last.
		slices.SortFunc(s.Points, func(a, b *Point) int { return a.At.Compare(b.At) })
	}
	return all, nil
}
