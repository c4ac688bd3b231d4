package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/release/rollback"
)

// Variables are additional environment variables, with the paths of their settings. Every other
// setting has the variable that variableOf returns.
var Variables = map[string]string{
	"REDIS_URL":           "redis.url",
	"DB_URL":              "database.url",
	"WORKER_COUNT":        "worker.count",
	"WEBHOOK_BEARER_KEY":  "sources.default.bearer_keys",
	"WEBHOOK_HMAC_SECRET": "sources.default.secrets",
	"ADMIN_TOKEN":         "admin_tokens",
	"EVIDENCE_TOKEN":      "evidence_tokens",
}

const (
	// Prefix begins the names of the environment variables that are settings.
	Prefix = "HOOKGATE_"
	// TokenVariable is the environment variable with the token that a command sends.
	TokenVariable = Prefix + "TOKEN"
)

// noSettings are variables with Prefix that are not settings. Commands use them. A roll-back
// command gets some, and may start a gate.
var noSettings = []string{TokenVariable, rollback.IDVariable, rollback.ReasonVariable,
	rollback.FromVariable}

// readEnvironment returns the settings in the environment by path, and the configuration file that
// it names.
func readEnvironment(environ []string) (settings map[string]any, configFile string, err error) {
	settings = map[string]any{}
	secrets := secretVariables{}
	paths := map[string]string{}
	for _, path := range settingPaths(reflect.TypeFor[Config](), "") {
		paths[variableOf(path)] = path
	}
	for name, path := range Variables {
		paths[name] = path
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		path, known := paths[name]
		switch {
		case value == "" || slices.Contains(noSettings, name):
		case secrets.add(name, value):
		case name == Prefix+"CONFIG":
			configFile = value
		case known:
			settings[path] = value
		case strings.HasPrefix(name, Prefix) && !isServiceLink(name):
			if path := removedVariable(name); path != "" {
				return nil, "", fmt.Errorf("%s (environment variable %s) was removed: %s", path, name,
					removedSettings[path])
			}
			return nil, "", fmt.Errorf("environment variable %s is not a setting: correct its name or"+
				" remove it", name)
		}
	}
	return settings, configFile, secrets.addTo(settings)
}

// variableOf returns the environment variable of a setting.
func variableOf(path string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// removedVariable returns the removed setting that an environment variable sets, or "". If several
// match, it is the one with the longest name.
func removedVariable(name string) (removed string) {
	for path := range removedSettings {
		rest, found := strings.CutPrefix(name, variableOf(path))
		if found && (rest == "" || rest[0] == '_') && len(path) > len(removed) {
			removed = path
		}
	}
	return removed
}

// isServiceLink reports whether a variable is one of those that Kubernetes and Docker set for a
// service called hookgate.
func isServiceLink(name string) bool {
	rest := strings.TrimPrefix(name, Prefix)
	return rest == "PORT" || strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_") ||
		rest == "NAME"
}
