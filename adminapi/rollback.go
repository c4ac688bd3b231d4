package adminapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// showGuard answers the release triggers of this process, and its last alarms.
func (s *API) showGuard(c *call) { c.json(releaseOf(s.release.Status())) }

// rollbackID is the form of the id that a roll-back chooses for itself.
var rollbackID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

const (
	// maxVersion is the longest version, and maxSummary the longest account of a roll-back, in bytes.
	maxVersion, maxSummary = 100, 400
)

// beginRollback records in the admin trail that a roll-back begins. The command hookgate rollback
// takes the steps, because this process does not survive them.
func (s *API) beginRollback(c *call) {
	members, ok := c.members(`{"id":"…","expectedVersion":"…"}`, "id", "expectedVersion")
	if !ok {
		return
	}
	id, expected := members["id"], members["expectedVersion"]
	if !rollbackID.MatchString(id) {
		c.fail(http.StatusBadRequest, "member id must be 1 to 64 lower-case letters, digits and hyphens")
		return
	}
	if !line(expected, maxVersion) {
		c.fail(http.StatusBadRequest,
			fmt.Sprintf("member expectedVersion must be one line of 1 to %d bytes",
				maxVersion))
		return
	}
	target := id + " to " + expected
	// The answer can be lost, and the command then repeats the call. The target has the id of the
	// roll-back, so the approval that the first call used allows nothing else.
	if _, ok := c.mayContinue(approveRollback, target, true); ok && c.begin(target) &&
		c.end(control.ResultDone+": announced, from "+s.config.Version) {
		c.json(api.Rollback{ID: id, Version: s.config.Version})
	}
}

// endRollback records in the admin trail how a roll-back ended.
func (s *API) endRollback(c *call) {
	id := c.parameter("id")
	members, ok := c.members(`{"result":"done","summary":"…"} or {"result":"failed","summary":"…"}`,
		"result", "summary")
	if !ok {
		return
	}
	result, summary := members["result"], members["summary"]
	switch {
	case !rollbackID.MatchString(id):
		c.fail(http.StatusBadRequest,
			"the id in the path must be 1 to 64 lower-case letters, digits and hyphens")
	case result != control.ResultDone && result != control.ResultFailed:
		c.fail(http.StatusBadRequest, "member result must be done or failed")
	case !line(summary, maxSummary):
		c.fail(http.StatusBadRequest, fmt.Sprintf("member summary must be one line of 1 to %d bytes",
			maxSummary))
	case c.begin(id) && c.end(result+": "+summary):
		c.json(api.Rollback{ID: id, Version: s.config.Version})
	}
}

// line reports whether a text is one line of 1 to most bytes.
func line(text string, most int) bool {
	return text != "" && len(text) <= most && utf8.ValidString(text) &&
		!strings.ContainsFunc(text, unicode.IsControl)
}
