package adminapi

import "net/http/pprof"

// profile answers /debug/pprof/ as net/http/pprof does, which extends the write deadline for a
// profile over some time.
func (s *API) profile(c *call) {
	switch c.parameter("profile") {
	case "cmdline":
		pprof.Cmdline(c, c.request)
	case "profile":
		pprof.Profile(c, c.request)
	case "symbol":
		pprof.Symbol(c, c.request)
	case "trace":
		pprof.Trace(c, c.request)
	default:
		pprof.Index(c, c.request)
	}
}
