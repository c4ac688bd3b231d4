package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mutation is the environment variable with the name of the mutant that is switched on.
const mutation = "HOOKGATE_MUTATION"

const (
	// most is the number of schedules that a mutant may survive.
	most = 1500
	// huntFor only ends what hangs.
	huntFor = 10 * time.Minute
)

// TestMutations breaks the code, and the simulation must notice. Method: one build has all mutants.
// It runs once for each, and must fail with the guarantee that the mutant breaks. Without a mutant
// it must pass.
func TestMutations(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "mutants.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay(t),
		"-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the mutants: %v\n%s", err, out)
	}
	if guarantee, n, out := hunt(t, binary, "", 20); guarantee != "" {
		t.Fatalf("without a mutant, schedule %d fails: %s\n%s", n, guarantee, out)
	}
	table := fmt.Sprintf("%-42s %-36s %s", "mutant", "guarantee that it breaks", "found in schedule")
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			guarantee, n, out := hunt(t, binary, m.name, most)
			table += fmt.Sprintf("\n%-42s %-36s %d", m.name, guarantee, n)
			switch {
			case guarantee == "":
				t.Errorf("the simulation does not notice it in %d schedules\n%s", n, out)
			case !slices.Contains(strings.Split(m.guarantee, "|"), guarantee):
				t.Errorf("schedule %d breaks %q, want %q", n, guarantee, m.guarantee)
			}
		})
	}
	t.Log("\n" + table)
}

// result is the message of TestSchedules about a failure.
var result = regexp.MustCompile(`seed \d+, after (\d+) schedules: ([^:]+): `)

// hunt runs schedules with a mutant until one fails. It returns the guarantee that was broken;
// empty: none.
func hunt(t *testing.T, binary, mutant string, schedules int) (guarantee string, n int,
	out []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), huntFor)
	defer cancel()
	run := exec.CommandContext(ctx, binary, "-test.run", "^TestSchedules$", "-seeds",
		fmt.Sprint(schedules))
	run.Env = append(os.Environ(), mutation+"="+mutant)
	out, err := run.CombinedOutput()
	if err == nil {
		return "", schedules, out
	}
	var exit *exec.ExitError
	found := result.FindSubmatch(out)
	if !errors.As(err, &exit) || found == nil {
		t.Errorf("%s: %v\n%s", mutant, err, out[max(0, len(out)-4000):])
		return "", 0, out
	}
	_, _ = fmt.Sscan(string(found[1]), &n)
	return string(found[2]), n, out
}

// overlay writes the files with the mutants and returns the name of the list of them, for the flag
// -overlay of go build.
func overlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	replaced := map[string]string{}
	add := func(name string, text []byte) {
		file := filepath.Join(dir, fmt.Sprint(len(replaced), ".go"))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		replaced[filepath.Join(root, name)] = file
	}
	texts, folders := map[string][]byte{}, map[string]bool{}
	for _, m := range mutants {
		text := texts[m.file]
		if text == nil {
			if text, err = os.ReadFile(filepath.Join(root, m.file)); err != nil {
				t.Fatal(err)
			}
		}
		if n := bytes.Count(text, []byte(m.old)); n != 1 {
			t.Fatalf("%s occurs %d times in %s: change the mutant %q", m.old, n, m.file, m.name)
		}
		texts[m.file] = bytes.Replace(text, []byte(m.old), []byte(m.new), 1)
		folders[filepath.Dir(m.file)] = true
	}
	for name, text := range texts {
		add(name, text)
	}
	for folder := range folders {
		file := "mutated.go"
		if folder == "simulation" {
			file = "mutated_test.go"
		}
		add(filepath.Join(folder, file), fmt.Appendf(nil, `package %s

import "os"

var mutantOn = os.Getenv(%q)

func mutated(name string) bool { return mutantOn == name }
`, filepath.Base(folder), mutation))
	}
	list, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
