package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/config"
)

// TestMain removes the settings of hookgate from the environment, so that those of the person who
// runs the tests do not change them. Tests that start the program are in e2e.
func TestMain(m *testing.M) {
	for name := range config.Variables {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// writeConfig writes a configuration file and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hookgate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// must ends a test that cannot go on.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dockerfileEnv returns the environment that the image has.
func dockerfileEnv(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/docker/Dockerfile")
	must(t, err)
	final := string(text)[strings.LastIndex(string(text), "\nFROM "):]
	for line := range strings.Lines(strings.ReplaceAll(final, "\\\n", "")) {
		if values, ok := strings.CutPrefix(line, "ENV "); ok {
			all = append(all, strings.Fields(values)...)
		}
	}
	return all
}
