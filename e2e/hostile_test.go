package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/modeltest"
)

// hostileMemory limits the resident memory of the gate, in bytes: 64 MiB of bodies, the caches of
// both databases and the queue (32 MiB each), and about 20 KiB for each of 10,000 connections.
const hostileMemory = 384 << 20

// startHostile starts a gate with short time limits and one source of each relevant kind.
func startHostile(t *testing.T) *gate {
	t.Helper()
	return startGate(t, startOptions{args: []string{"--config", writeConfig(t, `
queue: {high_water: 400000}
http: {max_body_memory: 64MiB, max_connections: 11000, read_timeout: 3s, idle_timeout: 60s}
sources:
  github: {kind: github, secrets: [a-secret-of-github]}
  any: {kind: bearer, secrets: [a-key-of-any], message_id: ["header:X-Id", "json:id"], event_type: ["header:X-Type", "json:type"]}
`)}})
}

// checkMemory checks that the peak of the gate's memory is within hostileMemory.
func (g *gate) checkMemory(after string) {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatalf("after %s: %v\n%s", after, err, g.logs)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		g.t.Fatalf("after %s the gate has no memory:\n%s", after, text)
	}
	peak, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		g.t.Fatal(err)
	}
	if peak <<= 10; peak > hostileMemory {
		g.t.Errorf("after %s the gate has had %d MiB in memory", after, peak>>20)
	}
	g.t.Logf("after %s: at most %d MiB", after, peak>>20)
}

// dial opens a connection to the gate. The end of the test closes it.
func (g *gate) dial() net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(waitFor))
	return conn
}

// raw sends bytes unchanged and returns the statuses of n answers, or of all until the gate closes
// the connection.
func (g *gate) raw(text string, n int) (statuses []int) {
	g.t.Helper()
	conn := g.dial()
	if _, err := io.WriteString(conn, text); err != nil && !errors.Is(err, syscall.EPIPE) &&
		!errors.Is(err, syscall.ECONNRESET) {
		g.t.Fatal(err)
	}
	for r := bufio.NewReader(conn); len(statuses) < n; {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		io.Copy(io.Discard, resp.Body) // an answer counts even if its body ends early
		statuses = append(statuses, resp.StatusCode)
	}
	return statuses
}

// alive checks that the gate still accepts a correct webhook.
func (g *gate) alive(id string) {
	g.t.Helper()
	if status, answer := g.send(`{"messageId":"` + id +
		`","eventType":"alive"}`); status != http.StatusAccepted {
		g.t.Errorf("%s is answered %d %s", id, status, answer)
	}
}

// TestHostileShapes sends requests that are not HTTP, or HTTP that two programs could parse
// differently. Each gets its status, the gate stays up, and nothing unauthenticated is stored.
func TestHostileShapes(t *testing.T) {
	t.Parallel()
	g := startHostile(t)
	key := "Authorization: Bearer " + g.key(bearerKeyName) + "\r\n"
	post := "POST /webhooks HTTP/1.1\r\nHost: x\r\n"
	smuggled := post + "Content-Length: 40\r\n\r\n" + `{"messageId":"smuggled","eventType":"evil"}`
	body := `{"messageId":"shape","eventType":"t"}`
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for _, c := range []struct {
		name, text string
		want       string // statuses of all answers
	}{
		{"length and chunks, a request behind the chunks", post + key +
			"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + smuggled, "202 401"},
		{"length and chunks, a request inside the length", post + key +
			fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s",
				5+len(smuggled), smuggled), "400 401"},
		{"two lengths", post + key + "Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + smuggled,
			"400"},
		{"list of lengths", post + key + "Content-Length: 2, 40\r\n\r\n{}" + smuggled, "400"},
		{"length with a sign", post + key + "Content-Length: +2\r\n\r\n{}", "400"},
		{"negative length", post + key + "Content-Length: -1\r\n\r\n", "400"},
		{"length in hexadecimal", post + key + "Content-Length: 0x2\r\n\r\n{}", "400"},
		{"length beyond any", post + key + "Content-Length: 99999999999999999999\r\n\r\n", "400"},
		{"length of 1 TiB", post + key + "Content-Length: 1099511627776\r\n\r\n", "413"},
		{"unknown coding", post + key + "Transfer-Encoding: xchunked\r\n\r\n" + chunk, "501"},
		{"two codings", post + key + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk, "501"},
		{"coding twice", post + key +
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunk, "501"},
		{"coding behind a vertical tab", post + key + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunk,
			"400"},
		{"chunk size with a sign", post + key +
			"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", "400"},
		{"chunk size that is no number", post + key +
			"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "400"},
		{"chunk size beyond any", post + key +
			"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n", "400"},
		{"chunk longer than its size", post + key +
			"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", "400"},
		{"chunk extensions without end", post + key + "Transfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("1;"+strings.Repeat("x", 3000)+"\r\n{\r\n", 100), "400"},
		{"space before the colon", post + key + "Content-Length : 2\r\n\r\n{}", "400"},
		{"name with a NUL", post + key + "X\x00Y: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		{"value with a NUL", post + key + "X-Y: a\x00b\r\nContent-Length: 2\r\n\r\n{}", "400"},
		{"line feed alone", "POST /webhooks HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}", "401"},
		{"no host", "POST /webhooks HTTP/1.1\r\n" + key + "Content-Length: 2\r\n\r\n{}", "400"},
		{"two hosts", post + "Host: y\r\n" + key + "Content-Length: 2\r\n\r\n{}", "400"},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "404"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 200) + "\r\n\r\n",
			"400"},
		{"not HTTP", "\x00\x01\x02\r\n\r\n", "400"},
		{"1 MiB of one header", post + "X-Y: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "431"},
		{"1 MiB of headers", post + strings.Repeat("X-Y: "+strings.Repeat("a", 95)+"\r\n", 10_000) +
			"\r\n", "431"},
		{"1 MiB of path", "POST /webhooks/" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
			"431"},
		{"line ends in the path", "POST /webhooks/x%0d%0aX-Injected:%201%0d%0a HTTP/1.1\r\n" +
			"Host: x\r\nContent-Length: 0\r\n\r\n", "404"},
		{"dots in the path", "POST /webhooks/../api/events HTTP/1.1\r\nHost: x\r\nContent-Length:" +
			" 0\r\n\r\n", "404"},
	} {
		want := strings.Fields(c.want)
		got := strings.Fields(strings.Trim(fmt.Sprint(g.raw(c.text, len(want))), "[]"))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: answered %v, want %v", c.name, got, want)
		}
	}
	g.alive("after-shapes")
	g.awaitDrained()
	_, events := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	if n := strings.Count(events, "\n"); n != 2 || strings.Contains(events, "smuggled") {
		t.Errorf("%d events are stored, want the shape and the sign of life:\n%s", n, events)
	}
	g.checkLogs()
	g.checkMemory("shapes")
}

// checkLogs checks that every line of the log is JSON.
func (g *gate) checkLogs() {
	g.t.Helper()
	for line := range strings.Lines(g.logs.String()) {
		if !json.Valid([]byte(line)) {
			g.t.Errorf("a line of the log is not JSON: %q", line)
		}
	}
}

// TestHostileBodies sends authenticated bodies that are made to harm a parser.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	g := startHostile(t)
	pack := func(text io.Reader, n int64) string {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, text, n); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	bomb := strings.Repeat(pack(zeros{}, 10<<20), 90) // 90 parts, 900 MiB in total
	if len(bomb) > 1<<20 {
		t.Fatalf("the bomb has %d bytes, more than a body may have", len(bomb))
	}
	nest := func(open, close string, n int) string {
		return strings.Repeat(open, n) +
			strings.Repeat(close, n)
	}
	for _, c := range []struct {
		name, body string
		status     int
		headers    []string
	}{
		{"gzip bomb", bomb, 413, []string{"Content-Encoding", "gzip"}},
		{"gzip in gzip", pack(strings.NewReader(bomb), int64(len(bomb))), 400,
			[]string{"Content-Encoding", "gzip"}},
		{"many empty gzips", strings.Repeat(pack(strings.NewReader(""), 0), 40_000), 400,
			[]string{"Content-Encoding", "gzip"}},
		{"arrays 400,000 deep", `{"messageId":"a","eventType":"t","x":` + nest("[", "]", 400_000) + "}",
			400, nil},
		{"objects 150,000 deep", `{"messageId":"a","eventType":"t","x":` + strings.Repeat(`{"a":`,
			150_000) + "1" + strings.Repeat("}", 150_000) + "}", 400, nil},
		{"a number of 900,000 digits", `{"messageId":"a","eventType":"number","x":` + strings.Repeat("9",
			900_000) + "}", 202, nil},
		{"a member 100,000 times", `{"messageId":"b","eventType":"members"` + strings.Repeat(`,"x":1`,
			100_000) + "}", 202, nil},
		{"id twice", `{"messageId":"a","messageId":"b","eventType":"t"}`, 400, nil},
		{"id twice, once escaped", `{"messageId":"a","\u006dessageId":"b","eventType":"t"}`, 400, nil},
		{"NUL in the id", `{"messageId":"a\u0000b","eventType":"t"}`, 400, nil},
		{"line end in the id", `{"messageId":"a\r\nX-Injected: 1","eventType":"t"}`, 400, nil},
		{"line end in the type", `{"messageId":"a","eventType":"t\nwebhook_events_total 1"}`, 400, nil},
		{"half a character in the id", `{"messageId":"\ud800","eventType":"t"}`, 400, nil},
		{"not UTF-8 in the id", "{\"messageId\":\"\xc3\x28\",\"eventType\":\"t\"}", 400, nil},
		{"257 bytes of id", `{"messageId":"` + strings.Repeat("x", 257) + `","eventType":"t"}`, 400, nil},
		{"composed", `{"messageId":"caf\u00e9","eventType":"normal"}`, 202, nil},
		{"decomposed", `{"messageId":"cafe\u0301","eventType":"normal"}`, 202, nil},
	} {
		status, answer := g.request(http.MethodPost, "/webhooks", c.body,
			append(c.headers, "Authorization", "Bearer "+g.key(bearerKeyName))...)
		if status != c.status {
			t.Errorf("%s is answered %d %.300s, want %d", c.name, status, answer, c.status)
		}
		g.checkMemory(c.name)
	}
	g.alive("after-bodies")
	g.awaitDrained()
	_, normal := g.request(http.MethodGet, "/api/events?type=normal", "", "Accept",
		"application/x-ndjson")
	if strings.Count(normal, "\n") != 2 || !strings.Contains(normal, `"caf\u00e9"`) &&
		!strings.Contains(normal, `"café"`) {
		t.Errorf("of two ids that differ in their Unicode form alone there are\n%s", normal)
	}
	g.checkLogs()
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestHostileFlood sends a body of 10 GiB in chunks. With the right key the gate stops reading at
// the largest body, without it before the first byte.
func TestHostileFlood(t *testing.T) {
	t.Parallel()
	g := startHostile(t)
	for _, c := range []struct {
		name, key string
		status    int
	}{{"right key", g.key(bearerKeyName), 413}, {"wrong key", "wrong", 401}} {
		conn := g.dial()
		fmt.Fprintf(conn, "POST /webhooks HTTP/1.1\r\nHost: x\r\n"+
			"Authorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n", c.key)
		const size = 1 << 20
		piece := append(fmt.Appendf(nil, "%x\r\n", size), make([]byte, size+2)...)
		copy(piece[len(piece)-2:], "\r\n")
		answered := make(chan int, 1)
		go func() {
			status := 0
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				status = resp.StatusCode
			}
			answered <- status
		}()
		sent := 0
		for ; sent < 10<<30; sent += size {
			if _, err := conn.Write(piece); err != nil {
				break
			}
		}
		if status := <-answered; status != c.status {
			t.Errorf("%s: answered %d, want %d", c.name, status, c.status)
		}
		if sent > 64<<20 {
			t.Errorf("%s: the gate has let %d MiB be sent", c.name, sent>>20)
		}
		g.checkMemory("a flood with the " + c.name)
	}
	g.alive("after-flood")
}

// TestHostileSlowness opens 10,000 silent connections, 200 that send their header byte by byte, and
// 200 that do so with their body. The gate answers others meanwhile, closes the slow connections in
// time, and its memory stays within hostileMemory.
func TestHostileSlowness(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < 12_000 {
		limit.Max = 12_000 // root may raise the limit
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("raise the number of open files to %d (ulimit -n): %v", limit.Max, err)
	}
	g := startHostile(t)
	key := g.key(bearerKeyName)

	// Each silent connection has made one request, so it may then be idle for long.
	const silent, slow = 10_000, 200
	address := strings.TrimPrefix(g.url, "http://")
	conns := make([]net.Conn, silent)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := worker; i < silent; i += 8 {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = conn
				// If this fails, the next line reports it.
				io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
				conn.SetReadDeadline(time.Now().Add(waitFor))
				if _, err := conn.Read(make([]byte, 1024)); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	g.alive("beside-silence")
	g.checkMemory("10,000 idle connections")

	type end struct {
		status int
		took   time.Duration
	}
	ends := make(chan end, 2*slow)
	for i := range 2 * slow {
		conn := g.dial()
		begin := "POST /webhooks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key +
			"\r\nContent-Length: 1000\r\n"
		if i%2 == 1 {
			begin += "\r\n{" // the header is complete, the body never is
		}
		go func() {
			started := time.Now()
			if _, err := io.WriteString(conn, begin); err != nil {
				ends <- end{}
				return
			}
			stop := make(chan struct{})
			go func() {
				for tick := time.Tick(200 * time.Millisecond); ; {
					select {
					case <-stop:
						return
					case <-tick:
						if _, err := io.WriteString(conn, "x"); err != nil {
							return
						}
					}
				}
			}()
			status := 0
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				status = resp.StatusCode
			}
			close(stop)
			ends <- end{status, time.Since(started)}
		}()
	}
	g.alive("beside-slowness")
	byStatus := map[int]int{}
	for range 2 * slow {
		e := <-ends
		byStatus[e.status]++
	}
	// A connection with an incomplete header ends with 400 or without an answer. An incomplete body
	// gets 408.
	if byStatus[http.StatusRequestTimeout] != slow ||
		byStatus[0]+byStatus[http.StatusBadRequest] != slow {
		t.Errorf("slow connections end with %v", byStatus)
	}
	g.alive("after-slowness")
	g.checkMemory("slow connections")
}

// TestHostileTypes sends thousands of event types. The metrics stay as large as with a hundred, and
// so does the memory.
func TestHostileTypes(t *testing.T) {
	t.Parallel()
	g := startHostile(t)
	const connections, window = 16, 50
	total := modeltest.Pick(3_200, 100_000)
	var group sync.WaitGroup
	for n := range connections {
		group.Go(func() {
			conn := g.dial()
			r := bufio.NewReaderSize(conn, 64<<10)
			for from := n * (total / connections); from < (n+1)*(total/connections); from += window {
				var batch bytes.Buffer
				for i := from; i < from+window; i++ {
					body := fmt.Sprintf(`{"id":"%d","type":"type-%d"}`, i, i)
					fmt.Fprintf(&batch, "POST /webhooks/any HTTP/1.1\r\nHost: x\r\nAuthorization:"+
						" Bearer a-key-of-any\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				}
				if _, err := conn.Write(batch.Bytes()); err != nil {
					t.Error(err)
					return
				}
				for range window {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body) // another test checks the content
					if resp.StatusCode != http.StatusAccepted {
						t.Errorf("a type is answered %s", resp.Status)
						return
					}
				}
			}
		})
	}
	group.Wait()
	g.alive("after-types")
	_, metrics := g.request(http.MethodGet, "/metrics", "")
	types := map[string]bool{}
	for _, m := range regexp.MustCompile(`eventType="([^"]*)"`).FindAllStringSubmatch(metrics, -1) {
		types[m[1]] = true
	}
	if len(types) > 101 || !types["other"] || len(metrics) > 2<<20 {
		t.Errorf("the metrics have %d event types in %d bytes", len(types), len(metrics))
	}
	g.checkMemory(fmt.Sprint(total, " event types"))
}
