// Package docs holds the documents that the program gives out itself.
package docs

import _ "embed"

// OpenAPI describes the HTTP interface, in YAML.
//
//go:embed reference/openapi.yaml
var OpenAPI []byte
