package gate

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/datadir"
)

// TestRollBackCooldown checks that the gate does not start a roll-back soon after another one, and
// that a wrong clock does not prevent it for long.
func TestRollBackCooldown(t *testing.T) {
	t.Parallel()
	l := &launcher{command: []string{"true"}, cooldown: time.Hour, dir: datadir.Dir(t.TempDir())}
	for _, test := range []struct {
		ago  time.Duration
		says string
	}{
		{59 * time.Minute, "at the earliest"}, {-time.Minute, "at the earliest"},
		{61 * time.Minute, ""}, {-365 * 24 * time.Hour, ""}, {0, "at the earliest"},
	} {
		if test.ago != 0 { // else the one before counts
			stamp := time.Now().Add(-test.ago).UTC().Format(time.RFC3339Nano)
			if err := os.WriteFile(l.dir.RollbackStamp(), []byte(stamp+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error, 1)
		_, err := l.start(hookgate.NewRequestID(time.Now()), "test", func(err error) { ended <- err })
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v after the last one: %v", test.ago, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%v after the last one: %v", test.ago, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
