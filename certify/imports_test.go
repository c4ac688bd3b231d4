package certify

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Goal: what a judge says cannot lean on what the server believes, so it must not share the
// server's code. Of this module it may import the vocabulary, the form of evidence, what draws its
// plots, how people write secrets, and another client. Method: ask the go command for everything
// that the package depends on.
func TestImportsNoServerPackage(t *testing.T) {
	const module = "github.com/hookgate/hookgate"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for path := range strings.FieldsSeq(string(out)) {
		switch {
		case path == module:
			found = true
		case strings.HasPrefix(path, module+"/") &&
			!slices.Contains([]string{"certify", "evidence", "internal/secret", "internal/svgplot", "load"},
				strings.TrimPrefix(path, module+"/")):
			t.Errorf("certify depends on %s", path)
		}
	}
	if !found {
		t.Error("the list of dependencies does not even have the vocabulary: is it the right list?")
	}
}
