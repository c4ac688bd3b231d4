package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	delivery "github.com/hookgate/hookgate/deliver/memory"
)

// streamedEvent returns an event of a source and type.
func streamedEvent(source, eventType string, size int) hookgate.Event {
	return hookgate.Event{Identity: hookgate.Identity{Source: source, EventType: eventType,
		MessageID: "m"}, Body: bytes.Repeat([]byte("x"), size)}
}

// streamed reads the lines of a stream.
func streamed(t *testing.T, body []byte) (lines []string) {
	t.Helper()
	for text := range strings.Lines(string(body)) {
		var line api.Streamed
		must(t, json.Unmarshal([]byte(text), &line))
		if line.Event != nil {
			lines = append(lines, line.Event.EventType)
		} else {
			lines = append(lines, line.After)
		}
	}
	return lines
}

// TestStreamParts: a stream has the events after an id that the parameters select, in order, and
// ends with the place to continue at.
func TestStreamParts(t *testing.T) {
	g, store := pulling(t, &fakePuller{}, nil)
	var ids []int64
	for i := range 4 {
		ids = append(ids, store.Append(streamedEvent("shop", fmt.Sprint("paid", i), 10),
			streamedEvent("other", fmt.Sprint("lost", i), 10))...)
	}
	ids = append(ids, store.Append(streamedEvent(hookgate.TestSource, "test", 1))...)
	last, first := fmt.Sprint(ids[8]), fmt.Sprint(ids[0])
	for query, want := range map[string][]string{
		"wait=0s":                                      {last, last},
		"wait=0s&after=" + last:                        {last},
		"wait=0s&type=*1&type=*3&after=" + first:       {"paid1", "lost1", "paid3", "lost3", last},
		"wait=0s&after=0&type=paid*":                   {"paid0", "paid1", "paid2", "paid3", last},
		"wait=0s&after=0&source=other&type=*0&type=*2": {"lost0", "lost2", last},
		"wait=0s&after=0&source=none":                  {last},
		"wait=0s&after=0&source=hookgate-certify":      {"test", last},
	} {
		a := g.admin(t, "GET", "/api/events/stream?"+query, "").want(t, 200)
		if got := streamed(t, a.body); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"after=x", "after=-1", "after=", "after=1&after=2", "wait=61s",
		"wait=x", "wait=-1s", "a=1", "type=", "%zz"} {
		checkRefusal(t, g.admin(t, "GET", "/api/events/stream?"+query, "").want(t, 400))
	}
	checkRefusal(t, g.admin(t, "GET", "/api/events/stream?after="+fmt.Sprint(ids[8]+1), "").want(t, 409))
	_, err := store.Seek(t.Context(), "billing", hookgate.Start{At: hookgate.StartNow}, false,
		hookgate.Person{}) // so that it does not hold up retention
	must(t, err)
	horizon := store.Remove(ids[2])
	a := g.admin(t, "GET", "/api/events/stream?after="+first, "").want(t, 410)
	if !strings.Contains(string(a.body), fmt.Sprintf(`"horizon":"%d"`, horizon)) {
		t.Errorf("the answer is %s", a.body)
	}
	bearer := "Bearer " + g.create(t,
		`{"name":"app","role":"consumer","subscriptions":["billing","gone"]}`).Text
	a = g.do(t, "GET", fmt.Sprintf("/api/events/stream?wait=0s&after=%d", horizon), nil,
		"Authorization", bearer).want(t, 200)
	if got := streamed(t, a.body); !slices.Equal(got, []string{"paid2", "paid3", last}) {
		t.Errorf("a consumer of paid* gets %q", got)
	}
}

// TestStreamFollows: a stream writes an event when it is stored, and ends when the gate stops. The
// number of streams is bounded.
func TestStreamFollows(t *testing.T) {
	g, store := pulling(t, &fakePuller{}, nil)
	open := func() *bufio.Reader {
		request, err := http.NewRequestWithContext(t.Context(), "GET",
			g.url+"/api/events/stream?wait=1m", nil)
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+adminToken)
		response, err := g.client.Do(request)
		must(t, err)
		t.Cleanup(func() { response.Body.Close() })
		return bufio.NewReader(response.Body)
	}
	one, two := open(), open()
	line := func(from *bufio.Reader) string {
		text, err := from.ReadString('\n')
		must(t, err)
		return streamed(t, []byte(text))[0]
	}
	if a, b := line(one), line(two); a != "0" || b != "0" {
		t.Errorf("the streams begin with %s and %s", a, b)
	}
	a := g.admin(t, "GET", "/api/events/stream", "").want(t, 503)
	if checkRefusal(t, a); a.header.Get("Retry-After") == "" {
		t.Errorf("the headers are %v", a.header)
	}
	ids := store.Append(streamedEvent("shop", "paid", 10))
	if a, b := line(one), line(two); a != "paid" || b != "paid" {
		t.Errorf("the streams go on with %s and %s", a, b)
	}
	g.API.Stop()
	if a, b := line(one), line(two); a != fmt.Sprint(ids[0]) || b != a {
		t.Errorf("the streams end with %s and %s", a, b)
	}
}

// pagedLog has a log without end, and counts what its readers have in memory.
type pagedLog struct {
	*delivery.Store
	pages   atomic.Int64
	reading atomic.Int64 // calls under way, each a transaction
}

func (l *pagedLog) ReadLog(_ context.Context, q hookgate.LogQuery) (page hookgate.LogPage, _ error) {
	l.reading.Add(1)
	defer l.reading.Add(-1)
	l.pages.Add(1)
	size := 0
	for id := q.After + 1; len(page.Events) < q.Max && size < q.MaxBytes; id++ {
		e := streamedEvent("shop", "paid", 16<<10)
		e.ID, page.Next, page.More = id, id, true
		page.Events = append(page.Events, e)
		size += len(e.Body)
	}
	return page, nil
}

func (l *pagedLog) LogRange(context.Context) (horizon, end int64, err error) {
	return 0, 1 << 40, nil
}

// TestSlowStreamReader: while a client reads nothing, its stream reads a few pages and then waits
// in a write, outside of any call of the log. It ends when the time to write is over.
func TestSlowStreamReader(t *testing.T) {
	log := &pagedLog{Store: delivery.New()}
	g, _ := pulling(t, &fakePuller{}, func(s *setup) {
		s.streamed, s.config.WriteTimeout = log, 50*time.Millisecond
	})
	conn := g.raw(t, "GET /api/events/stream?after=0&wait=1m HTTP/1.1\r\nHost: gate\r\n"+
		"Authorization: Bearer "+adminToken+"\r\n\r\n")
	must(t, conn.SetReadBuffer(4096))
	free := func() bool { return len(g.API.streams) == 0 && log.pages.Load() > 0 }
	for deadline := time.Now().Add(within); !free(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stream of a client that does not read goes on")
		}
	}
	// The socket buffers of both sides have some megabytes, and a page has half a megabyte.
	if pages := log.pages.Load(); pages > 60 || log.reading.Load() != 0 {
		t.Errorf("%d pages were read for a client that reads none", pages)
	}
}

// overtaken is a log whose horizon passes its readers after the first page.
type overtaken struct{ *pagedLog }

func (l overtaken) LogRange(context.Context) (horizon, end int64, err error) {
	return l.pages.Load() * 1000, 1 << 40, nil
}

// TestStreamOvertaken: a stream breaks off rather than skip events that retention has removed.
func TestStreamOvertaken(t *testing.T) {
	g, _ := pulling(t, &fakePuller{}, func(s *setup) {
		s.streamed = overtaken{&pagedLog{Store: delivery.New()}}
	})
	a, err := g.try("GET", "/api/events/stream?after=0&wait=1m", nil, "Authorization",
		"Bearer "+adminToken)
	if err == nil {
		t.Errorf("the stream ended as if it were whole: %d, %d bytes", a.status, len(a.body))
	}
}
