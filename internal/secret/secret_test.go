package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestResolve: a secret is one value, whole, wherever it stands; what looks like a slip of the hand
// is an error that does not show it.
func TestResolve(t *testing.T) {
	const list = "correct-horse,battery-staple"
	pem := "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2Vw\n-----END PUBLIC KEY-----"
	for _, test := range []struct {
		setting, env string // env is what the variable S holds
		want         string
		names        string // in the error
	}{
		{setting: "a,b", want: "a,b"},
		{setting: list, want: list},
		{setting: "env:S", env: "plain", want: "plain"},
		{setting: "${S}", env: "plain", want: "plain"},
		{setting: "pre-${S}-post", env: list, want: "pre-" + list + "-post"},
		{setting: "env:S", env: "short,parts,only", want: "short,parts,only"},
		{setting: "env:S", env: "user:pass word, \"quote\"", want: "user:pass word, \"quote\""},
		{setting: "env:S", env: "${HOME} is part of it", want: "${HOME} is part of it"},
		{setting: "env:S", env: "v1,whsec_AAAA", want: "v1,whsec_AAAA"},
		{setting: "env:S", env: list, names: "exact:env:S"},
		{setting: "${S}", env: list, names: "exact:env:S"},
		{setting: "exact:env:S", env: list, want: list},
		{setting: "exact:${S}", env: list, want: list},
		{setting: "exact:" + list, want: list},
		{setting: "exact:with ${S}", env: "x", want: "with ${S}"},
		{setting: "exact:\"quoted\"", want: `"quoted"`},
		{setting: "exact:env:S", env: " spaced ", want: " spaced "},
		{setting: "env:S", env: "from-echo\n", want: "from-echo"},
		{setting: "env:S", env: "\ufefffrom-windows\r\n", want: "from-windows"},
		{setting: "env:S", env: pem + "\n", want: pem},
		{setting: "env:S", env: strings.ReplaceAll(pem, "\n", "\r\n"), want: strings.ReplaceAll(pem, "\n",
			"\r\n")},
		{setting: "env:S", names: "empty or not set"},
		{setting: "a-${S}", names: "environment variable S"},
		{setting: "env:S", env: "\r\n", names: "is empty"},
		{setting: "", names: "is empty"},
		{setting: "env:S", env: " spaced", names: "white space"},
		{setting: "env:S", env: "spaced\t", names: "white space"},
		{setting: "env:S", env: "spaced \n", names: "white space"},
		{setting: "env:S", env: "no-break\u00a0", names: "white space"},
		{setting: "env:S", env: "zero-width\u200b", names: "white space"},
		{setting: "env:S", env: `"quoted"`, names: "quotation marks"},
		{setting: "env:S", env: "'quoted'", names: "quotation marks"},
		{setting: "env:S", env: "“quoted”", names: "quotation marks"},
		{setting: "env:S", env: "one-of-two\ntwo-of-two", names: "several lines"},
		{setting: "env:S", env: "file:/run/secrets/github", names: "looks like a reference"},
		{setting: "env:S", env: "env:GITHUB_SECRET", names: "looks like a reference"},
		{setting: "${S}", env: "exact:correct horse", names: "looks like a reference"},
		{setting: "env:S", env: "${GITHUB_SECRET}", names: "looks like a reference"},
		{setting: "ENV:GITHUB_SECRET", names: "looks like a reference"},
		{setting: "exact:env:S", env: "file:password", want: "file:password"},
		{setting: "env:S", env: "environment:staging", want: "environment:staging"},
		{setting: "env:S", env: "bell\a.", names: "control character"},
		{setting: "env:S", env: "latin-\xe41", names: "UTF-8"},
	} {
		t.Setenv("S", test.env)
		got, err := Resolve(test.setting)
		switch {
		case test.names == "" && (err != nil || got != test.want):
			t.Errorf("%s with %q: got %q, %v; want %q", test.setting, test.env, got, err, test.want)
		case test.names != "" && (err == nil || !strings.Contains(err.Error(), test.names)):
			t.Errorf("%s with %q: error %v does not name %s", test.setting, test.env, err, test.names)
		case err != nil && len(test.env) > 4 &&
			strings.Contains(err.Error(), strings.TrimSpace(test.env)):
			t.Errorf("error %q shows the secret", err)
		}
	}
}

// TestFile: what editors add to a file is no part of the secret.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DIR", dir)
	for _, test := range []struct{ content, want, names string }{
		{content: "secret, \"whole\"", want: "secret, \"whole\""},
		{content: "one,of-many,parts-each-long", want: "one,of-many,parts-each-long"},
		{content: "correct-horse,battery-staple\n", want: "correct-horse,battery-staple"},
		{content: "secret\n", want: "secret"},
		{content: "secret\r\n", want: "secret"},
		{content: "\ufeffsecret\r\n", want: "secret"},
		{content: "secret \n", names: "white space"},
		{content: "'secret'\n", names: "quotation marks"},
		{content: "secret\nanother\n", names: "several lines"},
		{content: "env:GITHUB_SECRET\n", names: "looks like a reference"},
		{content: "\n", names: "is empty"},
		{content: "", names: "is empty"},
		{content: "\xff\xfes\x00e\x00c\x00", names: "UTF-16"},
		{content: strings.Repeat("x", maxFile+1), names: "right file"},
	} {
		path := filepath.Join(dir, "secret")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, setting := range []string{"file:" + path, "file:${DIR}/secret"} {
			got, err := Resolve(setting)
			switch {
			case test.names == "" && (err != nil || got != test.want):
				t.Errorf("%q: got %q, %v", test.content, got, err)
			case test.names != "" && (err == nil || !strings.Contains(err.Error(), test.names)):
				t.Errorf("%.20q: error %v does not name %s", test.content, err, test.names)
			}
		}
	}
	if _, err := Resolve("file:" + dir); err == nil {
		t.Error("a folder is taken for a secret")
	}
}

// TestFileModes: others may not read a secret, but those in a group of the process may if the
// file's mode says so, and a link may lead to it. The test knows one group that is its own, and as
// root one that is not.
func TestFileModes(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "secret"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("a-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("secret", link); err != nil {
		t.Fatal(err)
	}
	try := func(gid int, mode os.FileMode, want bool) {
		t.Helper()
		if err := os.Chown(path, -1, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, link} {
			if _, err := ReadFile(p); (err == nil) != want {
				t.Errorf("%s with mode %04o and group %d: %v", filepath.Base(p), mode, gid, err)
			}
		}
	}
	own := os.Getegid()
	for _, mode := range []os.FileMode{0o400, 0o600, 0o440, 0o640} {
		try(own, mode, true)
	}
	for _, mode := range []os.FileMode{0o604, 0o644, 0o444, 0o666, 0o602} {
		try(own, mode, false)
	}
	if os.Geteuid() == 0 {
		try(54321, 0o600, true)
		try(54321, 0o640, false)
		try(54321, 0o440, false)
	}
	// systemd shows its access control list, which lets one user in, as the mode of a group.
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.Chmod(dir, 0o550); err != nil {
		t.Fatal(err)
	}
	try(own, 0o444, true)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	try(own, 0o444, false)
}

// FuzzResolve: no text that is refused is shown by its error, and what is accepted is part of what
// was given.
func FuzzResolve(f *testing.F) {
	f.Add("correct-horse,battery-staple")
	f.Add("\ufeff\"quoted\"\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, 0) {
			return // no variable can hold it
		}
		t.Setenv("S", text)
		got, err := Resolve("env:S")
		if err == nil && (got == "" || !strings.Contains(text, got)) {
			t.Errorf("%q makes %q", text, got)
		}
		if len(text) > 30 && err != nil && strings.Contains(err.Error(), text) {
			t.Errorf("error %q shows %q", err, text)
		}
	})
}

// TestRefers: people may see a setting that only names a variable or a file.
func TestRefers(t *testing.T) {
	for setting, want := range map[string]bool{"env:X": true, "file:/x": true, "${X}": true,
		"exact:env:X": true, "": false, "secret": false, "exact:secret": false, "a${X}": false} {
		if Refers(setting) != want {
			t.Errorf("Refers(%q) is %t", setting, !want)
		}
	}
}
