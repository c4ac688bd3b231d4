package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// documentVersion changes when a field of document gets another meaning or is removed.
const documentVersion = 1

// document has all results of a run. -json writes it.
type document struct {
	Version  int       `json:"version"`
	Began    time.Time `json:"began"`
	Took     float64   `json:"tookSeconds"`
	Revision string    `json:"revision"` // git describe of this tree
	Machine  machine   `json:"machine"`
	Settings settings  `json:"settings"`
	// Figures has each figure with the value of every round.
	Figures []*figure `json:"figures"`
	// Curves has the latencies, of all rounds.
	Curves   []*curve  `json:"curves"`
	Verdicts []verdict `json:"verdicts"`

	figures figures
}

// machine is the information about the machine that a reader of the figures needs.
type machine struct {
	Processors int    `json:"processors"`
	Model      string `json:"model"`
	MemoryMiB  int64  `json:"memoryMiB"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"` // of the temporary folder, which has all data
	Go         string `json:"go"`
	Redis      string `json:"redis"`
	PostgreSQL string `json:"postgresql"`
	// Load is the load average of the minute before the run, which shows other work of the machine.
	Load string `json:"loadBefore"`
}

func newDocument(s settings) *document {
	return &document{
		Version: documentVersion, Began: time.Now(), Revision: output("git", "describe", "--always",
			"--dirty"), Machine: thisMachine(), Settings: s,
	}
}

func thisMachine() machine {
	m := machine{
		Processors: runtime.NumCPU(), Go: runtime.Version(), Kernel: output("uname", "-sr"),
		Redis: output("redis-server", "--version"),
		Filesystem: output("findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target",
			os.TempDir()),
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name")
		m.Model, _, _ = strings.Cut(strings.TrimLeft(rest, "\t: "), "\n")
	}
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err == nil {
		m.MemoryMiB = int64(info.Totalram) * int64(info.Unit) >> 20
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	if found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); err == nil &&
		len(found) > 0 {
		m.PostgreSQL = output(found[len(found)-1], "--version")
	}
	return m
}

// output returns the output of a command, or nothing if the command fails: missing information is
// no reason to stop.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// write writes the document to a file, completely or not at all.
func (d *document) write(path string) error {
	d.Figures = d.figures.all
	d.Took = time.Since(d.Began).Seconds()
	text, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
