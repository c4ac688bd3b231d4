package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/release/rollback"
)

// Variables are the environment variables whose names do not follow from the settings, which are
// their values.
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
	// Prefix begins the name of each environment variable that is a setting.
	Prefix = "HOOKGATE_"
	// TokenVariable is the environment variable with the token of whoever runs a command.
	TokenVariable = Prefix + "TOKEN"
)

// noSettings are variables that begin as settings do and are for others: for the commands that ask
// a gate, and for a roll-back command, which may start a gate.
var noSettings = []string{TokenVariable, rollback.IDVariable, rollback.ReasonVariable,
	rollback.FromVariable}

// readEnvironment returns the settings that the environment makes, by path, and the configuration
// file that it names. HOOKGATE_QUEUE_HIGH_WATER sets queue.high_water, and so on for each single
// value.
func readEnvironment(environ []string) (settings map[string]any, configFile string, err error) {
	settings = map[string]any{}
	secrets := secretVariables{}
	paths := map[string]string{}
	for _, path := range settingPaths(reflect.TypeFor[Config](), "") {
		paths[Prefix+strings.ToUpper(strings.ReplaceAll(path, ".", "_"))] = path
	}
	for name, path := range Variables {
		paths[name] = path
	}
	for path, instead := range removedSettings {
		name := Prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
		if slices.ContainsFunc(environ, func(entry string) bool {
			value, set := strings.CutPrefix(entry, name+"=")
			return set && value != ""
		}) {
			return nil, "", fmt.Errorf("%s (environment variable %s) was removed: %s", path, name, instead)
		}
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		path, known := paths[name]
		switch {
		case value == "" || slices.Contains(noSettings, name):
		case secrets.take(name, value):
		case name == Prefix+"CONFIG":
			configFile = value
		case known:
			settings[path] = value
		case strings.HasPrefix(name, Prefix) && !isServiceLink(name):
			return nil, "", fmt.Errorf("environment variable %s is not a setting", name)
		}
	}
	if _, bound := settings["spool.high_water"]; bound { // a map and a text cannot both be spool
		switch settings["spool"] {
		case "on":
			delete(settings, "spool")
		case nil:
		default:
			return nil, "", errors.New("HOOKGATE_SPOOL and HOOKGATE_SPOOL_HIGH_WATER contradict each other")
		}
	}
	return settings, configFile, secrets.add(settings)
}

// isServiceLink reports whether Kubernetes or Docker set the variable for a service called
// hookgate.
func isServiceLink(name string) bool {
	rest := strings.TrimPrefix(name, Prefix)
	return rest == "PORT" || strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_") ||
		rest == "NAME"
}
