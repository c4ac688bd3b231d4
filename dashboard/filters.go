package dashboard

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// filterName is a parameter of a listing and its name on the page.
type filterName struct{ parameter, label string }

// chip is a filter that is set, with the address of the page without it.
type chip struct {
	Label, Value string
	Without      string
	// Time is set if Value is a time.
	Time *time.Time
}

// filters are the filters of a page. They are part of its address, so that a link shows the same to
// everybody.
type filters struct {
	path   string
	values url.Values // without those that choose the page
	Chips  []chip
}

// timeForms are the forms in which a person may write a time. Without a zone it is UTC.
var timeForms = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04",
	"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// readTime reads a time that a person wrote.
func readTime(text string) (at time.Time, ok bool) {
	for _, form := range timeForms {
		if at, err := time.Parse(form, text); err == nil {
			return at.UTC(), true
		}
	}
	return at, false
}

// readFilters reads the filters of a page from its address. It leaves out empty ones. It keeps a
// time that it cannot read, so that the gate rejects it with a reason.
func readFilters(path string, query url.Values, names []filterName) filters {
	f := filters{path: path, values: url.Values{}}
	for _, n := range names {
		value := query.Get(n.parameter)
		if n.parameter == "from" || n.parameter == "to" {
			if at, ok := readTime(strings.TrimSpace(value)); ok {
				value = at.Format(time.RFC3339Nano)
			}
		}
		if value != "" {
			f.values.Set(n.parameter, value)
		}
	}
	for _, n := range names {
		value := f.values.Get(n.parameter)
		if value == "" {
			continue
		}
		c := chip{Label: n.label, Value: value, Without: f.With(n.parameter, "")}
		if at, err := time.Parse(time.RFC3339Nano, value); err == nil && (n.parameter == "from" ||
			n.parameter == "to") {
			c.Time = &at
		}
		f.Chips = append(f.Chips, c)
	}
	return f
}

// Get returns the value of a filter; empty if it is not set.
func (f filters) Get(name string) string { return f.values.Get(name) }

// With returns the address of the first page with filters set, in pairs of name and value. An empty
// value removes a filter.
func (f filters) With(pairs ...string) string {
	values := url.Values{}
	for name, all := range f.values {
		values[name] = slices.Clone(all)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if values.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			values.Del(pairs[i])
		}
	}
	if len(values) == 0 {
		return f.path
	}
	return f.path + "?" + values.Encode()
}

// call returns the path of a call with the filters and more parameters.
func (f filters) call(path string, pairs ...string) string {
	f.path = path
	return f.With(pairs...)
}

// Encoded are the filters as they stand in an address.
func (f filters) Encoded() string { return f.values.Encode() }

// Bare is the address of the page without any filter.
func (f filters) Bare() string { return f.path }
