package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// TestDrain checks that drain waits for queued records, also in read_only. Without a gate it exits
// with 2.
func TestDrain(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	if status, body := g.request(http.MethodPost, "/admin/maintenance",
		`{"mode":"read_only"}`); status != http.StatusOK {
		t.Fatalf("maintenance: %d %s", status, body)
	}
	if code, out, errs := runBinary(t, nil, "drain", "--target", g.url); code != 0 ||
		!strings.HasPrefix(out, "drained: 0 records") {
		t.Errorf("drain of an empty gate ended with %d: %s%s", code, out, errs)
	}
	g.request(http.MethodPost, "/admin/maintenance", `{"mode":"normal"}`)
	const n = 2000
	for i := range n {
		if status, body := g.send(fmt.Sprintf(`{"messageId":"m-%d","eventType":"t"}`,
			i)); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	if code, out, errs := runBinary(t, nil, "drain", "--target", g.url, "--timeout",
		waitFor.String()); code != 0 {
		t.Errorf("drain ended with %d: %s%s", code, out, errs)
	}
	if h := g.health(); h.Queue.Depth == nil || *h.Queue.Depth != 0 {
		t.Errorf("after drain the health is %+v", h)
	}
	// In buffer the gate stores nothing, so drain says so and does not wait. The mode stays until the
	// operator ends it.
	if code, out, errs := runBinary(t, nil, "maintenance", "buffer", "--target", g.url, "--data-dir",
		g.dir); code != 0 || out != "buffer\n" {
		t.Fatalf("maintenance buffer ended with %d: %s%s", code, out, errs)
	}
	if status, body := g.send(`{"messageId":"buffered","eventType":"t"}`); status != http.StatusAccepted {
		t.Errorf("in buffer a webhook gets %d %s", status, body)
	}
	if code, _, errs := runBinary(t, nil, "drain", "--target", g.url); code != exitFail ||
		!strings.Contains(errs, "1 records are queued, and nothing is stored in mode buffer") {
		t.Errorf("drain in buffer ended with %d: %s", code, errs)
	}
	g.request(http.MethodPost, "/admin/maintenance", `{"mode":"normal"}`)
	if code, out, errs := runBinary(t, nil, "drain", "--target", g.url, "--timeout",
		waitFor.String()); code != 0 {
		t.Errorf("drain after buffer ended with %d: %s%s", code, out, errs)
	}
	g.stop()
	if code, _, errs := runBinary(t, nil, "drain", "--target", g.url); code != exitNoResult ||
		!strings.Contains(errs, "is it running") {
		t.Errorf("drain of no gate ended with %d: %s", code, errs)
	}
}

// TestDrainTimeout locks the store with another process. drain exits with 1 and reports how much is
// left. Without the lock it succeeds.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	conn, err := sqlite.OpenConn(dataDir(g.dir).storeFile(), sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sqlitex.ExecuteTransient(conn, "BEGIN IMMEDIATE", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if status, body := g.send(fmt.Sprintf(`{"messageId":"m-%d","eventType":"t"}`,
			i)); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	code, _, errs := runBinary(t, nil, "drain", "--target", g.url, "--timeout", "300ms")
	if code != exitFail || !strings.Contains(errs, "5 records are still queued") {
		t.Errorf("drain ended with %d: %s", code, errs)
	}
	if err := sqlitex.ExecuteTransient(conn, "ROLLBACK", nil); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := runBinary(t, nil, "drain", "--target", g.url, "--timeout",
		waitFor.String()); code != 0 {
		t.Errorf("drain ended with %d: %s", code, errs)
	}
}
