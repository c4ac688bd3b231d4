package config

import (
	"fmt"
	"strings"

	"github.com/hookgate/hookgate/internal/secret"
)

// secretSettings are the lists of secrets that can be set by environment variables: each variable
// holds one secret, and the one named …_NEXT a second one during a rotation.
var secretSettings = []struct {
	path  string
	names []string // of variables that mean the same
}{
	{"sources.default.bearer_keys", []string{"WEBHOOK_BEARER_KEY"}},
	{"sources.default.secrets", []string{"WEBHOOK_HMAC_SECRET"}},
	{"admin_tokens", []string{"ADMIN_TOKEN", Prefix + "ADMIN_TOKENS"}},
	{"evidence_tokens", []string{"EVIDENCE_TOKEN", Prefix + "EVIDENCE_TOKENS"}},
}

// secretVariables are the values of the variables of secretSettings.
type secretVariables map[string]string

// take keeps the value of a variable that holds a secret.
func (v secretVariables) take(name, value string) bool {
	first := strings.TrimSuffix(name, secret.NextOf(""))
	for _, s := range secretSettings {
		for _, n := range s.names {
			if n == first {
				v[name] = value
				return true
			}
		}
	}
	return false
}

// add makes settings of the variables.
func (v secretVariables) add(settings map[string]any) error {
	for _, s := range secretSettings {
		var list []string
		from := ""
		for _, name := range s.names {
			value, next := v[name], v[secret.NextOf(name)]
			switch {
			case value == "" && next == "":
				continue
			case value == "":
				return fmt.Errorf("environment variable %s is set and %s is not: put the one secret that is left into %s",
					secret.NextOf(name), name, name)
			case from != "":
				return fmt.Errorf("environment variables %s and %s set the same: leave one of them out", from,
					name)
			}
			from = name
			for _, n := range []string{name, secret.NextOf(name)} {
				if v[n] == "" {
					continue
				}
				if err := secret.CheckVariable(n, v[n], s.path); err != nil {
					return fmt.Errorf("environment variable %w", err)
				}
				list = append(list, v[n])
			}
		}
		if list != nil {
			settings[s.path] = list
		}
	}
	return nil
}
