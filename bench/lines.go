package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeLines writes an experiment in the format of Go benchmarks, one line for each server and
// round: the other binary to old.txt, this one to new.txt. A line has the figures that matter for a
// comparison of two revisions.
func (f *figures) writeLines(dir, experiment string) error {
	var texts = map[string]*strings.Builder{"old.txt": {}, "new.txt": {}}
	for file, text := range texts {
		text.WriteString("pkg: github.com/hookgate/hookgate\nUnit events/s better=higher\n")
		for _, server := range f.servers(experiment) {
			name, other := strings.CutPrefix(server, otherPrefix)
			if other == (file == "new.txt") {
				continue
			}
			for round := range f.rounds(experiment, server) {
				fmt.Fprintf(text, "BenchmarkGate/%s 1", name)
				for _, column := range []struct{ name, unit string }{
					{"flat out, persisted/s", "events/s"},
					{"flat out, P95 ms", "flat-p95-ms"},
					{"flat out, µs/event, sum", "flat-cpu-µs/event"},
					{"flat out, µs/event, server", "flat-own-cpu-µs/event"},
					{fmt.Sprintf("at %d/s, P50 ms", pacedRate), "paced-p50-ms"},
					{fmt.Sprintf("at %d/s, P95 ms", pacedRate), "paced-p95-ms"},
					{fmt.Sprintf("at %d/s, µs/event, sum", pacedRate), "paced-cpu-µs/event"},
					{"peak memory, MiB", "peak-MiB"},
				} {
					if g := f.find(experiment, server, column.name); g != nil {
						fmt.Fprintf(text, " %.6g %s", g.Rounds[round], column.unit)
					}
				}
				fmt.Fprintln(text)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for file, text := range texts {
		if !strings.Contains(text.String(), "BenchmarkGate") {
			continue // no candidate ran another binary
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
