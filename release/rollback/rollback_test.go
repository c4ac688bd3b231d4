package rollback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/control"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a gate whose release is a file. The roll-back command changes the file.
type machine struct {
	t        *testing.T
	dir      string
	retryFor time.Duration

	mu     sync.Mutex // guards all below
	down   bool
	queued int64
	mode   control.Mode
	calls  []string
	fails  map[string]error // by the prefix of a call
	// breaks counts the next calls that break before they take effect, and after.
	breaks struct{ before, after int }
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, dir: t.TempDir(), retryFor: 200 * time.Millisecond, mode: control.ModeNormal,
		fails: map[string]error{}}
	m.write("release", "v2")
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	text, _ := os.ReadFile(m.path(name))
	return strings.TrimSpace(string(text))
}

// call handles a call: it takes effect unless it fails.
func (m *machine) call(what string, effect func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return fmt.Errorf("%w: connection refused", ErrNoAnswer)
	}
	if m.breaks.before > 0 {
		m.breaks.before--
		return fmt.Errorf("%w: EOF", ErrNoAnswer)
	}
	m.calls = append(m.calls, what)
	for prefix, err := range m.fails {
		if strings.HasPrefix(what, prefix) {
			return err
		}
	}
	effect()
	if m.breaks.after > 0 {
		m.breaks.after--
		return fmt.Errorf("%w: EOF", ErrNoAnswer)
	}
	return nil
}

func nothing() {}

func (m *machine) Announce(_ context.Context, id, expected string) error {
	return m.call("announce "+id+" "+expected, nothing)
}

func (m *machine) SetMode(_ context.Context, mode control.Mode, reason string) error {
	return m.call(string(mode)+" "+reason, func() { m.mode = mode })
}

func (m *machine) State(context.Context) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return State{}, ErrNoAnswer
	}
	return State{Version: m.read("release"), Mode: m.mode, Queued: m.queued, Known: true}, nil
}

func (m *machine) Record(_ context.Context, id, result, summary string) error {
	return m.call("record "+id+" "+result+" "+summary, nothing)
}

// plan returns a plan whose command counts its runs and installs v1.
func (m *machine) plan(more string) Plan {
	return Plan{
		ExpectedVersion: "v1", FromVersion: "v2", Drain: 300 * time.Millisecond, Run: 20 * time.Second,
		Health: 300 * time.Millisecond, Goal: 10 * time.Minute,
		Command: []string{"/bin/sh", "-c",
			`echo "$HOOKGATE_ROLLBACK_ID $HOOKGATE_ROLLBACK_EXPECTED_VERSION` +
				` $HOOKGATE_ROLLBACK_FROM_VERSION" >>"$0/runs"; echo put in place; ` +
				more + `; printf v1 >"$0/release"`, m.dir},
	}
}

func (m *machine) runs() int { return strings.Count(m.read("runs")+"\n", "v1 v2\n") }

func (m *machine) open(name string) *Journal {
	m.t.Helper()
	j, err := Open(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { j.Close() })
	return j
}

func ignore(StepReport) {}

// begin starts roll-back "a" and runs it.
func (m *machine) begin(p Plan, c Choices) (Report, error) {
	m.t.Helper()
	j := m.open("journal.ndjson")
	defer j.Close()
	w, err := Start(j, m, "a", p, c, ignore)
	if err != nil {
		m.t.Fatal(err)
	}
	w.retryFor = min(w.retryFor, m.retryFor)
	return w.Run(m.t.Context())
}

// resume continues the last roll-back of a journal.
func (m *machine) resume(name string, c Choices) (Report, error) {
	m.t.Helper()
	j := m.open(name)
	defer j.Close()
	w, err := Resume(j, m, c, ignore)
	if err != nil {
		m.t.Fatal(err)
	}
	w.retryFor = min(w.retryFor, m.retryFor)
	return w.Run(m.t.Context())
}

func states(r Report) (all []string) {
	for _, s := range r.Steps {
		all = append(all, string(s.Step)+" "+s.State)
	}
	return all
}

// succeeded checks a completed roll-back.
func (m *machine) succeeded(r Report, err error, runs int) {
	m.t.Helper()
	if err != nil || r.State != "done" || !r.WithinGoal || len(r.Steps) != len(Steps) ||
		m.read("release") != "v1" || m.mode != control.ModeNormal || m.runs() != runs {
		m.t.Fatalf("error %v, release %s, mode %s, the command ran %d times, want %d: %+v", err,
			m.read("release"), m.mode, m.runs(), runs, r)
	}
}

// stopped checks a roll-back that stopped at a step, and its advice.
func (m *machine) stopped(r Report, err error, at Step, told, next string) {
	m.t.Helper()
	last := r.Steps[len(r.Steps)-1]
	if err == nil || r.State != "stopped" || last.Step != at || last.State != "failed" ||
		!strings.Contains(err.Error(), told) || !strings.Contains(r.Next, next) {
		m.t.Fatalf("stopped with %v and %+v; want at %s, told %q, next %q", err, r, at, told, next)
	}
}

// TestPlaybook checks that the steps run in order, and that the gate gets who rolls back, why, and
// the result.
func TestPlaybook(t *testing.T) {
	m := newMachine(t)
	r, err := m.begin(m.plan(":"), Choices{})
	m.succeeded(r, err, 1)
	want := []string{"announce done", "read_only done", "drain done", "command done", "health done",
		"normal done", "record done"}
	if got := states(r); !slices.Equal(got, want) {
		t.Errorf("steps %v", got)
	}
	if m.read("runs") != "a v1 v2" || r.Steps[3].Note != "put in place" {
		t.Errorf("the command saw %q and printed %q", m.read("runs"), r.Steps[3].Note)
	}
	if len(m.calls) != 4 || !slices.Equal(m.calls[:3], []string{"announce a v1",
		"read_only rollback a: read_only", "normal rollback a: normal"}) ||
		!strings.HasPrefix(m.calls[3], "record a done version v1, ") ||
		!strings.Contains(m.calls[3], "drain done") {
		t.Errorf("the gate was called %q", m.calls)
	}
	if table := r.Table(); !strings.Contains(table, "rolled back to v1 in ") ||
		!strings.Contains(table, "within the goal of 10m0s") {
		t.Errorf("the table is\n%s", table)
	}
	j := m.open("journal.ndjson")
	if _, err := Resume(j, m, Choices{}, ignore); err == nil {
		t.Error("a roll-back that has ended is resumed")
	}
	if _, err := Start(j, m, "a", m.plan(":"), Choices{}, ignore); err == nil {
		t.Error("an id is used again")
	}
	p := m.plan(":")
	p.Goal = time.Nanosecond
	if w, err := Start(j, m, "b", p, Choices{}, ignore); err != nil {
		t.Fatal(err)
	} else if r, err := w.Run(t.Context()); err != nil || r.WithinGoal || !strings.Contains(r.Table(),
		"more than the goal") {
		t.Errorf("error %v, %+v", err, r)
	}
}

// TestBrokenConnections breaks the connection of a call in each step, before it takes effect or
// after it. The call is repeated: one EOF does not end a roll-back. A call that the gate rejects
// is not repeated.
func TestBrokenConnections(t *testing.T) {
	for _, step := range []Step{Announce, ReadOnly, Normal, Record} {
		for name, breaks := range map[string]struct{ before, after int }{"before": {2, 0},
			"after": {0, 2}} {
			t.Run(string(step)+", "+name, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				m.retryFor = time.Minute
				j := m.open("journal.ndjson")
				w, err := Start(j, m, "a", m.plan(":"), Choices{}, func(s StepReport) {
					if s.Step == step && s.State == "" {
						m.mu.Lock()
						defer m.mu.Unlock()
						m.breaks = breaks
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				r, err := w.Run(t.Context())
				m.succeeded(r, err, 1)
				if want := 4 + breaks.after; len(m.calls) != want {
					t.Errorf("the gate has taken %d calls, want %d: %q", len(m.calls), want, m.calls)
				}
				if last := r.Steps[len(r.Steps)-1]; last.State != stateDone {
					t.Errorf("the result is %+v", last)
				}
			})
		}
	}
	m := newMachine(t)
	m.retryFor = time.Minute
	m.fails["read_only"] = errors.New("403 Forbidden")
	r, err := m.begin(m.plan(":"), Choices{})
	m.stopped(r, err, ReadOnly, "403", "--resume")
	if len(m.calls) != 3 { // announce, read_only, record
		t.Errorf("a call that was refused is made again: %q", m.calls)
	}
}

// TestEveryCut kills the process at every position of the journal, within lines too, and resumes.
// Each roll-back completes. Once the journal has the run of the command, the command does not run
// again.
func TestEveryCut(t *testing.T) {
	m := newMachine(t)
	r, err := m.begin(m.plan(":"), Choices{})
	m.succeeded(r, err, 1)
	text := []byte(m.read("journal.ndjson") + "\n")
	first := bytes.IndexByte(text, '\n') + 1
	last := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	started := bytes.Index(text, []byte(`"state":"running"`))
	started += bytes.IndexByte(text[started:], '\n') + 1
	cuts := 0
	for cut := first; cut < len(text); cut += 61 {
		if cut+61 >= len(text) {
			cut = last + 1 // torn at the end
		}
		cuts++
		name := fmt.Sprintf("cut-%d.ndjson", cut)
		m.write(name, string(text[:cut]))
		m.write("runs", "")
		runs := 0
		if cut < started {
			m.write("release", "v2")
			runs = 1
		}
		m.mode = control.ModeReadOnly
		if bytes.Contains(text[:bytes.LastIndexByte(text[:cut], '\n')+1],
			[]byte(`"step":"normal","state":"done"`)) {
			m.mode = control.ModeNormal
		}
		r, err := m.resume(name, Choices{})
		m.succeeded(r, err, runs)
		if cut > last {
			break
		}
	}
	if cuts < 20 {
		t.Errorf("only %d cuts were tried", cuts)
	}
}

// TestSteps checks that each step that fails stops the roll-back, says what to do, leaves the gate
// in read_only once it is there, and can be resumed.
func TestSteps(t *testing.T) {
	broken := errors.New("no such luck")
	t.Run("announce", func(t *testing.T) {
		m := newMachine(t)
		m.fails["announce"] = &Advised{broken, "have it approved"}
		r, err := m.begin(m.plan(":"), Choices{})
		m.stopped(r, err, Announce, "no such luck", "have it approved")
		if m.mode != control.ModeNormal || m.runs() != 0 {
			t.Errorf("mode %s, %d runs", m.mode, m.runs())
		}
		clear(m.fails)
		r, err = m.resume("journal.ndjson", Choices{})
		m.succeeded(r, err, 1)
	})
	t.Run("down", func(t *testing.T) {
		m := newMachine(t)
		m.down = true
		r, err := m.begin(m.plan(":"), Choices{})
		m.stopped(r, err, Announce, "does not answer", "--gate-down")
		p := m.plan(":")
		p.Health = 20 * time.Second
		up := time.AfterFunc(time.Second, func() { m.mu.Lock(); defer m.mu.Unlock(); m.down = false })
		defer up.Stop()
		j := m.open("other.ndjson")
		w, err := Start(j, m, "b", p, Choices{GateDown: true}, ignore)
		if err != nil {
			t.Fatal(err)
		}
		w.retryFor = m.retryFor
		r, err = w.Run(t.Context())
		m.succeeded(r, err, 1)
		if got := states(r)[:3]; !slices.Equal(got, []string{"announce skipped", "read_only skipped",
			"drain skipped"}) {
			t.Errorf("steps %v", got)
		}
	})
	t.Run("buffer", func(t *testing.T) { // a person works on the database, so workers must not store
		m := newMachine(t)
		m.mode = control.ModeBuffer
		r, err := m.begin(m.plan(":"), Choices{})
		m.stopped(r, err, ReadOnly, "someone works on its database", "maintenance normal")
		if m.mode != control.ModeBuffer || m.runs() != 0 {
			t.Errorf("mode %s, %d runs", m.mode, m.runs())
		}
		m.mode = control.ModeNormal
		r, err = m.resume("journal.ndjson", Choices{})
		m.succeeded(r, err, 1)
	})
	t.Run("drain", func(t *testing.T) {
		m := newMachine(t)
		m.queued = 7
		r, err := m.begin(m.plan(":"), Choices{})
		m.stopped(r, err, Drain, "7 records are still queued after 300ms", "--allow-undrained")
		if m.mode != control.ModeReadOnly || m.runs() != 0 {
			t.Errorf("mode %s, %d runs", m.mode, m.runs())
		}
		m.mode = control.ModeNormal // somebody gave up and then continued
		r, err = m.resume("journal.ndjson", Choices{Undrained: true})
		m.succeeded(r, err, 1)
		if r.Steps[2].State != "skipped" ||
			!slices.ContainsFunc(m.calls, func(c string) bool {
				return strings.HasPrefix(c,
					"record a failed stopped at drain")
			}) {
			t.Errorf("drain %+v; calls %q", r.Steps[2], m.calls)
		}
	})
	t.Run("command", func(t *testing.T) {
		m := newMachine(t)
		r, err := m.begin(m.plan(`[ -e "$0/mended" ] || { echo it is broken; exit 3; }`), Choices{})
		m.stopped(r, err, Command, "exit code 3; it printed put in place\nit is broken",
			"--rerun-command")
		if m.mode != control.ModeReadOnly {
			t.Errorf("mode %s", m.mode)
		}
		r, err = m.resume("journal.ndjson", Choices{})
		m.stopped(r, err, Command, "exit code 3", "--command-done")
		m.write("mended", "")
		r, err = m.resume("journal.ndjson", Choices{Rerun: true})
		m.succeeded(r, err, 2)
	})
	t.Run("command done by hand", func(t *testing.T) {
		m := newMachine(t)
		r, err := m.begin(m.plan("exit 3"), Choices{})
		m.stopped(r, err, Command, "exit code 3", "--command-done")
		m.write("release", "v1")
		r, err = m.resume("journal.ndjson", Choices{CommandDone: true})
		m.succeeded(r, err, 1)
	})
	t.Run("command is not there", func(t *testing.T) {
		m := newMachine(t)
		p := m.plan(":")
		p.Command = []string{"/no/such/program"}
		r, err := m.begin(p, Choices{})
		m.stopped(r, err, Command, "exit code 127", "--rerun-command")
	})
	t.Run("command takes too long", func(t *testing.T) {
		m := newMachine(t)
		p := m.plan("sleep 600")
		p.Run = 300 * time.Millisecond
		r, err := m.begin(p, Choices{})
		m.stopped(r, err, Command, "stopped before it ended", "--rerun-command")
		r, err = m.resume("journal.ndjson", Choices{})
		m.stopped(r, err, Command, "its result is unknown", "--rerun-command")
	})
	t.Run("outcome of the command unknown", func(t *testing.T) {
		// Like after a crash of the machine: the shell that ran the command has left nothing.
		for _, test := range []struct {
			release    string
			idempotent bool
			runs       int // of the command in all; 0: the roll-back must stop
		}{{"v1", false, 1}, {"v2", false, 0}, {"v2", true, 2}} {
			m := newMachine(t)
			p := m.plan(`[ -e "$0/mended" ] || { kill -9 $PPID; exit; }`)
			p.Idempotent = test.idempotent
			r, err := m.begin(p, Choices{})
			m.stopped(r, err, Command, "without an exit code", "--rerun-command")
			m.write("mended", "")
			m.write("release", test.release)
			if r, err = m.resume("journal.ndjson", Choices{}); test.runs == 0 {
				m.stopped(r, err, Command, "its result is unknown", "--command-done")
			} else {
				m.succeeded(r, err, test.runs)
			}
		}
	})
	t.Run("health", func(t *testing.T) {
		m := newMachine(t)
		r, err := m.begin(m.plan("exit 0"), Choices{})
		m.stopped(r, err, Health, "version v1 does not answer after 300ms: version v2 answers",
			"--resume")
		if m.mode != control.ModeReadOnly {
			t.Errorf("mode %s", m.mode)
		}
		m.write("release", "v1")
		r, err = m.resume("journal.ndjson", Choices{})
		m.succeeded(r, err, 1)
	})
	t.Run("health, and the command again", func(t *testing.T) {
		m := newMachine(t)
		r, err := m.begin(m.plan(`[ -e "$0/mended" ] || exit 0`), Choices{})
		m.stopped(r, err, Health, "version v2 answers", "--rerun-command")
		m.write("mended", "")
		r, err = m.resume("journal.ndjson", Choices{Rerun: true})
		m.succeeded(r, err, 2)
	})
	t.Run("record", func(t *testing.T) {
		m := newMachine(t)
		m.fails["record"] = broken
		r, err := m.begin(m.plan(":"), Choices{})
		m.succeeded(r, err, 1)
		if last := r.Steps[len(r.Steps)-1]; last.State != "skipped" ||
			!strings.Contains(last.Note, "no such luck") {
			t.Errorf("record is %+v", last)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		m := newMachine(t)
		m.queued = 7
		ctx, cancel := context.WithCancel(t.Context())
		j := m.open("journal.ndjson")
		p := m.plan(":")
		p.Drain = time.Hour
		w, err := Start(j, m, "a", p, Choices{}, func(s StepReport) {
			if s.Step == Drain {
				cancel()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.Run(ctx)
		m.stopped(r, err, Drain, "interrupted", "--resume")
	})
}

// TestOneAtATime checks that only one process at a time can roll back, and that a stopped
// roll-back must be resumed or abandoned before another one starts.
func TestOneAtATime(t *testing.T) {
	m := newMachine(t)
	m.queued = 1
	r, err := m.begin(m.plan(":"), Choices{})
	m.stopped(r, err, Drain, "1 records", "--resume")
	j := m.open("journal.ndjson")
	if _, err := Open(m.path("journal.ndjson")); err == nil ||
		!strings.Contains(err.Error(), "another roll-back is running") {
		t.Errorf("the journal is opened twice: %v", err)
	}
	var a *Advised
	if _, err := Start(j, m, "b", m.plan(":"), Choices{}, ignore); !errors.As(err, &a) ||
		!strings.Contains(a.Do, "--abandon") {
		t.Errorf("a second one begins: %v", err)
	}
	if r, err := Abandon(t.Context(), j, m); err != nil || r.State != "abandoned" {
		t.Errorf("%v, %+v", err, r)
	}
	m.queued = 0
	w, err := Start(j, m, "b", m.plan(":"), Choices{}, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := w.Run(t.Context()); err != nil || r.State != "done" {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestDamagedJournal checks that a damaged journal is rejected.
func TestDamagedJournal(t *testing.T) {
	m := newMachine(t)
	m.write("journal.ndjson", "{\"id\":\"a\",\"step\":\"plan\"}\nnot json\n{\"id\":")
	if _, err := Open(m.path("journal.ndjson")); err == nil ||
		!strings.Contains(err.Error(), "line 2 cannot be parsed") {
		t.Errorf("error %v", err)
	}
}

// TestDiskFull checks that a partly written line is not the start of the next one.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.write(entry{ID: "a", Step: stepPlan, State: stateStarted}); err != nil {
		t.Fatal(err)
	}
	// For this process a limit on the size of files is a full disk.
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(j.size) + 20,
		Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	err = j.write(entry{ID: "a", Step: Drain, State: stateStarted})
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("a write that does not fit got %v", err)
	}
	if err := j.write(entry{ID: "a", Step: Drain, State: stateFailed}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if j, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if s := j.find("a").steps[Drain]; s == nil || s.state != stateFailed {
		t.Errorf("the step is %+v", s)
	}
}

// TestCommandEnds checks that the processes of a command have ended before its time-out is
// reported. Otherwise they would run beside the next run of the command.
func TestCommandEnds(t *testing.T) {
	m := newMachine(t)
	j := m.open("journal")
	defer j.Close()
	p := m.plan("")
	p.Run = 300 * time.Millisecond
	p.Command = []string{"/bin/sh", "-c",
		`trap "sleep 1; echo late >$0/late; exit" TERM; while :; do sleep 0.05; done`, m.dir}
	w, err := Start(j, m, "a", p, Choices{}, func(StepReport) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Run(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "stopped before it ended") {
		t.Fatalf("the walk got %v", err)
	}
	if m.read("late") != "late" {
		t.Error("the command still goes on")
	}
}

// TestForeignJournal checks that a journal of another user is rejected, because its owner chooses
// the command.
func TestForeignJournal(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("not a line"), 0o600),
		os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a journal that is a link got %v", err)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "not a line" {
		t.Errorf("behind the link there is %q, %v", text, err)
	}
	// /proc/1 belongs to root. A test that runs as root gives a file to another user instead.
	foreign := "/proc/1"
	if os.Geteuid() == 0 {
		foreign = target
		if err := os.Chown(target, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(target); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("a journal of another user got %v", err)
		}
	}
	if err := belongs(os.Stat(foreign)); err == nil ||
		!strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("%s is taken for one's own: %v", foreign, err)
	}
}
