package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measuredFigures returns two servers in three rounds. The second has one figure more.
func measuredFigures() *figures {
	f := &figures{}
	for _, v := range []float64{10, 30, 20} {
		f.add("e", otherPrefix+"a", "flat out, persisted/s", "events/s", v)
		f.add("e", otherPrefix+"a", "peak memory, MiB", "MiB", 1)
	}
	for _, v := range []float64{20, 30, 60} {
		f.add("e", "a", "flat out, persisted/s", "events/s", v)
		f.add("e", "a", "flat out, P95 ms", "ms", v/10)
		f.add("e", "a", "peak memory, MiB", "MiB", 2)
	}
	f.compare("e", "a", otherPrefix+"a")
	return f
}

// TestFigures checks median and spread, and that a ratio compares values of the same round.
func TestFigures(t *testing.T) {
	g := measuredFigures().find("e", "a", "flat out, persisted/s")
	if g.Median != 30 || g.Min != 20 || g.Max != 60 || g.MAD != 10 || g.spread() != 1 {
		t.Errorf("%+v", g)
	}
	if g.Ratio != 2 || g.Versus != otherPrefix+"a" { // of 2, 1 and 3; the ratio of the medians is 1.5
		t.Errorf("ratio %v to %q, want 2", g.Ratio, g.Versus)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of four is %v", got)
	}
}

// TestTable checks the place of a figure that only one server has, and that a cell shows median,
// ratio and spread.
func TestTable(t *testing.T) {
	var b strings.Builder
	measuredFigures().writeTable(&b, "e")
	want := `|                       | other-a     | a                  |
| --------------------- | ----------- | ------------------ |
| flat out, persisted/s | 20.0 ±50%   | 30.0 (2.00) ±100%  |
| flat out, P95 ms      |             | 3.00 ±100%         |
| peak memory, MiB      | 1.00 ±0%    | 2.00 (2.00) ±0%    |
`
	if got := b.String(); squeeze(got) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for v, want := range map[float64]string{1234567: "1,234,567", 999.4: "999", 12.34: "12.3",
		0.123: "0.12"} {
		if got := number(v); got != want {
			t.Errorf("%v is shown as %s, want %s", v, got, want)
		}
	}
}

// squeeze replaces several spaces or dashes by one.
func squeeze(s string) string {
	for _, double := range []string{"  ", "--"} {
		for strings.Contains(s, double) {
			s = strings.ReplaceAll(s, double, double[:1])
		}
	}
	return s
}

// TestLines checks that old.txt has the figures of the other binary under the name of the server to
// compare with, in the format of benchstat.
func TestLines(t *testing.T) {
	dir := t.TempDir()
	if err := measuredFigures().writeLines(dir, "e"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"old.txt": "BenchmarkGate/a 1 10 events/s 1 peak-MiB\n" +
			"BenchmarkGate/a 1 30 events/s 1 peak-MiB\nBenchmarkGate/a 1 20 events/s 1 peak-MiB\n",
		"new.txt": "BenchmarkGate/a 1 20 events/s 2 flat-p95-ms 2 peak-MiB\n" +
			"BenchmarkGate/a 1 30 events/s 3 flat-p95-ms 2 peak-MiB\n" +
			"BenchmarkGate/a 1 60 events/s 6 flat-p95-ms 2 peak-MiB\n",
	} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(text), want) {
			t.Errorf("%s is\n%s\nwant at its end\n%s", file, text, want)
		}
	}
}

// TestCurve checks that the points of a curve rise, and compares one with the percentile of the
// histogram.
func TestCurve(t *testing.T) {
	d := &document{}
	h := newHistogram()
	for us := int64(1); us <= 100_000; us++ {
		if err := h.RecordValue(us); err != nil {
			t.Fatal(err)
		}
	}
	d.addCurve("e", "a", "flat out", h)
	last := 0.0
	for _, p := range d.Curves[0].Points {
		if p.Milliseconds < last || p.Milliseconds < p.Percentile*0.99 ||
			p.Milliseconds > p.Percentile*1.01+0.01 {
			t.Errorf("P%v is %v ms", p.Percentile, p.Milliseconds)
		}
		last = p.Milliseconds
	}
	if err := d.drawCurves(t.TempDir(), "e"); err != nil {
		t.Fatal(err)
	}
	if text := drawing("flat out", d.Curves); !strings.Contains(text, `class="line c0"`) ||
		!strings.HasSuffix(text, "</svg>\n") {
		t.Errorf("drawn is %s", text)
	}
}
