package adminapi

import "net/http/pprof"

// profile answers /debug/pprof/ as net/http/pprof does. A profile over some time gets that much
// more time to be written.
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
