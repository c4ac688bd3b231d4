package e2e

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	embedded "github.com/hookgate/hookgate/gate"
)

// startEmbedded runs a gate in the process of the test, for options that are not settings.
func startEmbedded(t *testing.T, change func(*embedded.Options)) *gate {
	t.Helper()
	logs := &output{}
	o := embedded.DefaultOptions()
	o.Listen, o.DataDir = "127.0.0.1:0", t.TempDir()
	o.Logger = slog.New(slog.NewJSONHandler(logs, nil))
	change(&o)
	running, err := embedded.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, running.Close()); err != nil {
			t.Error(err)
		}
	})
	return &gate{t: t, url: running.Startup().URL, dir: o.DataDir, logs: logs}
}
