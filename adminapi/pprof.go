package adminapi

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"
)

// profile answers /debug/pprof/ with the profiles of net/http/pprof. It does not use that package,
// which adds its handlers to http.DefaultServeMux: a program that embeds the gate may serve that to
// everyone.
func (s *API) profile(c *call) {
	switch name := c.parameter("profile"); name {
	case "":
		c.listProfiles()
	case "cmdline":
		c.plain(http.StatusOK, strings.Join(os.Args, "\x00"))
	case "profile":
		c.recordProfile(30*time.Second, pprof.StartCPUProfile, pprof.StopCPUProfile)
	case "trace":
		c.recordProfile(time.Second, trace.Start, trace.Stop)
	default:
		c.lookUp(name)
	}
}

// listProfiles answers with the names of the profiles.
func (c *call) listProfiles() {
	list := "cmdline\nprofile?seconds=30\ntrace?seconds=1\n"
	for _, p := range pprof.Profiles() {
		list += fmt.Sprintf("%s\t%d\n", p.Name(), p.Count())
	}
	c.plain(http.StatusOK, list)
}

// lookUp answers with the profile of a name, as text if the query has debug.
func (c *call) lookUp(name string) {
	p := pprof.Lookup(name)
	if p == nil {
		c.plain(http.StatusNotFound, "there is no such profile\n")
		return
	}
	query := c.request.URL.Query()
	if gc, _ := strconv.Atoi(query.Get("gc")); name == "heap" && gc > 0 {
		runtime.GC()
	}
	debug, _ := strconv.Atoi(query.Get("debug"))
	c.Header().Set("Content-Type", "application/octet-stream")
	if debug != 0 {
		c.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	p.WriteTo(c, debug) // the client may be gone
}

// recordProfile answers with what is recorded during the seconds of the query, or a usual time. It
// extends the deadline of the answer by that.
func (c *call) recordProfile(usual time.Duration, start func(io.Writer) error,
	stop func()) {
	duration := usual
	if seconds, err := strconv.ParseFloat(c.request.URL.Query().Get("seconds"), 64); err == nil &&
		seconds > 0 {
		duration = time.Duration(seconds * float64(time.Second))
	}
	// An error: the answer keeps its deadline.
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(c.server.config.WriteTimeout +
		duration))
	c.Header().Set("Content-Type", "application/octet-stream")
	if err := start(c); err != nil {
		c.plain(http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	defer stop()
	select {
	case <-time.After(duration):
	case <-c.request.Context().Done():
	}
}

// plain answers with a text.
func (c *call) plain(status int, text string) {
	c.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.WriteHeader(status)
	io.WriteString(c, text) // the client may be gone
}
