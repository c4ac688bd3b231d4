package adminapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// maxAdminBody is the largest body of an admin call, in bytes.
const maxAdminBody = 4 << 10

// body reads the body of an admin call. An error is for the caller.
func (c *call) body() ([]byte, error) { return c.bodyUpTo(maxAdminBody) }

// bodyUpTo is body for calls whose bodies may be larger; most is a multiple of 1024.
func (c *call) bodyUpTo(most int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c, c.request.Body, most))
	if err != nil {
		return nil, fmt.Errorf("the body is larger than %d KiB, or could not be read", most>>10)
	}
	return body, nil
}

// members reads a body that must be a JSON object of strings with these names only. want describes
// it in the error text. If ok is false, the call is answered.
func (c *call) members(want string, names ...string) (members map[string]string, ok bool) {
	body, err := c.body()
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return nil, false
	}
	// A struct would match names in any case.
	err = json.Unmarshal(body, &members)
	for name, value := range members {
		if err != nil || value == "" || !slices.Contains(names, name) {
			members = nil
			break
		}
	}
	if err != nil || len(members) == 0 {
		c.fail(http.StatusBadRequest, "body must be "+want)
		return nil, false
	}
	return members, true
}

func (s *API) showMode(c *call) { c.json(api.Mode{Mode: s.settings.Mode()}) }

// setMode sets the mode. It sets buffer and read_only even if the admin trail cannot be written,
// because the person on call must be able to keep the gate off a broken database. The log and the
// answer then say that the action is not recorded.
func (s *API) setMode(c *call) {
	wanted, ok := c.members(`{"mode":"buffer"}, {"mode":"read_only"} or {"mode":"normal"}`, "mode")
	if !ok {
		return
	}
	mode, err := control.ParseMode(wanted["mode"])
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if mode == control.ModeNormal {
		if !c.begin(string(mode)) {
			return
		}
		if err := s.settings.SetMode(c.request.Context(), mode); err != nil {
			c.failed("setting the mode", err)
		} else if c.end(control.ResultDone) {
			c.json(api.Mode{Mode: mode})
		}
		return
	}
	recordErr := c.record(string(mode), control.ResultBegun)
	if err := s.settings.SetMode(c.request.Context(), mode); err != nil {
		if recordErr == nil {
			c.failed("setting the mode", err)
		} else {
			c.unavailable("setting the mode", err)
		}
		return
	}
	if recordErr == nil {
		recordErr = c.record(string(mode), control.ResultDone)
	}
	answer := api.Mode{Mode: mode}
	if recordErr != nil {
		s.log.Error("the mode is set, but the admin trail could not be written", "mode", mode,
			"request_id",
			c.requestID, "by", c.actor.name,
			"remote", c.request.RemoteAddr, "reason", c.reason, "error", recordErr)
		answer.Recorded = new(bool)
	}
	c.json(answer)
}
