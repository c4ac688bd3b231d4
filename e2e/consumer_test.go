package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver sqlite
)

// consumer is a process that receives the events of subscriptions, as an application does. It is
// this test binary, started again. It writes each request to the file seen.ndjson, and applies both
// inbox rules of docs/concepts/delivery.md in an SQLite database of its own. A SIGKILL loses
// nothing that it has answered.
type consumer struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
	boots   int // how often it was started
}

// consumerVariable is the environment variable that makes the test binary a consumer. It has the
// folder of the consumer.
const consumerVariable = "E2E_CONSUMER"

// behaviour says how a consumer treats the requests that it selects. Zero fields select everything.
type behaviour struct {
	Subscription, Type string
	// Key is an ordering key and Message a message id, or a pattern as in path.Match.
	Key, Message string
	// UpTo selects the first requests for each delivery since the consumer was started; 0: all.
	UpTo int
	// Before is how long the request waits before the work, and After before the answer.
	Before, After time.Duration
	// Stubborn goes on with the work and the waits after the gate has given up the request.
	Stubborn bool
	// Status is the status of the answer; 0 means 200. Without a status of success no work is done,
	// unless Works is set.
	Status     int
	Works      bool
	RetryAfter string
}

// forever is a wait that only the gate ends.
const forever = time.Hour

// seen is a line in the file of a consumer.
type seen struct {
	// Kind is "boot", or of a request: "begin"; "gone" if the gate has given it up; "end" when it is
	// answered or, after it was given up, over.
	Kind string
	// Boot numbers the starts of the consumer, and N the requests of a boot.
	Boot, N int
	At      time.Time

	Subscription, Key, WebhookID, Message, Type, Process, SHA256 string `json:",omitempty"`
	Event, Redelivery                                            int64  `json:",omitempty"`
	Attempt                                                      int    `json:",omitempty"`

	Status int `json:",omitempty"`
	// General and Short report that the rule said "do the work".
	General, Short bool `json:",omitempty"`
}

// startConsumer starts a consumer. The end of the test kills it.
func startConsumer(t *testing.T) *consumer {
	t.Helper()
	r := &consumer{t: t, dir: t.TempDir(), address: "127.0.0.1:0"}
	t.Cleanup(func() { r.kill() })
	r.start()
	return r
}

// start starts the process, on the address that it had before.
func (r *consumer) start() {
	r.t.Helper()
	r.boots++
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(self)
	r.cmd.Env = append(os.Environ(), consumerVariable+"="+r.dir,
		consumerVariable+"_ADDRESS="+r.address, consumerVariable+"_BOOT="+strconv.Itoa(r.boots))
	r.cmd.Stderr = os.Stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		_, err = r.cmd.StdinPipe() // the process ends with this one, which closes it
	}
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		r.t.Fatalf("the consumer does not start: %v", err)
	}
	r.address = strings.TrimSpace(line)
}

// kill ends the process with SIGKILL.
func (r *consumer) kill() {
	if r.cmd != nil {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	}
}

// url returns the URL of a subscription.
func (r *consumer) url(subscription string) string {
	return "http://" + r.address + "/" + subscription
}

// behave sets the behaviours, of which the first that selects a request counts. Requests that none
// selects succeed at once. They stay over restarts.
func (r *consumer) behave(all ...behaviour) {
	r.t.Helper()
	body, err := json.Marshal(all)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ask("/-/behave", body)
}

// behaviours returns those that were set.
func (r *consumer) behaviours() (all []behaviour) {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, behaviourFile))
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// count returns the number of different deliveries that a subscription has done.
func (r *consumer) count(subscription string) (n int) {
	r.t.Helper()
	if _, err := fmt.Sscan(r.ask("/-/count/"+subscription, nil), &n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *consumer) ask(path string, body []byte) string {
	r.t.Helper()
	resp, err := http.Post("http://"+r.address+path, "application/json", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("the consumer answers %d %s %v", resp.StatusCode, text, err)
	}
	return string(text)
}

// seen returns what the consumer has seen up to now, in order.
func (r *consumer) seen() (all []seen) {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, seenFile))
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var s seen
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the process is writing it, or was killed
		}
		if err := json.Unmarshal(line, &s); err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
		all = append(all, s)
	}
	return all
}

// effect is a row that the work of a request has left.
type effect struct {
	Rule, Subscription, Key, WebhookID string
	Event, Redelivery                  int64
}

// effects returns the effects, in the order of their transactions.
func (r *consumer) effects() (all []effect) {
	r.t.Helper()
	db, err := openInbox(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(context.Background(),
		"SELECT rule, subscription, key, webhook_id, event, redelivery FROM effects ORDER BY id")
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var e effect
		if err := rows.Scan(&e.Rule, &e.Subscription, &e.Key, &e.WebhookID, &e.Event,
			&e.Redelivery); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, e)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// The rest of this file runs in the process of the consumer.

const (
	seenFile      = "seen.ndjson"
	behaviourFile = "behaviour.json"
	ruleGeneral   = "general"
	ruleShort     = "short"
)

// consumerProcess is a consumer as its own process sees it.
type consumerProcess struct {
	dir  string
	boot int
	db   *sql.DB
	// rules are the statements of the page on delivery.
	rules map[string]string

	mu         sync.Mutex // guards all below, and orders the lines of file
	file       *os.File
	requests   int
	tries      map[string]int // the requests for each delivery
	behaviours []behaviour
}

// runConsumer is the main function of a consumer. It returns the exit code.
func runConsumer(dir string) int {
	err := func() error {
		boot, err := strconv.Atoi(os.Getenv(consumerVariable + "_BOOT"))
		if err != nil {
			return err
		}
		a := &consumerProcess{dir: dir, boot: boot, rules: map[string]string{}, tries: map[string]int{}}
		if err := a.open(); err != nil {
			return err
		}
		l, err := net.Listen("tcp", os.Getenv(consumerVariable+"_ADDRESS"))
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		return http.Serve(l, a)
	}()
	fmt.Fprintln(os.Stderr, "consumer:", err)
	return 1
}

// openInbox opens the database of a consumer. Without fsync a commit survives the end of the
// process, and not that of the machine.
func openInbox(dir string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "inbox.db")+"?_txlock=immediate"+
		"&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=busy_timeout(60000)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func (a *consumerProcess) open() (err error) {
	if a.db, err = openInbox(a.dir); err != nil {
		return err
	}
	schema := []string{"CREATE TABLE effects (id INTEGER PRIMARY KEY, rule TEXT, subscription TEXT," +
		" key TEXT, webhook_id TEXT, event INTEGER, redelivery INTEGER)"}
	for rule, heading := range map[string]string{ruleGeneral: "### SQLite",
		ruleShort: "### PostgreSQL and SQLite, short"} {
		blocks, err := sqlUnder(heading)
		if err != nil {
			return err
		}
		schema = append(schema, blocks[0])
		a.rules[rule] = blocks[1]
	}
	for _, statement := range schema {
		statement = strings.Replace(statement, "CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
		if _, err := a.db.ExecContext(context.Background(), statement); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(filepath.Join(a.dir, behaviourFile))
	if err == nil {
		err = json.Unmarshal(data, &a.behaviours)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	name := filepath.Join(a.dir, seenFile)
	if data, err = os.ReadFile(name); err == nil { // SIGKILL may have cut the last line
		err = os.Truncate(name, int64(bytes.LastIndexByte(data, '\n')+1))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	a.file, err = os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		a.write(&seen{Kind: "boot"})
	}
	return err
}

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// sqlUnder returns the statements under a heading of the page on delivery.
func sqlUnder(heading string) (blocks []string, err error) {
	page, err := os.ReadFile("../docs/concepts/delivery.md")
	if err != nil {
		return nil, err
	}
	_, section, _ := strings.Cut(string(page), "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n##")
	for _, m := range sqlBlock.FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 2 {
		return nil, fmt.Errorf("the page on delivery has %d blocks of SQL under %q", len(blocks), heading)
	}
	return blocks, nil
}

// write appends a line. The kernel has it when write returns.
func (a *consumerProcess) write(s *seen) {
	s.Boot, s.At = a.boot, time.Now()
	line, err := json.Marshal(s)
	if err == nil {
		_, err = a.file.Write(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

func (a *consumerProcess) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the request has not arrived
	}
	subscription, isCount := strings.CutPrefix(r.URL.Path, "/-/count/")
	switch {
	case isCount:
		var n int
		err = a.db.QueryRowContext(r.Context(), "SELECT count(*) FROM inbox WHERE subscription = ?",
			subscription).Scan(&n)
		fmt.Fprint(w, n)
	case r.URL.Path == "/-/behave":
		a.mu.Lock()
		defer a.mu.Unlock()
		a.behaviours = nil
		err = cmp.Or(json.Unmarshal(body, &a.behaviours),
			os.WriteFile(filepath.Join(a.dir, behaviourFile), body, 0o600))
	default:
		a.receive(w, r, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// receive handles a request of the gate.
func (a *consumerProcess) receive(w http.ResponseWriter, r *http.Request, body []byte) {
	sum := sha256.Sum256(body)
	h := r.Header
	s := &seen{Kind: "begin", Subscription: h.Get("Hookgate-Subscription"),
		Key: h.Get("Hookgate-Key"), WebhookID: h.Get("Webhook-Id"), Message: h.Get("Hookgate-Message-Id"),
		Type: h.Get("Hookgate-Type"), Process: h.Get("X-Process"), SHA256: hex.EncodeToString(sum[:])}
	s.Event, _ = strconv.ParseInt(h.Get("Hookgate-Event-Id"), 10, 64)
	s.Redelivery, _ = strconv.ParseInt(h.Get("Hookgate-Redelivery"), 10, 64)
	s.Attempt, _ = strconv.Atoi(h.Get("Hookgate-Attempt"))
	if r.URL.Path != "/"+s.Subscription {
		s.Subscription += " at " + r.URL.Path
	}
	a.mu.Lock()
	a.requests++
	s.N = a.requests
	a.write(s)
	b := a.behaviour(s)
	a.mu.Unlock()
	end := &seen{Kind: "end", N: s.N}
	stop := context.AfterFunc(r.Context(), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if end.Status == 0 {
			a.write(&seen{Kind: "gone", N: s.N})
		}
	})
	defer stop()
	status := cmp.Or(b.Status, http.StatusOK)
	awaited := wait(r.Context(), b.Before, b.Stubborn)
	if awaited && (status < 300 || b.Works) {
		var err error
		if end.General, end.Short, err = a.work(s); err != nil {
			fmt.Fprintln(os.Stderr, "consumer:", err)
			status = http.StatusInternalServerError
		}
	}
	if awaited {
		wait(r.Context(), b.After, b.Stubborn)
	} else {
		status = 499 // nobody gets it
	}
	a.mu.Lock()
	end.Status = status
	a.write(end)
	a.mu.Unlock()
	if b.RetryAfter != "" {
		w.Header().Set("Retry-After", b.RetryAfter)
	}
	w.WriteHeader(status)
}

// wait reports whether the time has gone by. It ends early if the gate gives up, unless the
// consumer is stubborn.
func wait(ctx context.Context, d time.Duration, stubborn bool) bool {
	if stubborn {
		ctx = context.WithoutCancel(ctx)
	}
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// behaviour returns the behaviour that selects a request.
func (a *consumerProcess) behaviour(s *seen) behaviour {
	delivery := fmt.Sprint(s.Subscription, " ", s.Event, " ", s.Redelivery)
	a.tries[delivery]++
	matches := func(pattern, text string) bool {
		ok, _ := path.Match(pattern, text)
		return pattern == "" || ok
	}
	for _, b := range a.behaviours {
		if (b.Subscription == "" || b.Subscription == s.Subscription) &&
			(b.Type == "" || b.Type == s.Type) && (b.Key == "" || matches("k:"+b.Key, s.Key)) &&
			matches(b.Message, s.Message) && (b.UpTo == 0 || a.tries[delivery] <= b.UpTo) {
			return b
		}
	}
	return behaviour{}
}

var parameter = regexp.MustCompile(`:[a-z_]+`)

// work applies both rules in one transaction, and has an effect for each that says so.
func (a *consumerProcess) work(s *seen) (general, short bool, err error) {
	ctx := context.Background()
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return false, false, err
	}
	defer tx.Rollback()
	values := map[string]any{":subscription": s.Subscription, ":webhook_id": s.WebhookID,
		":redelivery": s.Redelivery, ":hookgate_key": s.Key, ":event_id": s.Event}
	apply := func(rule string) (bool, error) {
		var args []any
		result, err := tx.ExecContext(ctx, parameter.ReplaceAllStringFunc(a.rules[rule],
			func(name string) string {
				args = append(args, values[name])
				return "?"
			}), args...)
		if err != nil {
			return false, err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return false, err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO effects (rule, subscription, key, webhook_id, event,"+
			" redelivery) VALUES (?, ?, ?, ?, ?, ?)", rule, s.Subscription, s.Key, s.WebhookID, s.Event,
			s.Redelivery)
		return true, err
	}
	if general, err = apply(ruleGeneral); err != nil {
		return false, false, err
	}
	if short, err = apply(ruleShort); err != nil {
		return false, false, err
	}
	return general, short, tx.Commit()
}
