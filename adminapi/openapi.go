package adminapi

import (
	"net/http"

	"github.com/hookgate/hookgate/docs"
)

// openAPI answers the description of the HTTP interface.
func (s *API) openAPI(c *call) {
	c.Header().Set("Content-Type", "application/yaml")
	c.Header().Set("X-Content-Type-Options", "nosniff")
	c.WriteHeader(http.StatusOK)
	c.Write(docs.OpenAPI) // the client may be gone
}
