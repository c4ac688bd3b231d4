package adminapi

import "github.com/hookgate/hookgate/api"

// showSources answers the configured sources and their traffic since the start of this process.
func (s *API) showSources(c *call) {
	answer := api.Sources{Since: api.At(s.started), Sources: []api.Source{}}
	for _, source := range s.webhooks.Status() {
		answer.Sources = append(answer.Sources, sourceOf(&source))
	}
	c.json(answer)
}
