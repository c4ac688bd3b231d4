package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/hookgate/hookgate/docs"
)

// openAPISchema is the schema of OpenAPI 3.1 documents from https://spec.openapis.org/oas/3.1. It
// leaves the schemas in a document alone.
const openAPISchema = "testdata/openapi-3.1.json"

// description is docs/reference/openapi.yaml.
type description struct {
	document map[string]any
	compiler *jsonschema.Compiler
}

// describedAt is the URL of the document for the compiler of schemas.
const describedAt = "https://hookgate.example/openapi.json"

// readDescription reads the description. It checks that it is OpenAPI 3.1, that its references lead
// somewhere, and that its schemas are JSON Schema.
func readDescription(t *testing.T) *description {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(docs.OpenAPI)
	must(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	must(t, err)
	d := &description{document: document.(map[string]any), compiler: jsonschema.NewCompiler()}
	d.compiler.AssertFormat()
	must(t, d.compiler.AddResource(describedAt, document))
	schema, err := d.compiler.Compile(openAPISchema)
	must(t, err)
	if err := schema.Validate(document); err != nil {
		t.Errorf("docs/reference/openapi.yaml is no OpenAPI 3.1: %v", err)
	}
	d.check(t, "", document)
	schemas, _ := d.at("/components/schemas")
	for name := range schemas.(map[string]any) {
		if _, err := d.compile("/components/schemas/" + escaped(name)); err != nil {
			t.Error(err)
		}
	}
	return d
}

// check checks the references and schemas under a JSON pointer.
func (d *description) check(t *testing.T, pointer string, value any) {
	t.Helper()
	switch value := value.(type) {
	case []any:
		for n, v := range value {
			d.check(t, fmt.Sprint(pointer, "/", n), v)
		}
	case map[string]any:
		if to, ok := value["$ref"].(string); ok {
			if _, ok := d.at(strings.TrimPrefix(to, "#")); !ok || !strings.HasPrefix(to, "#/") {
				t.Errorf("%s: there is no %s", pointer, to)
			}
		}
		for name, v := range value {
			below := pointer + "/" + escaped(name)
			d.check(t, below, v)
			if name != "schema" || strings.HasPrefix(pointer, "/components/schemas/") {
				continue
			}
			if _, err := d.compile(below); err != nil {
				t.Error(err)
			}
		}
	}
}

// escaped returns a name as a part of a JSON pointer.
func escaped(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// at returns the value at a JSON pointer.
func (d *description) at(pointer string) (value any, ok bool) {
	value = d.document
	for _, part := range strings.Split(pointer, "/")[1:] {
		within, isMap := value.(map[string]any)
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if value, ok = within[part]; !isMap || !ok {
			return nil, false
		}
	}
	return value, true
}

func (d *description) compile(pointer string) (*jsonschema.Schema, error) {
	return d.compiler.Compile(describedAt + "#" + (&url.URL{Fragment: pointer}).EscapedFragment())
}

// part returns the object with a name in the one at pointer, and its own pointer. It follows a
// reference.
func (d *description) part(pointer, name string) (at string, object map[string]any) {
	at = pointer + "/" + escaped(name)
	value, _ := d.at(at)
	object, _ = value.(map[string]any)
	if to, ok := object["$ref"].(string); ok {
		at = strings.TrimPrefix(to, "#")
		value, _ = d.at(at)
		object, _ = value.(map[string]any)
	}
	return at, object
}

// operations calls f for each operation.
func (d *description) operations(f func(method, path string, operation map[string]any)) {
	for path, item := range d.document["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			if o, ok := operation.(map[string]any); ok { // parameters are a list
				f(strings.ToUpper(method), path, o)
			}
		}
	}
}

// operation returns the pointer of the operation that a request calls: of the paths that match, the
// one with the fewest parameters.
func (d *description) operation(r *http.Request) (pointer string, ok bool) {
	got := strings.Split(r.URL.EscapedPath(), "/")
	fewest := len(got) + 1
	d.operations(func(method, path string, _ map[string]any) {
		want := strings.Split(path, "/")
		if method != r.Method || len(want) != len(got) {
			return
		}
		parameters := 0
		for n, part := range want {
			if strings.HasPrefix(part, "{") && got[n] != "" {
				parameters++
			} else if part != got[n] {
				return
			}
		}
		if parameters < fewest {
			fewest, ok = parameters, true
			pointer = "/paths/" + escaped(path) + "/" + strings.ToLower(method)
		}
	})
	return pointer, ok
}

// checkAnswer returns an error if an answer is not as described: its status, headers, media type or
// body.
func (d *description) checkAnswer(r *http.Request, answer *http.Response, body []byte) error {
	operation, ok := d.operation(r)
	if !ok {
		return fmt.Errorf("no such call is described")
	}
	at, response := d.part(operation+"/responses", fmt.Sprint(answer.StatusCode))
	if response == nil {
		return fmt.Errorf("the status %d is not described", answer.StatusCode)
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if err := d.checkHeader(at+"/headers", name, answer.Header); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	content, _ := response["content"].(map[string]any)
	if content == nil {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || content[mediaType] == nil {
		return fmt.Errorf("the media type %q is none of %v: %w", mediaType,
			slices.Collect(maps.Keys(content)), err)
	}
	if !strings.HasSuffix(mediaType, "json") {
		return nil
	}
	schema, err := d.compile(at + "/content/" + escaped(mediaType) + "/schema")
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// checkHeader checks a header, which is a text or a number.
func (d *description) checkHeader(pointer, name string, header http.Header) error {
	at, described := d.part(pointer, name)
	if header.Get(name) == "" {
		if described["required"] == true {
			return os.ErrNotExist
		}
		return nil
	}
	schema, err := d.compile(at + "/schema")
	if err != nil {
		return err
	}
	number := json.Number(header.Get(name))
	if _, err := number.Float64(); err == nil && schema.Validate(number) == nil {
		return nil
	}
	return schema.Validate(header.Get(name))
}
