package main

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/load"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sinkCommand {
		serveSink()
		return
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// buildDir is the folder of the gate that the tests share.
var buildDir string

// builtGate builds the gate once. The working directory must be the root of the project.
var builtGate = sync.OnceValues(func() (gate string, err error) {
	if buildDir, err = os.MkdirTemp("", "hookgate-bench-test-"); err != nil {
		return "", err
	}
	return build(context.Background(), settings{}, buildDir, "hookgate")
})

// TestDeliveries checks that the measurements of delivery run and give every figure that their
// verdicts need; outside of make soak only some of their parts. The counts are too small for the
// figures to mean anything.
func TestDeliveries(t *testing.T) {
	// The clients that wait take long, and may need too little to be measured.
	most := strings.TrimSuffix(strings.ReplaceAll(partNames(), " ", ""), ",pull-waiting")
	only, verdicts := modeltest.Pick("latency,keys,key", most), modeltest.Pick(5, 34)
	t.Chdir("..")
	gate, err := builtGate()
	if err != nil {
		t.Fatal(err)
	}
	d := &document{}
	s := settings{Rounds: 1, Events: 2000, Backlog: 2000, FlatOut: 1000, Paced: 100,
		Size: load.DefaultSize, Connections: 10, Only: only}
	if err := deliveries(t.Context(), d, s, gate); err != nil {
		t.Fatal(err)
	}
	if len(d.Verdicts) < verdicts {
		t.Errorf("%d verdicts, want one for each goal", len(d.Verdicts))
	}
	for _, v := range d.Verdicts {
		if v.Value == 0 {
			t.Errorf("%s: not measured", v.What)
		}
	}
}

// TestPulling checks the clients of the measurements of pull with the plain handler.
func TestPulling(t *testing.T) {
	c := &sink{counts: map[string]*sinkCount{}}
	answer := []byte(`{"lease":"l","events":[{"id":"1"},{"id":"2"},{"id":"3"}]}`)
	c.count("billing").answer.Store(&answer)
	server := httptest.NewServer(c)
	defer server.Close()
	seen := make(chan int, 100)
	p := pulling{url: server.URL, name: "billing", clients: 2, n: 30,
		each: func(batch *api.Pulled) { seen <- len(batch.Events) }}
	got, err := p.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	close(seen)
	sum := 0
	for n := range seen {
		sum += n
	}
	if got.events < 30 || got.events != sum || got.pulls.TotalCount()*3 != int64(sum) ||
		got.perSecond() <= 0 {
		t.Errorf("%d events and %d pulls at %f/s, and saw %d events", got.events,
			got.pulls.TotalCount(), got.perSecond(), sum)
	}
	server.Close()
	if _, err := p.run(t.Context()); err == nil {
		t.Error("no error without a server")
	}
}
