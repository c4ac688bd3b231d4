package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLogDurations: a duration in the log has its unit.
func TestLogDurations(t *testing.T) {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{ReplaceAttr: readable})).Info("m", "pause",
		437637884*time.Nanosecond, "n", 3)
	if !strings.Contains(log.String(), `"pause":"437.638ms","n":3`) {
		t.Errorf("got %s", log.String())
	}
}
