package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hookgate/hookgate/api"
)

// Canary prints the state of the canary.
func Canary(out io.Writer, s *api.Canary) error {
	w := &strings.Builder{}
	writeCanary(w, s)
	_, err := io.WriteString(out, w.String())
	return err
}

func writeCanary(w *strings.Builder, s *api.Canary) {
	if !s.Configured {
		fmt.Fprintln(w, "no canary: the gate takes every webhook (canary.upstream is not set)")
		return
	}
	fmt.Fprintf(w, "%d percent here, everything else to %s\n", s.Percent, s.Upstream)
	if s.At != nil {
		fmt.Fprintf(w, "since %s by %s", TimeOr(s.At, ""), s.By)
		if s.Reason != "" {
			fmt.Fprintf(w, ": %s", s.Reason)
		}
		fmt.Fprintln(w)
	}
	if s.Evidence != "" {
		fmt.Fprintf(w, "on evidence %s\n", s.Evidence)
	}
	if !s.Stored {
		fmt.Fprintln(w, "only in this process: it is not stored for the others yet")
	}
	for i, step := range s.Plan {
		length := "until changed"
		if step.Seconds > 0 {
			length = "for " + seconds(step.Seconds).String()
		}
		fmt.Fprintf(w, "step %d: %3d percent %s", i+1, step.Percent, length)
		if i+1 == s.Step {
			fmt.Fprintf(w, "  <- %v without a fired trigger", seconds(s.WatchedSeconds).Round(time.Second))
			if s.Held != "" {
				fmt.Fprintf(w, "; held: %s", s.Held)
			}
		}
		fmt.Fprintln(w)
	}
	switch {
	case len(s.Verdict.Fired) > 0:
		fmt.Fprintf(w, "release triggers: fired: %s\n", strings.Join(s.Verdict.Fired, ", "))
	case s.Verdict.Unknown != "":
		fmt.Fprintf(w, "release triggers: unknown: %s\n", s.Verdict.Unknown)
	default:
		fmt.Fprintln(w, "release triggers: go")
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
