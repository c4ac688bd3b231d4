package load

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keys makes a data directory as a gate makes it.
func keys(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, "keys", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Goal: credentials of the environment are used for every target. The keys of a gate on this
// machine are used for a target on this machine.
func TestFindCredentials(t *testing.T) {
	dir := keys(t, map[string]string{"hmac_secret": "local secret\n", "bearer_key": "local key\n"})
	local := Credentials{HMACSecret: "local secret", BearerKey: "local key"}
	for _, test := range []struct {
		name, target string
		env          map[string]string
		want         Credentials
	}{
		{"local by address", "http://127.0.0.1:8080", nil, local},
		{"local by another address", "http://127.9.9.9", nil, local},
		{"local by name", "http://LOCALHOST:1", nil, local},
		{"local by IPv6", "http://[::1]:8080", nil, local},
		{"environment first", "http://127.0.0.1:8080", map[string]string{"WEBHOOK_BEARER_KEY": "k"},
			Credentials{BearerKey: "k"}},
		{"environment elsewhere", "https://gate.example", map[string]string{"WEBHOOK_HMAC_SECRET": "s"},
			Credentials{HMACSecret: "s"}},
		{"whole", "https://gate.example", map[string]string{"WEBHOOK_HMAC_SECRET": "one, of many"},
			Credentials{HMACSecret: "one, of many"}},
		{"marked", "https://gate.example",
			map[string]string{"WEBHOOK_HMAC_SECRET": "exact:correct-horse,battery-staple"},
			Credentials{HMACSecret: "correct-horse,battery-staple"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := FindCredentials(func(name string) string { return test.env[name] }, test.target, dir)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

// Goal: a variable that earlier versions split into a list is an error; its first part is not used.
func TestListOfCredentials(t *testing.T) {
	list := func(string) string { return "the-new-secret,the-old-secret" }
	if c, err := FindCredentials(list, "https://gate.example", t.TempDir()); err == nil ||
		c.HMACSecret != "" || strings.Contains(err.Error(), "the-") {
		t.Errorf("got %+v, %v", c, err)
	}
}

// Goal: keys of a gate on this machine are never sent to another machine, however its address is
// written.
func TestLocalKeysStayLocal(t *testing.T) {
	dir := keys(t, map[string]string{"hmac_secret": "local secret", "bearer_key": "local key"})
	for _, target := range []string{
		"https://gate.example",
		"http://192.168.0.1:8080",
		"http://0.0.0.0:8080",
		"http://localhost.gate.example",
		"http://127.0.0.1.gate.example",
		"http://127.0.0.1@gate.example",
		"http://localhost:80@gate.example",
		"http://gate.example/127.0.0.1",
		"http://gate.example#@127.0.0.1",
		"http://gate.example?@localhost",
		"http://[::ffff:192.168.0.1]",
		"http://2130706433",
		"http://127.0.0.1%00.gate.example",
		"//gate.example",
		"gate.example:8080",
		"localhost",
		"",
		"http://[",
	} {
		got, err := FindCredentials(func(string) string { return "" }, target, dir)
		if !errors.Is(err, ErrNoCredentials) || got != (Credentials{}) {
			t.Errorf("target %q: got %+v, %v", target, got, err)
		}
	}
}

// Goal: one key is enough. Without any, the error names the folder. A key that cannot be read does
// not count as missing.
func TestFindCredentialsInDataDir(t *testing.T) {
	none := func(string) string { return "" }
	const target = "http://127.0.0.1:8080"
	got, err := FindCredentials(none, target, keys(t, map[string]string{"bearer_key": "k"}))
	if err != nil || got != (Credentials{BearerKey: "k"}) {
		t.Errorf("one key: %+v, %v", got, err)
	}
	empty := t.TempDir()
	if _, err := FindCredentials(none, target, empty); !errors.Is(err, ErrNoCredentials) ||
		!strings.Contains(err.Error(), empty) {
		t.Errorf("no keys: %v", err)
	}
	unreadable := keys(t, nil)
	if err := os.Mkdir(filepath.Join(unreadable, "keys", "hmac_secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := FindCredentials(none, target, unreadable); err == nil ||
		errors.Is(err, ErrNoCredentials) {
		t.Errorf("unreadable key: %v", err)
	}
}
