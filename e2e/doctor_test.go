package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/doctor"
	"github.com/hookgate/hookgate/internal/redistest"
)

// TestDoctor checks that the exit code says whether something loses data, that the text says what
// to do, and that neither shows a key.
func TestDoctor(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-of-some-length"
	env := []string{"WEBHOOK_HMAC_SECRET=" + secret, "ADMIN_TOKEN=" + secret}
	run := func(more []string, args ...string) (code int, out string) {
		t.Helper()
		code, out, errs := runBinary(t, append(more, env...),
			append([]string{"doctor", "--data-dir", filepath.Join(t.TempDir(), "data")}, args...)...)
		if strings.Contains(out+errs, secret) {
			t.Errorf("the doctor shows a key:\n%s%s", out, errs)
		}
		return code, out
	}
	s := redistest.Start(t, redistest.Options{})
	redis := []string{"REDIS_URL=" + s.URL()}
	if code, out := run(redis); code != exitFail ||
		!strings.Contains(out, "loses data  appendonly: no") ||
		!strings.Contains(out, "→ CONFIG SET appendonly yes") {
		t.Errorf("with a Redis that keeps nothing: exit code %d\n%s", code, out)
	}
	s.MustDo("CONFIG", "SET", "appendonly", "yes")
	code, out := run(redis, "--json", "--rate", "100")
	var report struct {
		Findings []struct{ Area, What, Level, Seen, Do string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Findings) < 10 {
		t.Fatalf("exit code %d, %d findings, error %v:\n%s", code, len(report.Findings), err, out)
	}
	loses := false // a temporary folder may be in memory
	for _, f := range report.Findings {
		if f.Level == doctor.LosesData.String() {
			if loses = true; f.Area == "redis" {
				t.Errorf("of a Redis that is set well is said %+v", f)
			}
		}
	}
	if want := map[bool]int{true: exitFail, false: 0}[loses]; code != want {
		t.Errorf("exit code %d, want %d:\n%s", code, want, out)
	}
	s.Kill()
	if code, out := run(redis); code != exitNoResult && !loses ||
		!strings.Contains(out, "unknown     connection:") {
		t.Errorf("without Redis: exit code %d\n%s", code, out)
	}
	if code, _ := run(nil, "--processes", "0"); code != exitNoResult {
		t.Errorf("no process at all: exit code %d", code)
	}
}
