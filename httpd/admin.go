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

// authorised hands a call on if it carries an admin token.
func (c *call) authorised(next func(*call)) func(*call) {
	return func(c *call) {
		scheme, token, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !c.server.tokens.match(token) {
			c.Header().Set("Www-Authenticate", "Bearer")
			c.fail(http.StatusUnauthorized, "not authorised: this call takes Authorization: Bearer ADMIN_TOKEN")
			return
		}
		next(c)
	}
}

type modeAnswer struct {
	Mode hookgate.Mode `json:"mode"`
}

// maintenance shows the mode, and sets it on POST.
func (s *Server) maintenance(c *call) {
	if c.request.Method != http.MethodPost {
		c.json(modeAnswer{s.mode.Mode()})
		return
	}
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
	before := s.mode.Mode()
	if err := s.mode.SetMode(c.request.Context(), mode); err != nil {
		c.broken("setting the mode", err)
		return
	}
	s.log.Warn("mode set", "request_id", c.requestID, "mode", mode, "before", before, "remote", c.request.RemoteAddr)
	c.json(modeAnswer{mode})
}
