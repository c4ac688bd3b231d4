// Package dashboard serves the pages on which people see and steer a gate.
//
// The pages are a client of the gate's JSON interface in the same process. They read through
// Visitor.Get with the role of the visitor, and their scripts make the same calls as any other
// client. So roles, admin trail and reasons work the same everywhere. Only the live numbers (Live)
// are read from the gate directly.
//
//	adminapi ─► caller, role ─► Dashboard.Show ─► Visitor.Get /api/…, /admin/… ─► template ─► HTML
//	                            Dashboard.Stream ─► Live: one sample a second, encoded once for all
//
// # To add a page
//
//  1. Write templates/NAME.html with {{define "content"}}. It gets the result of the page's data
//     function as .Data, and the Visitor as .Visitor. Texts come from senders: never use
//     template.HTML. The Content-Security-Policy forbids styles and scripts in the page.
//  2. Write NAME.go with a function of the type dataFunc, and add a row to pages. A page with Nav
//     is in the menu. Package adminapi serves every row and checks its role.
//  3. For a script, add assets/NAME.js, a module, and name it in the row. Import from ./gate.js:
//     call makes a JSON call with the CSRF header, toast shows a message, confirmed asks. Scripts
//     show every <time> in the reader's zone.
//  4. Add a row to Matrix in package adminapi.
//  5. Test it in e2e/browser_test.go: newBrowser opens a tab, and signIn signs in. check fails on
//     errors of the console, on violations of the policy, and on the findings of axe-core.
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
	// Title is the title of the window and, with Nav, of the menu entry.
	Title string
	Nav   bool
	// Role is the least role that may see the page.
	Role control.Role
	// template is the name of its file without .html, script the name of its module; may be empty.
	template, script string
	data             dataFunc
}

// dataFunc returns the data that a page shows. The page shows an error that is an *APIError, with
// its status. Any other error is logged, and the answer is 503.
type dataFunc func(d *Dashboard, r *http.Request, v *Visitor) (any, error)

// pages is the menu in its order, and the pages that are not in it.
var pages = []Page{
	{Path: "/ui/{$}", Title: "Overview", Nav: true, Role: control.RoleViewer, template: "overview",
		script: "overview.js", data: (*Dashboard).overview},
	{Path: "/ui/events", Title: "Events", Nav: true, Role: control.RoleViewer, template: "events",
		script: "events.js", data: (*Dashboard).events},
	{Path: "/ui/events/{id}", Title: "Event", Role: control.RoleViewer, template: "event",
		script: "event.js",
		data:   (*Dashboard).event},
	{Path: "/ui/deliveries", Title: "Deliveries", Nav: true, Role: control.RoleViewer,
		template: "deliveries", script: "deliveries.js", data: (*Dashboard).deliveries},
	{Path: "/ui/deliveries/{name}", Title: "Subscription", Role: control.RoleViewer,
		template: "subscription", script: "delivery.js", data: (*Dashboard).subscription},
	{Path: "/ui/dead-letters", Title: "Dead letters", Nav: true, Role: control.RoleViewer,
		template: "deadletters", script: "deadletters.js", data: (*Dashboard).deadLetters},
	{Path: "/ui/dead-letters/{id}", Title: "Dead letter", Role: control.RoleViewer,
		template: "deadletter",
		script:   "deadletters.js", data: (*Dashboard).deadLetter},
	{Path: "/ui/sources", Title: "Sources", Nav: true, Role: control.RoleViewer, template: "sources",
		data: (*Dashboard).sources},
	{Path: "/ui/refused", Title: "Refused", Nav: true, Role: control.RoleViewer, template: "refused",
		data: (*Dashboard).refused},
	{Path: "/ui/guard", Title: "Guard", Nav: true, Role: control.RoleViewer, template: "guard",
		script: "guard.js", data: (*Dashboard).guard},
	{Path: "/ui/evidence", Title: "Evidence", Nav: true, Role: control.RoleViewer,
		template: "evidence", data: (*Dashboard).evidence},
	{Path: "/ui/control", Title: "Control", Nav: true, Role: control.RoleOperator,
		template: "control", script: "control.js", data: (*Dashboard).control},
	{Path: "/ui/admin-trail", Title: "Admin trail", Role: control.RoleViewer, template: "admintrail",
		script: "records.js", data: (*Dashboard).adminTrail},
}

// Config of a dashboard.
type Config struct {
	Version string
	// Process is the name of this process.
	Process string
	// Base is the URL that senders reach, without a path; empty if it is the URL of the pages.
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

// New returns a dashboard. It panics on an error, because only a bug in a template can cause one.
func New(c Config) *Dashboard {
	d := &Dashboard{config: c, assets: loadAssets(),
		templates: map[string]*template.Template{}}
	layout := template.Must(template.New("layout").Funcs(d.functions()).ParseFS(templateFiles,
		"templates/layout.html", "templates/parts.html", "templates/records.html",
		"templates/timeline.html"))
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

// view is the data of a template.
type view struct {
	Page    *Page
	Title   string
	Visitor *Visitor // nil: not signed in
	Pages   []Page   // of the menu, as far as the visitor may see them
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

// Pages returns the pages, in the order of the menu. The server of a page must check its Role.
func Pages() []Page { return slices.Clone(pages) }

// Show answers a page of Pages. The visitor's role must cover the page's, and the request must have
// the wildcards of Page.Path as path values.
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
			"this page cannot be shown now; see the log for the reason", v)
	}
}

// problem is the data of an error page.
type problem struct {
	Status     int
	Name, Told string
}

// Problem answers an error page. v is nil if the visitor is unknown.
func (d *Dashboard) Problem(w http.ResponseWriter, r *http.Request, status int, told string,
	v *Visitor) {
	d.render(w, status, "problem", d.view(&Page{Title: http.StatusText(status)}, v,
		problem{status, http.StatusText(status), told}))
}

// signIn is the data of the sign-in form.
type signIn struct {
	// Next is the page to show after signing in, Told the reason why the last attempt failed.
	Next, Told string
	// Again makes the page reload itself once: the browser withholds the cookie if a link of another
	// site led here.
	Again bool
}

// SignIn answers the sign-in form. told is the reason why it is shown; may be empty.
func (d *Dashboard) SignIn(w http.ResponseWriter, r *http.Request, status int, told, next string) {
	// A browser does not send a SameSite=Strict cookie when a link of another site leads here. It
	// does when this page reloads itself.
	again := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site"
	d.render(w, status, "signin", d.view(&Page{Title: "Sign in", script: "signin.js"}, nil,
		signIn{next, told, again}))
}

// policy lets a page use only files that this gate serves, and no style or script within the page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';" +
	" connect-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// foreignPolicy is for a page that somebody else wrote: it has its own style, runs nothing, reaches
// nothing, and has no origin.
const foreignPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;" +
	" frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Foreign answers a page of HTML that somebody else wrote.
func Foreign(w http.ResponseWriter, text []byte) {
	h := w.Header()
	secure(h)
	h.Set("Content-Security-Policy", foreignPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	w.Write(text) // the reader may be gone
}

// secure sets the headers of all answers to a browser.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

func (d *Dashboard) render(w http.ResponseWriter, status int, name string, v view) {
	var page bytes.Buffer // complete before it is sent, so that an error leaves no half page
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

// Current reports whether the menu entry is that of the page shown, or of a page below it.
func (v view) Current(p Page) bool {
	return strings.TrimSuffix(p.Path, "{$}") == strings.TrimSuffix(v.Page.Path, "{$}") ||
		!strings.HasSuffix(p.Path, "{$}") && strings.HasPrefix(v.Page.Path, p.Path+"/")
}

// Link is the address of a page of the menu.
func (p Page) Link() string { return strings.TrimSuffix(p.Path, "{$}") }

// Script is the module of the page.
func (v view) Script() string { return v.Page.script }
