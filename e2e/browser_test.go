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
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is the browser of all tests. The first test that needs it starts it, and TestMain ends
// it.
var chromium struct {
	once sync.Once
	ctx  context.Context // of the browser; each tab has a child
	end  func()
	err  error
}

// startChromium starts the browser that make tools installed. The headless shell has the same
// engine as the whole browser, and takes about 60 percent of its processor time.
func startChromium() (context.Context, error) {
	chromium.once.Do(func() {
		path, err := exec.LookPath("chromium-headless-shell")
		if err != nil {
			path, err = exec.LookPath("chromium")
		}
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

// endChromium ends the browser if it runs.
func endChromium() {
	if chromium.end != nil {
		chromium.end()
	}
}

// tab is a window of the browser on the pages of one gate, with its own cookies.
type tab struct {
	t    *testing.T
	g    *gate
	ctx  context.Context
	path string // of the page opened last
	// moves reports that the visitor has nothing against things that move.
	moves bool

	mu       sync.Mutex // guards the fields below
	problems []string   // complaints of the browser
	expected []*regexp.Regexp
}

// stay makes the messages of a page stay that otherwise vanish after some seconds, so that a slow
// browser sees them too.
const stay = `{ const real = setTimeout;
	window.setTimeout = (f, ms, ...rest) => ms >= 6000 ? 0 : real(f, ms, ...rest); }`

// newBrowser opens a tab. The test fails if the browser complained by its end: an error on the
// console, a violation of the Content-Security-Policy, or a failed request. expect permits some.
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
	if err := chromedp.Do(ctx); err != nil { // creates the tab, which lives as long as ctx
		t.Fatal(err)
	}
	_, err1 := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	_, err2 := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	_, err3 := chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	_, err4 := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument,
		page.AddScriptToEvaluateOnNewDocumentParams{Source: stay})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	b.theme("light")
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

// hear collects the complaints among the events of the browser.
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
	case *log.EventEntryAdded: // has violations of the policy
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complain(fmt.Sprintf("%s %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventLoadingFailed:
		if !e.Canceled && e.ErrorText != "net::ERR_ABORTED" {
			b.complain(fmt.Sprintf("request failed: %s %s", e.ErrorText, e.BlockedReason))
		}
	case *page.EventJavascriptDialogOpening:
		b.complain("a dialog opened: " + e.Message)
		// The handler of an event must not wait for an action.
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

// expect permits complaints that match the pattern, from now on.
func (b *tab) expect(pattern string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, regexp.MustCompile(pattern))
}

// do runs actions. The test fails if one does.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	get(b, what, chromedp.Steps(steps...))
}

// get runs an action and returns its result.
func get[T any](b *tab, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitFor)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	// The page may have replaced the element between the search and the action.
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

// callBrowser makes a call of the DevTools protocol.
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

// signIn opens a page and signs in on the form that it shows.
func (b *tab) signIn(token, path string) {
	b.t.Helper()
	b.expect(`network Failed to load resource: the server responded with a status of 401 .*` +
		regexp.QuoteMeta(path))
	b.open(path)
	b.do("sign in", chromedp.SetValue("#token", token), chromedp.Submit("#token"))
	b.await("the visitor is signed in", `document.querySelector("header.bar") != null`)
	b.whole()
}

// whole waits until the page has loaded completely: before, its scripts do not listen yet.
func (b *tab) whole() {
	b.t.Helper()
	b.await("the page is whole", `document.readyState == "complete"`)
}

// spot is a place of the window, in CSS pixels.
type spot struct{ X, Y float64 }

// click clicks with the mouse on an element, once the page is whole, the element is enabled and
// nothing covers it. If the page moves the element before the button of the mouse is down, click
// tries again.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.whole()
	mouse := func(kind input.DispatchMouseEventType, at spot) {
		b.t.Helper()
		callBrowser(b, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: at.X,
			Y: at.Y, Button: input.MouseButtonLeft, ClickCount: 1})
	}
	for end := time.Now().Add(waitFor); ; {
		b.await("nothing covers "+selector, fmt.Sprintf(`(() => {
			const e = document.querySelector(%q);
			if (!e || e.disabled) return false;
			e.scrollIntoView({block: "center", behavior: "instant"});
			const r = e.getClientRects()[0];
			if (!r) return false;
			window.clickAt = {X: r.x + r.width / 2, Y: r.y + r.height / 2};
			return e.contains(document.elementFromPoint(clickAt.X, clickAt.Y));
		})()`, selector))
		at := eval[spot](b, `window.clickAt ?? {X: -1, Y: -1}`)
		mouse(input.DispatchMouseEventTypeMousePressed, at)
		if eval[bool](b, fmt.Sprintf(`document.querySelector(%q)?.matches(":active") == true`,
			selector)) {
			mouse(input.DispatchMouseEventTypeMouseReleased, at)
			return
		}
		mouse(input.DispatchMouseEventTypeMouseReleased, spot{}) // clicks on nothing
		if time.Now().After(end) {
			b.t.Fatalf("%s does not stay where it is", selector)
		}
	}
}

// fill replaces the value of a field, as a person does who pastes it.
func (b *tab) fill(selector, value string) {
	b.t.Helper()
	b.whole()
	for end := time.Now().Add(waitFor); ; {
		b.await("there is "+selector, fmt.Sprintf(`(() => {
			const e = document.querySelector(%q);
			if (!e?.checkVisibility() || e.disabled || e.readOnly) return false;
			e.focus();
			e.select();
			return document.activeElement == e;
		})()`, selector))
		callBrowser(b, input.InsertText, input.InsertTextParams{Text: value})
		if eval[bool](b, fmt.Sprintf(`document.querySelector(%q)?.value == %q`, selector, value)) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s does not take %q", selector, value)
		}
	}
}

// text returns the text of an element as a person sees it.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return get(b, "read "+selector, chromedp.Text(selector, chromedp.NodeReady))
}

// textContent returns the text of an element, visible or not.
func (b *tab) textContent(selector string) string {
	b.t.Helper()
	return get(b, "read "+selector, chromedp.TextContent(selector, chromedp.NodeReady))
}

// eval evaluates a JavaScript expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return get(b, expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// await waits until a JavaScript expression is true. An expression that fails while the page loads
// is evaluated again. The page itself looks, when it has changed or some time has passed.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	looks := fmt.Sprintf(`new Promise((done) => {
		const is = () => { try { return !!(%s); } catch { return false; } };
		if (is()) return done(true);
		const look = () => { if (is()) end(true); };
		const changes = new MutationObserver(look);
		const timer = setInterval(look, 200), last = setTimeout(() => end(is()), 5000);
		const end = (found) => {
			changes.disconnect();
			clearInterval(timer);
			clearTimeout(last);
			done(found);
		};
		changes.observe(document,
			{subtree: true, childList: true, attributes: true, characterData: true});
	})`, expression)
	for end := time.Now().Add(waitFor); ; {
		ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](looks, chromedp.EvalAwaitPromise))
		cancel()
		if is && err == nil {
			return
		}
		if time.Now().After(end) {
			text, _ := chromedp.Run(b.ctx,
				chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
			b.t.Fatalf("not within %v: %s: %v\non the page:\n%.2000s", waitFor, what, err, text)
		}
		if err != nil { // another page comes
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// theme sets the color scheme of the system: "light" or "dark". Nothing moves, unless b.moves.
func (b *tab) theme(name string) {
	b.t.Helper()
	motion := "reduce"
	if b.moves {
		motion = "no-preference"
	}
	callBrowser(b, emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: name},
			{Name: "prefers-reduced-motion", Value: motion}}})
}

// phone gives the tab the size of a telephone; desk, that of a desktop screen.
func (b *tab) phone() {
	b.t.Helper()
	callBrowser(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 844,
			DeviceScaleFactor: 2, Mobile: true})
}

func (b *tab) desk() {
	b.t.Helper()
	callBrowser(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: 1440, Height: 900, DeviceScaleFactor: 1})
}

// axe reads the source of axe-core, which make test installs from npm.
var axe = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile("../.cache/npm/node_modules/axe-core/axe.min.js")
	return string(text), err
})

// look is a way to look at a page.
type look struct {
	name, theme string
	phone       bool
	// rules are those of axe-core to apply, in JSON. Each rule is applied in the first look. In dark
	// only colours differ, and on a telephone everything else.
	rules string
}

var looks = []look{
	{"light", "light", false, `{"rules": {"target-size": {"enabled": true}}}`},
	{"dark", "dark", false, `{"runOnly": ["color-contrast", "link-in-text-block"]}`},
	{"phone", "light", true, `{"rules": {"target-size": {"enabled": true},
		"color-contrast": {"enabled": false}, "link-in-text-block": {"enabled": false}}}`},
}

// check tests the open page in light, in dark, and on a telephone. axe-core must find nothing, and
// nothing may be wider than the window. If SCREENSHOTS names a folder, it saves pictures there.
func (b *tab) check(name string) {
	b.t.Helper()
	if !eval[bool](b, `"axe" in window`) {
		source, err := axe()
		if err != nil {
			b.t.Fatalf("no axe-core: make test installs it: %v", err)
		}
		eval[any](b, source+"\n;0")
	}
	for _, look := range looks {
		b.theme(look.theme)
		if look.phone {
			b.phone()
		}
		if b.moves {
			b.await("styles are there", `[...document.getAnimations()].every((a) =>`+
				` a.playState !== "running")`)
		}
		type violation struct {
			ID, Help string
			Nodes    []struct {
				HTML           string
				FailureSummary string
			}
		}
		found := eval[[]violation](b, fmt.Sprintf(`axe.run(document, {resultTypes: ["violations"],`+
			` selectors: false, ...%s}).then((r) => r.violations)`, look.rules))
		for _, v := range found {
			nodes, _ := json.Marshal(v.Nodes)
			b.t.Errorf("%s, %s: %s: %s: %.600s", name, look.name, v.ID, v.Help, nodes)
		}
		if wide := eval[int](b, `document.documentElement.scrollWidth -`+
			` document.documentElement.clientWidth`); wide > 0 {
			b.t.Errorf("%s, %s: the page is %d pixels wider than the window", name, look.name, wide)
		}
		b.shoot(name + "-" + look.name)
	}
	b.theme("light")
	b.desk()
}

// shoot saves a picture of the page in the folder SCREENSHOTS, if that is set.
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

// cookies returns the cookies of the tab.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	return callBrowser(b, network.GetCookies, network.GetCookiesParams{}).Cookies
}

// holds reports whether the current HTML of the page contains a text.
func (b *tab) holds(text string) bool {
	b.t.Helper()
	return strings.Contains(eval[string](b, `document.documentElement.outerHTML`), text)
}
