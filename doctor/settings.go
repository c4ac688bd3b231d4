package doctor

import (
	"fmt"
	"net"
	"strings"
)

// Settings are those of the process.
type Settings struct {
	Listen string
	// AdminListen is the address of the admin listener; empty if there is none.
	AdminListen string
	// TLS is true if both listeners use TLS.
	TLS            bool
	MaxConnections int
	// Sources are the names of the sources that authenticate their senders, Open the names of those
	// that anyone can send to.
	Sources, Open []string
	// AdminTokens is true if there are admin tokens, or the first start makes one.
	AdminTokens bool
	// KeyError is the reason why the configured keys cannot be used; nil if they can.
	KeyError error
}

// ownFiles is the number of files that a process needs besides its connections: databases, logs,
// connections to services.
const ownFiles = 200

func (s Settings) examineMachine(a area) {
	files, err := openFiles()
	need := uint64(s.MaxConnections + ownFiles)
	seen, want := fmt.Sprint(files), fmt.Sprintf("%d: http.max_connections and %d", need, ownFiles)
	switch {
	case err != nil:
		a.add(Unknown, "open files", err.Error(), want, "")
	case files < need:
		a.add(Warning, "open files", seen, want,
			"raise it (ulimit -n, LimitNOFILE= of systemd), or lower http.max_connections: "+
				"beyond it neither connections nor files can be opened")
	default:
		a.ok("open files", seen)
	}
}

func (s Settings) examineNetwork(a area) {
	public := isPublic(s.Listen)
	switch {
	case public && len(s.Open) > 0:
		a.add(Warning, "listen", s.Listen, "",
			fmt.Sprintf("anyone who reaches the port can send to the sources %s: give them keys, "+
				"or listen on loopback", strings.Join(s.Open, ", ")))
	case public && s.TLS:
		a.ok("listen", s.Listen+", with TLS")
	case public:
		a.add(Advice, "listen", s.Listen, "",
			"set tls.cert_file and tls.key_file, or put a proxy with TLS in front of it: keys "+
				"and bodies are sent unencrypted")
	default:
		a.ok("listen", s.Listen+", loopback")
	}
	switch {
	case s.AdminListen == "" && public:
		a.add(Advice, "admin.listen", "not set", "an address that the internet cannot reach",
			"set it: the admin side, metrics and health are on the public port")
	case s.AdminListen != "" && isPublic(s.AdminListen) && !s.TLS:
		a.add(Advice, "admin.listen", s.AdminListen, "an address that the internet cannot reach",
			"keep it behind a firewall: tokens are sent unencrypted")
	case s.AdminListen != "":
		a.ok("admin.listen", s.AdminListen)
	}
}

// isPublic reports whether an address can be reached from other machines.
func isPublic(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return host != "localhost" && !net.ParseIP(host).IsLoopback()
}

func (s Settings) examineKeys(a area) {
	if s.KeyError != nil {
		a.add(Warning, "keys", s.KeyError.Error(), "", "correct it: serve does not start with it")
		return
	}
	if len(s.Sources) > 0 {
		a.ok("sources", "authenticated: "+strings.Join(s.Sources, ", "))
	}
	if !s.AdminTokens {
		a.add(Advice, "admin token", "none yet", "",
			"nothing: the first start makes one in the data directory; processes that work "+
				"together need the same ADMIN_TOKEN")
	} else {
		a.ok("admin token", "there is one")
	}
}
