package storetest

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate/history"
)

// minuteRow returns row n: minute n of a source in a process, with every count above 0.
func minuteRow(n int, process, source string) history.Minute {
	m := history.Minute{At: longAgo.Truncate(time.Minute).Add(time.Duration(n) * time.Minute),
		Process: process, Subject: history.Subject{Kind: history.Source, Name: source}}
	for i, count := range m.Numbers() {
		*count = int64(1000*n + i + 1)
	}
	m.Latency.Observe(0.3, int64(n+1))
	m.Latency.Observe(7, 2)
	m.Duration.Observe(1e12, 3)
	return m
}

func readMinutes(t *testing.T, s history.Reader, from, to time.Time) (all []history.Minute) {
	t.Helper()
	err := s.Minutes(context.Background(), from, to, history.Subject{},
		func(m *history.Minute) { all = append(all, *m) })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantMinutes(t *testing.T, s history.Reader, want ...history.Minute) {
	t.Helper()
	got := readMinutes(t, s, time.Time{}.AddDate(1999, 0, 0), longAgo.Add(24*time.Hour))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("minutes are %s, want %s", shortMinutes(got), shortMinutes(want))
	}
}

func shortMinutes(all []history.Minute) (text string) {
	for _, m := range all {
		text += fmt.Sprintf("\n%v %s %s accepted %d", m.At, m.Process, m.Name, m.Accepted)
	}
	return text
}

// testMinutes: a minute is stored as it was given, replaced by a later save of the same process,
// and removed when it is too old.
func testMinutes(t *testing.T, s Instance) {
	save := func(oldest time.Time, minutes ...history.Minute) {
		t.Helper()
		if err := s.SaveMinutes(context.Background(), minutes, oldest); err != nil {
			t.Fatal(err)
		}
	}
	first, other := minuteRow(0, "a", "shop"), minuteRow(0, "b", "shop")
	second := minuteRow(1, "a", "shop")
	quiet := history.Minute{At: second.At, Process: "a", Subject: history.Subject{Kind: history.Gate}}
	quiet.Stored = 5
	save(first.At, second, first)
	save(first.At, other)
	save(first.At, quiet)
	wantMinutes(t, s, first, other, quiet, second)
	first.Add(&second.Counts)
	save(first.At, first)
	save(first.At, first) // a call with an unknown outcome is repeated
	wantMinutes(t, s, first, other, quiet, second)
	if got := readMinutes(t, s, first.At.Add(time.Millisecond), second.At); len(got) != 0 {
		t.Errorf("between two minutes are %s", shortMinutes(got))
	}
	var one []history.Minute
	err := s.Minutes(context.Background(), first.At, longAgo.Add(time.Hour),
		history.Subject{Kind: history.Gate}, func(m *history.Minute) { one = append(one, *m) })
	if err != nil || !reflect.DeepEqual(one, []history.Minute{quiet}) {
		t.Errorf("of the gate are %s, error %v", shortMinutes(one), err)
	}
	err = s.Minutes(context.Background(), first.At, longAgo.Add(time.Hour),
		history.Subject{Kind: history.Source, Name: "sh\x00\xff"}, func(m *history.Minute) {
			t.Errorf("a name that no source has selects %s", shortMinutes([]history.Minute{*m}))
		})
	if err != nil {
		t.Errorf("minutes of a name that is no text: %v", err)
	}
	many := []history.Minute{}
	for i := range 100 {
		many = append(many, minuteRow(2, "a", fmt.Sprintf("source-%02d", i)))
	}
	save(second.At, many...)
	wantMinutes(t, s, append([]history.Minute{quiet, second}, many...)...)
	// The clock of the store keeps what a process whose clock is ahead takes for old.
	recent := minuteRow(0, "c", "shop")
	recent.At = time.Now().UTC().Truncate(time.Minute)
	save(recent.At.Add(2*history.Keep), recent)
	if got := readMinutes(t, s, longAgo, recent.At.Add(time.Minute)); len(got) != 1 {
		t.Errorf("after a save by a clock that is ahead, there are %s; want one", shortMinutes(got))
	}
}

// testMinutesFail: a save that fails stores all of its minutes or none, and can be repeated.
func testMinutesFail(t *testing.T, b Backend, done bool) {
	s := open(t, b)
	minutes := []history.Minute{minuteRow(0, "a", "bank"), minuteRow(0, "a", "shop")}
	s.FailWrites(&done)
	err := s.SaveMinutes(context.Background(), minutes, longAgo.Add(-time.Hour))
	s.FailWrites(nil)
	if err == nil {
		t.Error("a failing store returned no error")
	}
	got := readMinutes(t, s, longAgo.Add(-time.Hour), longAgo.Add(time.Hour))
	if len(got) > 0 != done {
		t.Errorf("stored are %s", shortMinutes(got))
	}
	if err := s.SaveMinutes(context.Background(), minutes, longAgo.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantMinutes(t, s, minutes...)
}
