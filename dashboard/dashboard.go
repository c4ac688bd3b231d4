// Package dashboard serves the pages that show a gate to people, and let them steer it.
//
// The pages are a client of the gate's JSON interface that lives in the same process: what they
// show they get by Visitor.Get, with the role of whoever looks, and what they change their scripts
// change by the calls that everyone makes, so that roles, admin trail and reasons are the same.
// Only what moves (Live) is read from the gate directly.
//
//	adminapi ─► who is it, may he? ─► Dashboard.Page ─► Visitor.Get /api/…, /admin/… ─► template ─► HTML
//	                               Dashboard.Stream ─► Live: one sample a second, encoded once for all
//
// # To add a page
//
// 1. Write templates/NAME.html with {{define "content"}}; it gets what the page's data function
// returns as .Data, and the
//
//	Visitor as .Visitor. Texts come from senders: never template.HTML, no style or script in the page, which the
//	Content-Security-Policy forbids.
//
// 2. Write NAME.go with a function of the type dataFunc, and add a row to pages. A page with Nav is
// in the menu. 3. If it needs a script: assets/NAME.js, a module, named in the row. It imports from
// ./gate.js: call (a JSON call with the
//
//	CSRF header), toast, confirmed, and times are shown in the reader's zone wherever a <time> appears.
//
// 4. In adminapi, add a row to table in routes.go (answer (*Server).page) and one to Matrix, with the
// least role. 5. In e2e/browser_test.go, newBrowser gives a tab, signIn signs it in, and
// its check fails on errors of the console,
//
//	on violations of the policy and on what axe-core finds.
package dashboard

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/control"
)

//go:embed templates
var templateFiles embed.FS

// Page is a row of the table of pages.
type Page struct {
	// Path is a pattern of http.ServeMux.
	Path string
	// Title is that of the window and, with Nav, of the menu.
	Title string
	Nav   bool
	// Role is the least that may see it.
	Role control.Role
	// template is the name of its file without .html; script that of its module, if it has one.
	template, script string
	data             dataFunc
}

// dataFunc gets what a page shows. An error that is an *APIError is shown as it is, with its
// status; any other is logged, and 503.
type dataFunc func(d *Dashboard, r *http.Request, v *Visitor) (any, error)

// pages is the menu in its order, and what is not in it.
var pages = []Page{
	{Path: "/ui/{$}", Title: "Overview", Nav: true, Role: control.RoleViewer, template: "overview",
		script: "overview.js", data: (*Dashboard).overview},
	{Path: "/ui/events", Title: "Events", Nav: true, Role: control.RoleViewer, template: "events",
		script: "events.js", data: (*Dashboard).events},
	{Path: "/ui/events/{id}", Title: "Event", Role: control.RoleViewer, template: "event", script: "event.js",
		data: (*Dashboard).event},
	{Path: "/ui/dead-letters", Title: "Dead letters", Nav: true, Role: control.RoleViewer,
		template: "deadletters", script: "deadletters.js", data: (*Dashboard).deadLetters},
	{Path: "/ui/dead-letters/{id}", Title: "Dead letter", Role: control.RoleViewer, template: "deadletter",
		script: "deadletters.js", data: (*Dashboard).deadLetter},
	{Path: "/ui/sources", Title: "Sources", Nav: true, Role: control.RoleViewer, template: "sources",
		data: (*Dashboard).sources},
	{Path: "/ui/evidence", Title: "Evidence", Nav: true, Role: control.RoleViewer,
		template: "evidence", data: (*Dashboard).evidence},
	{Path: "/ui/control", Title: "Control", Nav: true, Role: control.RoleOperator,
		template: "control", script: "control.js", data: (*Dashboard).control},
}

// Config of a dashboard.
type Config struct {
	Version string
	// Process names the process that answers.
	Process string
	// Base is the URL that senders reach, without a path; empty if it is the one that pages are read
	// from.
	Base   string
	Live   *Live
	Logger *slog.Logger
}

// Dashboard serves the pages of one gate. All methods may be called concurrently.
type Dashboard struct {
	config    Config
	assets    *assets
	templates map[string]*template.Template
}

// New returns a dashboard. What can be wrong is wrong at build time, so that it panics.
func New(c Config) *Dashboard {
	d := &Dashboard{config: c, assets: loadAssets(),
		templates: map[string]*template.Template{}}
	layout := template.Must(template.New("layout").Funcs(d.functions()).ParseFS(templateFiles,
		"templates/layout.html", "templates/parts.html", "templates/records.html"))
	parse := func(name string) {
		d.templates[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFiles,
			"templates/"+name+".html"))
	}
	parse("problem")
	parse("signin")
	for _, p := range pages {
		parse(p.template)
	}
	return d
}

// view is what a template gets.
type view struct {
	Page    *Page
	Title   string
	Visitor *Visitor // nil: not signed in
	Pages   []Page   // of the menu, that the visitor may see
	Version string
	Process string
	Data    any
}

func (d *Dashboard) view(p *Page, v *Visitor, data any) view {
	w := view{Page: p, Title: p.Title, Visitor: v, Version: d.config.Version,
		Process: d.config.Process, Data: data}
	for i := range pages {
		if v != nil && pages[i].Nav && v.Role.Covers(pages[i].Role) {
			w.Pages = append(w.Pages, pages[i])
		}
	}
	return w
}

// Pages returns the pages, in the order of the menu. Whoever serves them checks Role.
func Pages() []Page { return slices.Clone(pages) }

// Show answers a page, one of Pages, to a visitor whose role covers the page's. The request has the
// wildcards of Page.Path as path values.
func (d *Dashboard) Show(w http.ResponseWriter, r *http.Request, v *Visitor, p Page) {
	data, err := p.data(d, r, v)
	var told *APIError
	switch {
	case err == nil:
		d.render(w, http.StatusOK, p.template, d.view(&p, v, data))
	case errors.As(err, &told):
		d.Problem(w, r, told.Status, told.Told, v)
	default:
		d.config.Logger.Error("page cannot be shown", "page", p.Path, "error", err)
		d.Problem(w, r, http.StatusServiceUnavailable,
			"this page cannot be shown now; the log has the reason", v)
	}
}

// problem is what the page of a problem shows.
type problem struct {
	Status     int
	Name, Told string
}

// Problem answers that something is wrong, to whom it may be; v is nil if that is not known.
func (d *Dashboard) Problem(w http.ResponseWriter, r *http.Request, status int, told string,
	v *Visitor) {
	d.render(w, status, "problem", d.view(&Page{Title: http.StatusText(status)}, v,
		problem{status, http.StatusText(status), told}))
}

// signIn is what the form shows.
type signIn struct {
	// Next is where to go afterwards, Told why the last attempt failed.
	Next, Told string
	// Again says that the browser may have withheld a cookie because another site led here, and tries
	// once more by itself.
	Again bool
}

// SignIn answers the form to sign in, for the page that was asked for. told says why it is shown,
// if there is a reason.
func (d *Dashboard) SignIn(w http.ResponseWriter, r *http.Request, status int, told, next string) {
	// A cookie that is SameSite=Strict does not come along when a link elsewhere leads here. Loaded
	// once more by this page it does.
	again := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site"
	d.render(w, status, "signin", d.view(&Page{Title: "Sign in", script: "signin.js"}, nil,
		signIn{next, told, again}))
}

// policy lets a page use what this gate serves, and nothing of what stands in the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// foreignPolicy is for a page of somebody else: it has a style of its own, runs nothing, reaches
// nothing, and is of no origin.
const foreignPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Foreign answers a page of HTML that somebody else has written.
func Foreign(w http.ResponseWriter, text []byte) {
	h := w.Header()
	secure(h)
	h.Set("Content-Security-Policy", foreignPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	w.Write(text) // the reader may be gone
}

// secure sets the headers of everything that a browser shows.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

func (d *Dashboard) render(w http.ResponseWriter, status int, name string, v view) {
	var page bytes.Buffer // whole before any of it is out, so that what fails is not half a page
	if err := d.templates[name].ExecuteTemplate(&page, "layout.html", v); err != nil {
		panic(fmt.Errorf("template %s: %w", name, err))
	}
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(page.Bytes()) // the reader may be gone
}

// Current reports whether the menu entry is that of the page that is shown, or of one below it.
func (v view) Current(p Page) bool {
	return strings.TrimSuffix(p.Path, "{$}") == strings.TrimSuffix(v.Page.Path, "{$}") ||
		!strings.HasSuffix(p.Path, "{$}") && strings.HasPrefix(v.Page.Path, p.Path+"/")
}

// Link is the address of a page of the menu.
func (p Page) Link() string { return strings.TrimSuffix(p.Path, "{$}") }

// Script is the module of the page.
func (v view) Script() string { return v.Page.script }
