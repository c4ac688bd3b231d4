package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOverlays checks that hookgate compiles with each overlay.
func TestOverlays(t *testing.T) {
	t.Chdir("..")
	for _, o := range []overlay{withoutFsync, withoutClaims} {
		file, err := o.write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		pkg := "./" + filepath.Dir(o.path)
		if out, err := exec.Command("go", "build", "-overlay", file, pkg).CombinedOutput(); err != nil {
			t.Errorf("build %s: %v\n%s", pkg, err, out)
		}
	}
}
