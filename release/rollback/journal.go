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
	stateBegun     = "begun"
	stateRunning   = "running" // the command is about to run, as the process that the entry names
	stateDone      = "done"
	stateSkipped   = "skipped"
	stateFailed    = "failed"
	stateAbandoned = "abandoned"
)

// stepPlan and stepEnd frame the steps of a roll-back.
const stepPlan, stepEnd Step = "plan", "end"

// entry is a line of the journal.
type entry struct {
	ID    string    `json:"id"`
	At    time.Time `json:"at"`
	Step  Step      `json:"step"`
	State string    `json:"state"`
	// Note says why, or what more there is to say.
	Note string `json:"note,omitempty"`
	// Plan is that of stepPlan.
	Plan *Plan `json:"plan,omitempty"`
	// Process is that of stateRunning.
	Process *process `json:"process,omitempty"`
}

// Journal is a file of all roll-backs, a JSON object a line, each on disk before what follows it is
// done. A last line that is torn was never acted upon, and is cut off. Who has it open keeps others
// out, until he ends however he ends.
type Journal struct {
	file  *os.File
	size  int64 // of what is whole
	walks []*past
}

// past is what the journal has of a roll-back.
type past struct {
	id    string
	plan  Plan
	begun time.Time
	steps map[Step]*pastStep
	ended bool
	state string // of stepEnd
	endAt time.Time
}

// pastStep is what the journal has of a step.
type pastStep struct {
	state     string
	note      string
	first, at time.Time // of its first and its last entry
	process   *process  // of the command that was started last; nil if none was
}

func (s *pastStep) made() bool {
	return s != nil && (s.state == stateDone || s.state == stateSkipped)
}

// Open opens a journal, and makes it if there is none. If somebody else walks the error says so.
// File and folder must belong to who walks, since whoever can write them says what is run.
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

// belongs says what is wrong with a file or folder that is another user's.
func belongs(info os.FileInfo, err error) error {
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could have others' commands run by this one: roll back as that user, or name another --journal", info.Name(), s.Uid)
	}
	return nil
}

func (j *Journal) load() error {
	if err := syscall.Flock(int(j.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err,
		syscall.EWOULDBLOCK) {
		return errors.New("another roll-back is under way: wait for it, or end it")
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
			return fmt.Errorf("line %d cannot be read: move the file away, and see by hand where the gate is", n)
		}
		j.take(e)
	}
	j.size = int64(whole)
	return errors.Join(j.cut(), syncFolder(j.file.Name()))
}

// cut removes what is behind the last whole line.
func (j *Journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// syncFolder makes sure that a new file is found after a power cut.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// take takes an entry up.
func (j *Journal) take(e entry) {
	p := j.find(e.ID)
	if p == nil {
		p = &past{id: e.ID, begun: e.At, steps: map[Step]*pastStep{}}
		j.walks = append(j.walks, p)
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
		s = &pastStep{first: e.At}
		p.steps[e.Step] = s
	}
	s.state, s.note, s.at = e.State, e.Note, e.At
	if e.Process != nil {
		s.process = e.Process
	}
}

// write adds an entry, and returns when it is on disk.
func (j *Journal) write(e entry) error {
	e.At = time.Now().UTC()
	text, err := json.Marshal(e)
	if err == nil {
		_, err = j.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil { // part of it may be there, and must not be the beginning of the next line
		return fmt.Errorf("write the journal, without which nothing is done: %w",
			errors.Join(err, j.cut()))
	}
	j.size += int64(len(text)) + 1
	j.take(e)
	return nil
}

// find returns a roll-back, or nil.
func (j *Journal) find(id string) *past {
	for _, p := range j.walks {
		if p.id == id {
			return p
		}
	}
	return nil
}

// last returns the roll-back that began last, or nil.
func (j *Journal) last() *past {
	if len(j.walks) == 0 {
		return nil
	}
	return j.walks[len(j.walks)-1]
}

// Close lets others in.
func (j *Journal) Close() error { return j.file.Close() }
