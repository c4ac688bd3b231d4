package httpd

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/hookgate/hookgate"
)

// maxAdminBody is the largest body of an admin call, in bytes.
const maxAdminBody = 4 << 10

// tokens are the digests of the admin tokens, so that a comparison tells neither content nor length.
type tokens [][sha256.Size]byte

func newTokens(all []string) (t tokens) {
	for _, token := range all {
		t = append(t, sha256.Sum256([]byte(token)))
	}
	return t
}

// match compares with every token, whatever comes out.
func (t tokens) match(token string) bool {
	got := sha256.Sum256([]byte(token))
	match := 0
	for i := range t {
		match |= subtle.ConstantTimeCompare(got[:], t[i][:])
	}
	return match == 1
}

// actor is who makes a call.
type actor struct {
	name string // of the token
	role hookgate.Role
}

// authenticate finds out who makes the call and whether its role covers the route's. If not it has answered.
func (c *call) authenticate() bool {
	scheme, token, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !c.server.tokens.match(token) {
		c.Header().Set("Www-Authenticate", "Bearer")
		c.fail(http.StatusUnauthorized, "not authorised: this call takes Authorization: Bearer ADMIN_TOKEN")
		return false
	}
	c.actor = actor{"configured", hookgate.RoleAdmin}
	return true
}

type modeAnswer struct {
	Mode hookgate.Mode `json:"mode"`
}

func (s *Server) showMode(c *call) { c.json(modeAnswer{s.mode.Mode()}) }

func (s *Server) setMode(c *call) {
	body, err := io.ReadAll(http.MaxBytesReader(c, c.request.Body, maxAdminBody))
	if err != nil {
		c.fail(http.StatusBadRequest, "body cannot be read or is larger than 4 KiB")
		return
	}
	var wanted map[string]string // a map, because the names of a struct's members would match in any case
	if err := json.Unmarshal(body, &wanted); err != nil || len(wanted) != 1 || wanted["mode"] == "" {
		c.fail(http.StatusBadRequest, `body is not {"mode":"read_only"} or {"mode":"normal"}`)
		return
	}
	mode, err := hookgate.ParseMode(wanted["mode"])
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if !c.begin(string(mode)) {
		return
	}
	before := s.mode.Mode()
	if err := s.mode.SetMode(c.request.Context(), mode); err != nil {
		if c.end("failed") {
			c.broken("setting the mode", err)
		}
		return
	}
	s.log.Warn("mode set", "request_id", c.requestID, "mode", mode, "before", before, "remote", c.request.RemoteAddr)
	if c.end("done") {
		c.json(modeAnswer{mode})
	}
}

// begin writes into the admin trail that the route's action is about to be done to the target, which is for people to read:
// a mode, an id, a filter. It must come before the effect. If it returns false the action must not be done, and the call is answered.
func (c *call) begin(target string) bool {
	c.server.log.Warn("admin action", "request_id", c.requestID, "action", c.route.Action, "target", target,
		"by", c.actor.name, "remote", c.request.RemoteAddr)
	return true
}

// end writes into the admin trail what came of the action that begin announced. It must come before the answer. If it
// returns false the call is answered.
func (c *call) end(result string) bool {
	c.server.log.Warn("admin action ended", "request_id", c.requestID, "action", c.route.Action, "result", result)
	return true
}
