package adminapi

import (
	"net/http"
	"strconv"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/refused"
)

// parseRefused reads the parameters of /api/refused. An error is a badParameter.
func parseRefused(query string) (q refused.Query, err error) {
	err = readParameters(query, func(name, value string) (err error) {
		switch name {
		case "source":
			q.Source = value
		case "reason":
			q.Reason = value
		case "status":
			if q.Status, err = strconv.Atoi(value); err != nil || q.Status < 400 || q.Status > 599 {
				return badParameter{name, "must be a status from 400 to 599"}
			}
		case "limit":
			return parseLimit(&q.Limit, name, value)
		case "after":
			if q.Before, err = hookgate.ParseRequestID(value); err != nil {
				return badParameter{name, "must be a request id"}
			}
		default:
			return unknownParameter(name)
		}
		return nil
	})
	return q, err
}

// listRefused answers the last refused requests, newest first.
func (s *API) listRefused(c *call) {
	q, err := parseRefused(c.request.URL.RawQuery)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	limit, ok := c.pageLimit(q.Limit)
	if !ok {
		return
	}
	q.Limit = limit + 1 // one more tells whether there is a next page
	all, err := s.refused.Refused(c.request.Context(), q)
	if err != nil {
		c.unavailable("reading refused requests", err)
		return
	}
	answer := api.Refused{Refused: []api.RefusedRequest{}}
	if len(all) > limit {
		all = all[:limit]
		answer.Next = all[limit-1].ID.String()
	}
	for i := range all {
		answer.Refused = append(answer.Refused, refusedOf(&all[i]))
	}
	c.json(answer)
}

func refusedOf(r *refused.Request) api.RefusedRequest {
	shown := api.RefusedRequest{
		RequestID: r.ID.String(), At: api.At(r.At), Source: r.Source, Status: r.Status,
		Reason: r.Reason, RemoteAddr: r.Address, Method: r.Method, Path: r.Path,
		Headers: append([]hookgate.Header{}, r.Headers...), Body: r.Body, Skipped: r.Skipped,
	}
	if r.Size >= 0 {
		shown.Size = &r.Size
	}
	return shown
}
