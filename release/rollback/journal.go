package rollback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The states of an entry.
const (
	stateStarted   = "started"
	stateRunning   = "running" // the command is about to run as the process of the entry
	stateDone      = "done"
	stateSkipped   = "skipped"
	stateFailed    = "failed"
	stateAbandoned = "abandoned"
)

// stepPlan is the first entry of a roll-back, stepEnd the last.
const stepPlan, stepEnd Step = "plan", "end"

// entry is a line of the journal.
type entry struct {
	ID    string    `json:"id"`
	At    time.Time `json:"at"`
	Step  Step      `json:"step"`
	State string    `json:"state"`
	// Note gives the reason, or details.
	Note string `json:"note,omitempty"`
	// Plan is set with stepPlan.
	Plan *Plan `json:"plan,omitempty"`
	// Process is set with stateRunning.
	Process *process `json:"process,omitempty"`
}

// Journal is a file with the history of all roll-backs. Each line is a JSON object and is on disk
// before the work that follows it. Open removes a torn last line: no work followed it. A lock on
// the file keeps other processes out until this one ends.
type Journal struct {
	file *os.File
	size int64 // of the whole lines
	all  []*history
}

// history is what the journal has about one roll-back.
type history struct {
	id      string
	plan    Plan
	started time.Time
	steps   map[Step]*stepHistory
	ended   bool
	state   string // of stepEnd
	endAt   time.Time
}

// stepHistory is what the journal has about one step.
type stepHistory struct {
	state     string
	note      string
	first, at time.Time // of the first and the last entry
	process   *process  // of the command started last; nil if none was
}

func (s *stepHistory) complete() bool {
	return s != nil && (s.state == stateDone || s.state == stateSkipped)
}

// Open opens a journal and creates it if it is missing. It fails if another process has it open.
// File and folder must belong to the current user, because a user who can write them chooses the
// command.
func Open(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open the journal of roll-backs: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal of roll-backs: %w", err)
	}
	j := &Journal{file: f}
	if err := errors.Join(belongs(os.Stat(filepath.Dir(path))), belongs(f.Stat())); err != nil {
		f.Close()
		return nil, fmt.Errorf("journal of roll-backs %s: %w", path, err)
	}
	if err := j.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("journal of roll-backs %s: %w", path, err)
	}
	return j, nil
}

// belongs returns an error if a file or folder belongs to another user.
func belongs(info os.FileInfo, err error) error {
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could choose the command that this user runs: "+
			"roll back as that user, or use another --journal", info.Name(), s.Uid)
	}
	return nil
}

func (j *Journal) load() error {
	if err := syscall.Flock(int(j.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err,
		syscall.EWOULDBLOCK) {
		return errors.New("another roll-back is running: wait for it, or stop it")
	} else if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	text, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	n := 0
	for line := range bytes.Lines(text[:whole]) {
		n++
		var e entry
		if err := json.Unmarshal(line, &e); err != nil || e.ID == "" {
			return fmt.Errorf("line %d cannot be parsed: move the file away, and check the state of the "+
				"gate by hand", n)
		}
		j.apply(e)
	}
	j.size = int64(whole)
	return errors.Join(j.cut(), syncFolder(j.file.Name()))
}

// cut removes everything after the last whole line.
func (j *Journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// apply adds an entry to the history.
func (j *Journal) apply(e entry) {
	p := j.find(e.ID)
	if p == nil {
		p = &history{id: e.ID, started: e.At, steps: map[Step]*stepHistory{}}
		j.all = append(j.all, p)
	}
	switch e.Step {
	case stepPlan:
		if e.Plan != nil {
			p.plan = *e.Plan
		}
		return
	case stepEnd:
		p.ended, p.state, p.endAt = true, e.State, e.At
		return
	}
	s := p.steps[e.Step]
	if s == nil {
		s = &stepHistory{first: e.At}
		p.steps[e.Step] = s
	}
	s.state, s.note, s.at = e.State, e.Note, e.At
	if e.Process != nil {
		s.process = e.Process
	}
}

// write appends an entry. It returns when the entry is on disk.
func (j *Journal) write(e entry) error {
	e.At = time.Now().UTC()
	text, err := json.Marshal(e)
	if err == nil {
		_, err = j.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil { // remove a part of the line, so that the next entry starts on a new line
		return fmt.Errorf("write the journal: %w",
			errors.Join(err, j.cut()))
	}
	j.size += int64(len(text)) + 1
	j.apply(e)
	return nil
}

// find returns the roll-back with an id, or nil.
func (j *Journal) find(id string) *history {
	for _, p := range j.all {
		if p.id == id {
			return p
		}
	}
	return nil
}

// last returns the roll-back that was started last, or nil.
func (j *Journal) last() *history {
	if len(j.all) == 0 {
		return nil
	}
	return j.all[len(j.all)-1]
}

// Close closes the journal and releases its lock.
func (j *Journal) Close() error { return j.file.Close() }
