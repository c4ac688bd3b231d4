package load

import (
	"os/exec"
	"strings"
	"testing"
)

// Goal: what load reports cannot lean on what the server believes, so it must not share the
// server's code. Of this module it may import the vocabulary, and how people write secrets. Method:
// ask the go command for everything that the package depends on.
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
		case strings.HasPrefix(path, module+"/") && path != module+"/load" && path != module+
			"/internal/secret":
			t.Errorf("load depends on %s", path)
		}
	}
	if !found {
		t.Error("the list of dependencies does not even have the vocabulary: is it the right list?")
	}
}
