package push

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkDeliver compares deliveries with a bare loop that posts the same bodies over as many
// connections to the same server. Both run in turn, a slice each, so that other load on the machine
// hits both alike. The metric ratio is the rate of deliveries divided by that of the loop.
func BenchmarkDeliver(b *testing.B) {
	const connections, slice = 16, 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(server.Close)
	d := delivery()
	d.Event.Body = []byte(`{"id":"evt_1","text":"` + strings.Repeat("x", 1000) + `"}`)
	consumer, err := New(Config{Name: "x", URL: server.URL, Signing: []string{testSecret},
		Concurrency: connections})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(consumer.CloseIdleConnections)
	bare := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	b.Cleanup(bare.CloseIdleConnections)
	// round does something slice times on each connection and returns the time that it took.
	round := func(do func()) time.Duration {
		began := time.Now()
		var all sync.WaitGroup
		for range connections {
			all.Go(func() {
				for range slice {
					do()
				}
			})
		}
		all.Wait()
		return time.Since(began)
	}
	deliver := func() {
		if a := consumer.Deliver(b.Context(), d); a.Status != 200 {
			b.Errorf("the answer is %+v", a)
		}
	}
	post := func() {
		response, err := bare.Post(server.URL, "application/json", bytes.NewReader(d.Event.Body))
		if err != nil {
			b.Error(err)
			return
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	var delivering, posting time.Duration
	n := 0
	for b.Loop() {
		delivering += round(deliver)
		posting += round(post)
		n += connections * slice
	}
	b.ReportMetric(float64(n)/delivering.Seconds(), "deliveries/s")
	b.ReportMetric(float64(n)/posting.Seconds(), "bare/s")
	b.ReportMetric(posting.Seconds()/delivering.Seconds(), "ratio")
}

// TestHeaderAllocates bounds the allocations of the header of an attempt, signature included. The
// fewest of many runs count, because a sync.Pool drops items at random under the race detector.
func TestHeaderAllocates(t *testing.T) {
	c := open(t, Config{URL: "http://a/", Signing: []string{testSecret}})
	d := delivery()
	n := math.Inf(1)
	for range 100 {
		n = min(n, testing.AllocsPerRun(1, func() { c.header(d) }))
	}
	if n > 15 {
		t.Errorf("the header of an attempt takes %v allocations", n)
	}
}
