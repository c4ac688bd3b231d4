package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDashboard returns one without live numbers.
func newDashboard() *Dashboard {
	return New(Config{Version: "1", Logger: slog.New(slog.DiscardHandler)})
}

// TestVendor: what others have written is here as the registry has it, in the version that the
// README names.
func TestVendor(t *testing.T) {
	readme, err := assetFiles.ReadFile("assets/vendor/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.ReadDir(assetFiles, "assets/vendor")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := assetFiles.ReadFile("assets/vendor/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("\n%x  %s\n", sha256.Sum256(text), f.Name()); f.Name() != "README.md" &&
			!strings.Contains(string(readme), line) {
			t.Errorf("vendor/README.md does not have%s", line)
		}
	}
}

// TestNothingInline: no template and no script of our own has what the policy forbids or what would
// take a text for HTML.
func TestNothingInline(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)<script>|<style|\sstyle=|\son[a-z]+=|javascript:` +
		`|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://[a-z]`)
	look := func(files fs.FS, root string) {
		err := fs.WalkDir(files, root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.Contains(path, "vendor/") ||
				strings.HasSuffix(path, ".svg") {
				return err
			}
			text, err := fs.ReadFile(files, path)
			if found := forbidden.Find(text); found != nil {
				t.Errorf("%s has %q", path, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look(templateFiles, "templates")
	look(assetFiles, "assets")
}

// TestAssets: every asset is given out under its address, for ever, short where the browser takes
// that, and under no other address.
func TestAssets(t *testing.T) {
	d := newDashboard()
	get := func(path string, header ...string) *http.Response {
		r := httptest.NewRequest("GET", path, nil)
		if len(header) > 0 {
			r.Header.Set("Accept-Encoding", header[0])
		}
		w := httptest.NewRecorder()
		d.Asset(w, r)
		return w.Result()
	}
	read := func(r io.Reader) []byte {
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, a := range d.assets.files {
		plain := get(d.assets.url(name))
		if body := read(plain.Body); plain.StatusCode != 200 || !bytes.Equal(body, a.plain) ||
			!strings.Contains(plain.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v, %d bytes", name, plain.StatusCode, plain.Header, len(body))
		}
		short := get(d.assets.url(name), "br, gzip")
		if short.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(short.Body)
			if err != nil || !bytes.Equal(read(unpacked), a.plain) {
				t.Errorf("%s: not the same in gzip (%v)", name, err)
			}
		} else if len(a.plain) > 1000 {
			t.Errorf("%s is %d bytes and not compressed", name, len(a.plain))
		}
	}
	for _, path := range []string{AssetPrefix, AssetPrefix + "gate.css", AssetPrefix + "0000/gate.css",
		AssetPrefix + d.assets.hash + "/../dashboard.go", AssetPrefix + d.assets.hash + "/"} {
		if a := get(path); a.StatusCode != 404 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// TestForeign: a page that somebody else has written can run nothing, reach nothing and is of no
// origin.
func TestForeign(t *testing.T) {
	w := httptest.NewRecorder()
	Foreign(w, []byte("<script>1</script>"))
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "sandbox; default-src 'none'; ") ||
		strings.Contains(policy, "script") || strings.Contains(policy, "allow-") {
		t.Errorf("the policy is %q", policy)
	}
}

// TestHostileText checks that all data in a page stays text.
func TestHostileText(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'{{.}}`
	d := newDashboard()
	text := hostile
	v := &Visitor{Name: hostile, Role: "admin", CSRF: hostile}
	for _, show := range []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, r *http.Request) { d.Problem(w, r, 404, hostile, v) },
		func(w http.ResponseWriter, r *http.Request) { d.SignIn(w, r, 401, hostile, "/ui/?"+hostile) },
		func(w http.ResponseWriter, r *http.Request) {
			one := receipt{api.Receipt{ID: hostile, Application: hostile, Gate: hostile, Key: hostile,
				Verdict: hostile}}
			d.render(w, 200, "evidence", d.view(&Page{Title: hostile}, v, []receipt{one}))
		},
		func(w http.ResponseWriter, r *http.Request) {
			s := api.Source{Name: hostile, Kind: "bearer", Proof: hostile, Path: "/webhooks/x",
				URL: "javascript:alert(3)"}
			d.render(w, 200, "sources", d.view(&Page{Title: "t"}, v,
				sourcesView{Sources: []sourceView{{Source: s, Send: d.sendingTo(r, &s)}}}))
		},
		func(w http.ResponseWriter, r *http.Request) {
			c := controlView{Tokens: []token{{api.Token{Name: hostile, Role: hostile, CreatedBy: hostile}}},
				Approvals: []approval{{Approval: api.Approval{ID: hostile, Action: hostile,
					Target: hostile, Reason: hostile, State: "approved", DecidedBy: &text,
					DecisionReason: &text}}},
				Canary: canaryAnswer{api.Canary{Configured: true, Upstream: hostile, Held: hostile,
					Reason: hostile}}}
			d.render(w, 200, "control", d.view(&Page{Title: "t"}, v, c))
		},
	} {
		w := httptest.NewRecorder()
		show(w, httptest.NewRequest("GET", "/ui/", nil))
		page := w.Body.String()
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") ||
			strings.Contains(page, `""><`) || !strings.Contains(page, "&lt;script&gt;alert(1)") {
			t.Errorf("a text became something else:\n%s", page)
		}
	}
}

// TestNumbers: numbers as people read them.
func TestNumbers(t *testing.T) {
	half, small, big := 0.5, 1.234, 12345.6
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1234567): "1\u202f234\u202f567",
		count(-1000): "−1\u202f000",
		size(1023):   "1023 B", size(1024): "1 KiB", size(1536): "1.5 KiB", size(5 << 30): "5 GiB",
		rate(0): "0", rate(7): "7", rate(7.25): "7.2", rate(99.96): "100.0", rate(1234.5): "1\u202f235",
		known(nil): "–", known(&half): "0.50", known(&small): "1.23", known(&big): "12\u202f346",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestSendingTo: the command shows a secret where its sender does, and goes where senders go.
func TestSendingTo(t *testing.T) {
	d := newDashboard()
	r := httptest.NewRequest("GET", "http://gate.example:8080/ui/sources", nil)
	for _, c := range []struct {
		source      api.Source
		has, hasNot string
	}{
		{api.Source{Name: "default", Kind: "envelope", Path: "/webhooks",
			Proof: "Authorization: Bearer, or HMAC-SHA256"},
			"curl -i http://gate.example:8080/webhooks \\\n  -H \"Authorization: Bearer $KEY\"",
			"hookgate sources send"},
		{api.Source{Name: "shop", Kind: "api_key", Path: "/webhooks/shop",
			Proof: "the secret in X-Shop"}, `-H "X-Shop: $KEY"`, "hookgate sources send"},
		{api.Source{Name: "b", Kind: "basic", Path: "/webhooks/b", URL: "https://hooks.example/b"},
			`curl -i https://hooks.example/b -u "$KEY" \`, "Authorization"},
		{api.Source{Name: "open", Kind: "none", Path: "/webhooks/open"}, "curl", "$KEY"},
		{api.Source{Name: "github", Kind: "github", Path: "/webhooks/github",
			Proof: "HMAC-SHA256 of {body}"},
			"hookgate sources send --source github --target http://gate.example:8080", "curl"},
		{api.Source{Name: "own", Kind: "hmac", Path: "/webhooks/own",
			URL: "https://hooks.example/elsewhere"}, "--target http://gate.example:8080", "elsewhere"},
		{api.Source{Name: "d", Kind: "discord", Path: "/webhooks/d"}, `--key "$KEY_FILE"`, "curl"},
		{api.Source{Name: "s", Kind: "sns", Path: "/webhooks/s"}, "aws sns publish", "hookgate"},
	} {
		if command := d.sendingTo(r, &c.source).Command; !strings.Contains(command, c.has) ||
			strings.Contains(command, c.hasNot) {
			t.Errorf("%s: %s", c.source.Name, command)
		}
	}
	d.config.Base = "https://public.example"
	if got := d.sendingTo(r, &api.Source{Name: "x", Kind: "none", Path: "/webhooks/x"}).
		URL; got != "https://public.example/webhooks/x" {
		t.Errorf("with a side of their own senders are told %s", got)
	}
}

// servePage answers the page at the request's address, as adminapi does.
func servePage(d *Dashboard, w http.ResponseWriter, r *http.Request, v *Visitor) {
	mux := http.NewServeMux()
	for _, p := range Pages() {
		mux.HandleFunc(p.Path, func(w http.ResponseWriter, r *http.Request) { d.Show(w, r, v, p) })
	}
	mux.ServeHTTP(w, r)
}
