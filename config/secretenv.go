package config

import (
	"fmt"
	"strings"

	"github.com/hookgate/hookgate/internal/secret"
)

// secretSettings are the settings with secrets that have environment variables. A variable holds
// one secret. The variable with _NEXT added to its name holds the second one during a rotation.
var secretSettings = []struct {
	path  string
	names []string // of equivalent variables
}{
	{"sources.default.bearer_keys", []string{"WEBHOOK_BEARER_KEY"}},
	{"sources.default.secrets", []string{"WEBHOOK_HMAC_SECRET"}},
	{"admin_tokens", []string{"ADMIN_TOKEN", Prefix + "ADMIN_TOKENS"}},
	{"evidence_tokens", []string{"EVIDENCE_TOKEN", Prefix + "EVIDENCE_TOKENS"}},
}

// secretVariables are the values of the variables in secretSettings, by name.
type secretVariables map[string]string

// add adds a variable and returns true if it holds a secret.
func (v secretVariables) add(name, value string) bool {
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

// addTo adds the settings of the variables.
func (v secretVariables) addTo(settings map[string]any) error {
	for _, s := range secretSettings {
		var list []string
		from := ""
		for _, name := range s.names {
			value, next := v[name], v[secret.NextOf(name)]
			switch {
			case value == "" && next == "":
				continue
			case value == "":
				return fmt.Errorf("environment variable %s is set and %s is not: put the remaining secret"+
					" into %s",
					secret.NextOf(name), name, name)
			case from != "":
				return fmt.Errorf("environment variables %s and %s set the same: remove one of them", from,
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
