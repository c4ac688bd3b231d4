package api_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"

	"github.com/hookgate/hookgate/api"
)

// described has the types that docs/reference/openapi.yaml describes under the same name or another
// one.
var described = map[string]any{
	"Error": api.ErrorAnswer{}, "Status": api.Status{}, "Health": api.Health{}, "Queue": api.Queue{},
	"Drained": api.Drained{}, "Mode": api.Mode{}, "Event": api.Event{}, "Events": api.Events{},
	"Finding": api.Finding{}, "Trace": api.Trace{}, "Sources": api.Sources{},
	"History": api.History{}, "Refused": api.Refused{},
	"DeadLetter": api.DeadLetter{}, "DeadLetters": api.DeadLetters{},
	"DeadLetterShown": api.DeadLetterDetails{}, "PurgeSelection": api.DeadLetterSelection{},
	"Retried": api.Retried{}, "Purged": api.Purged{}, "RemovedTests": api.RemovedTests{},
	"Audit": api.Audit{}, "Receipt": api.Receipt{}, "Receipts": api.Receipts{},
	"Canary": api.Canary{}, "Rollback": api.Rollback{}, "Release": api.Release{},
	"Action": api.Action{}, "Actions": api.Actions{}, "Approval": api.Approval{},
	"Approvals": api.Approvals{}, "ApprovalRequired": api.ApprovalRequired{}, "Token": api.Token{},
	"NewToken": api.NewToken{}, "Tokens": api.Tokens{},
	"Subscriptions": api.Subscriptions{}, "Subscription": api.Subscription{},
	"PausedSubscription":    api.PausedSubscription{},
	"ForgottenSubscription": api.ForgottenSubscription{}, "Exception": api.Exception{},
	"Exceptions": api.Exceptions{}, "ExceptionSelection": api.ExceptionSelection{},
	"LogEvent": api.LogEvent{}, "PulledEvent": api.PulledEvent{}, "PullRequest": api.PullRequest{},
	"Pulled": api.Pulled{}, "AckRequest": api.AckRequest{}, "NackRequest": api.NackRequest{},
	"ExtendRequest": api.ExtendRequest{}, "Extended": api.Extended{},
	"TemporaryRequest":      api.TemporaryRequest{},
	"TemporarySubscription": api.TemporarySubscription{},
	"Resolved":              api.Resolved{}, "Seek": api.SeekRequest{}, "Sought": api.Sought{},
	"RedeliveryRequest": api.RedeliveryRequest{}, "Redelivery": api.Redelivery{},
	"RedeliveryJob": api.RedeliveryJob{}, "RedeliveryJobs": api.RedeliveryJobs{},
}

// TestTypesAreAsDescribed compares the members of each type with the schema in
// docs/reference/openapi.yaml: their names, and which of them may be missing.
func TestTypesAreAsDescribed(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := yaml.Parser().Unmarshal(text)
	if err != nil {
		t.Fatal(err)
	}
	schemas := document["components"].(map[string]any)["schemas"].(map[string]any)
	for name, value := range described {
		if schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
			continue
		}
		compare(t, name, reflect.TypeOf(value), schemas, schemas[name])
	}
}

// compare reports differences between a type and a schema, and between their members.
func compare(t *testing.T, path string, of reflect.Type, schemas map[string]any, schema any) {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		s, _ = schemas[ref[strings.LastIndex(ref, "/")+1:]].(map[string]any)
	}
	switch of.Kind() {
	case reflect.Pointer:
		compare(t, path, of.Elem(), schemas, s)
		return
	case reflect.Slice:
		if items, ok := s["items"]; ok {
			compare(t, path+"[]", of.Elem(), schemas, items)
		}
		return
	}
	properties, ok := s["properties"].(map[string]any)
	if !ok || of.Kind() != reflect.Struct {
		return
	}
	required := map[string]bool{}
	if all, ok := s["required"].([]any); ok {
		for _, name := range all {
			required[fmt.Sprint(name)] = true
		}
	}
	var names []string
	for _, f := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || f.Anonymous {
			continue
		}
		names = append(names, name)
		if properties[name] == nil {
			t.Errorf("%s has no member %s", path, name)
			continue
		}
		if optional := options != ""; optional == required[name] {
			t.Errorf("%s.%s: it is optional here (%t) and required there (%t)", path, name, optional,
				required[name])
		}
		compare(t, path+"."+name, f.Type, schemas, properties[name])
	}
	for name := range properties {
		if !slices.Contains(names, name) {
			t.Errorf("%s has the member %s, and the type has not", path, name)
		}
	}
}
