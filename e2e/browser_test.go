package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is the one browser of all tests. It is started by the first that needs it and ended by
// TestMain.
var chromium struct {
	once sync.Once
	ctx  context.Context // of the browser; each tab has one below it
	end  func()
	err  error
}

// startChromium starts the browser that make tools has installed.
func startChromium() (context.Context, error) {
	chromium.once.Do(func() {
		path, err := exec.LookPath("chromium")
		if err != nil {
			chromium.err = fmt.Errorf("no chromium: make tools installs it: %w", err)
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
			chromedp.WindowSize(1440, 900),
			chromedp.Flag("lang", "en-GB"), chromedp.Env("TZ=Europe/Berlin"))
		if os.Getuid() == 0 {
			options = append(options, chromedp.NoSandbox)
		}
		allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, endBrowser := chromedp.NewContext(allocator)
		chromium.ctx = ctx
		chromium.end = func() { chromedp.Cancel(ctx); endBrowser(); endAllocator() }
		chromium.err = chromedp.Do(ctx)
	})
	return chromium.ctx, chromium.err
}

// endChromium ends the browser, if there is one.
func endChromium() {
	if chromium.end != nil {
		chromium.end()
	}
}

// tab is a window of the browser with cookies of its own, on the pages of one gate.
type tab struct {
	t    *testing.T
	g    *gate
	ctx  context.Context
	path string // opened last

	mu       sync.Mutex // guards all below
	problems []string   // what the browser had to complain of
	expected []*regexp.Regexp
}

// newBrowser opens a tab. When the test ends it must have had nothing to complain of: no error on
// the console, no violation of the Content-Security-Policy, no request that failed, but for what
// was expected.
func newBrowser(t *testing.T, g *gate) *tab {
	t.Helper()
	browser, err := startChromium()
	if err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t, g: g, path: "about:blank"}
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(),
		chromedp.WithListener(b.hear))
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // makes the tab, which lives as long as ctx
		t.Fatal(err)
	}
	_, err1 := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	_, err2 := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	_, err3 := chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Errorf("browser: %s", p)
		}
	})
	return b
}

// hear collects what is wrong.
func (b *tab) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning ||
			e.Type == runtime.ConsoleAPICalledTypeAssert {
			text := string(e.Type)
			for _, a := range e.Args {
				text += " " + string(a.Value) + a.Description
			}
			b.complain(text)
		}
	case *runtime.EventExceptionThrown:
		b.complain("exception: " + fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded: // violations of the policy are here
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complain(fmt.Sprintf("%s %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventLoadingFailed:
		if !e.Canceled && e.ErrorText != "net::ERR_ABORTED" {
			b.complain(fmt.Sprintf("request failed: %s %s", e.ErrorText, e.BlockedReason))
		}
	case *page.EventJavascriptDialogOpening:
		b.complain("a dialog opened: " + e.Message)
		// an event must not wait for an action
		go chromedp.Call(b.ctx, page.HandleJavaScriptDialog,
			page.HandleJavaScriptDialogParams{Accept: true})
	}
}

func (b *tab) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pattern := range b.expected {
		if pattern.MatchString(text) {
			return
		}
	}
	b.problems = append(b.problems, b.path+": "+text)
}

// expect lets the browser complain of what matches from here on.
func (b *tab) expect(pattern string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, regexp.MustCompile(pattern))
}

// do does something, and fails the test if it cannot.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	get(b, what, chromedp.Steps(steps...))
}

// get does something and returns what comes of it.
func get[T any](b *tab, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitFor)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	// A page may have renewed the part that was found, before anything was done to it.
	for err != nil && strings.Contains(strings.ToLower(err.Error()), "node with given id") &&
		ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		v, err = chromedp.Run(ctx, action)
	}
	if err != nil {
		text, _ := chromedp.Run(b.ctx,
			chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
		b.t.Fatalf("%s: %v\non the page:\n%.2000s", what, err, text)
	}
	return v
}

// callBrowser makes a call of the browser's protocol.
func callBrowser[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	answer, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return answer
}

// open opens a page of the gate and waits until it is loaded.
func (b *tab) open(path string) {
	b.t.Helper()
	b.mu.Lock()
	b.path = path
	b.mu.Unlock()
	b.do("open "+path, chromedp.Navigate(b.g.at(path)))
}

// signIn opens a page, which asks for a token, and gives it one.
func (b *tab) signIn(token, path string) {
	b.t.Helper()
	b.expect(`network Failed to load resource: the server responded with a status of 401 .*` +
		regexp.QuoteMeta(path))
	b.open(path)
	b.do("sign in", chromedp.SetValue("#token", token), chromedp.Submit("#token"))
	b.await("the visitor is signed in", `document.querySelector("header.bar") != null`)
}

// click clicks on what a selector finds, once it is visible.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.do("click "+selector, chromedp.Click(selector, chromedp.NodeVisible))
}

// fill sets the value of a field, as typing would.
func (b *tab) fill(selector, value string) {
	b.t.Helper()
	b.do("fill in "+selector, chromedp.Clear(selector), chromedp.SendKeys(selector, value))
}

// text returns the text of what a selector finds, as a person sees it.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return get(b, "read "+selector, chromedp.Text(selector, chromedp.NodeReady))
}

// textContent returns the text of what a selector finds, also of what is not visible.
func (b *tab) textContent(selector string) string {
	b.t.Helper()
	return get(b, "read "+selector, chromedp.TextContent(selector, chromedp.NodeReady))
}

// eval evaluates an expression of JavaScript.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return get(b, expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// await waits until an expression of JavaScript is true. While the page changes it cannot be
// evaluated, and that is no error.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	for end := time.Now().Add(waitFor); ; time.Sleep(20 * time.Millisecond) {
		if is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")")); err == nil &&
			is {
			return
		} else if time.Now().After(end) {
			text, _ := chromedp.Run(b.ctx,
				chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
			b.t.Fatalf("not within %v: %s: %v\non the page:\n%.2000s", waitFor, what, err, text)
		}
	}
}

// theme sets what the system's settings say: "light" or "dark".
func (b *tab) theme(name string) {
	b.t.Helper()
	callBrowser(b, emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// phone makes the tab as small as a telephone, desk as large as a screen on a desk.
func (b *tab) phone() {
	b.t.Helper()
	callBrowser(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 844, DeviceScaleFactor: 2,
			Mobile: true})
}

func (b *tab) desk() {
	b.t.Helper()
	callBrowser(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: 1440, Height: 900, DeviceScaleFactor: 1})
}

// axe reads axe-core, which make test installs from npm.
var axe = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile("../.cache/npm/node_modules/axe-core/axe.min.js")
	return string(text), err
})

// check looks at the page that is open, in light and dark and on a telephone: axe-core must find
// nothing, and nothing may be wider than the window. With SCREENSHOTS set to a folder it leaves
// pictures there.
func (b *tab) check(name string) {
	b.t.Helper()
	source, err := axe()
	if err != nil {
		b.t.Fatalf("no axe-core: make test installs it: %v", err)
	}
	eval[any](b, source+"\n;0")
	for _, look := range []struct {
		name, theme string
		phone       bool
	}{{"light", "light", false}, {"dark", "dark", false}, {"phone", "light", true}} {
		b.theme(look.theme)
		if look.phone {
			b.phone()
		} else {
			b.desk()
		}
		b.await("styles are there", `[...document.getAnimations()].every((a) => a.playState !== "running")`)
		type violation struct {
			ID, Help string
			Nodes    []struct {
				HTML           string
				FailureSummary string
			}
		}
		found := eval[[]violation](b,
			`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`)
		for _, v := range found {
			nodes, _ := json.Marshal(v.Nodes)
			b.t.Errorf("%s, %s: %s: %s: %.600s", name, look.name, v.ID, v.Help, nodes)
		}
		if wide := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
			b.t.Errorf("%s, %s: the page is %d pixels wider than the window", name, look.name, wide)
		}
		b.shoot(name + "-" + look.name)
	}
	b.theme("light")
	b.desk()
}

// shoot leaves a picture of the page in the folder SCREENSHOTS, if that is set.
func (b *tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	picture := get(b, "take a picture", chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// cookies returns those of the tab.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	return callBrowser(b, network.GetCookies, network.GetCookiesParams{}).Cookies
}

// holds reports whether the page's source, as the browser has it now, holds a text.
func (b *tab) holds(text string) bool {
	b.t.Helper()
	return strings.Contains(eval[string](b, `document.documentElement.outerHTML`), text)
}
