// Package config reads the configuration of a gate: hookgate.yaml, the environment and flags, in
// rising precedence. docs/reference/configuration.md describes every setting; a test compares the
// two.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/secret"
)

// Config is what can be configured: the options of the gate, and what concerns the commands alone.
type Config struct {
	gate.Options `setting:",squash"`

	LogLevel string          `setting:"log_level"`
	Rollback RollbackOptions `setting:"rollback"`

	// Unused are settings that were made although this kind of queue does not use them.
	Unused []string `setting:"-"`
}

// Default returns the configuration of a gate of which nothing is set.
func Default() Config {
	return Config{Options: gate.DefaultOptions(), LogLevel: "info", Rollback: defaultRollback}
}

// redisOnly returns the paths of the settings that have an effect with Redis as the queue alone.
func redisOnly(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("setting"), ",")
		path := prefix + name
		if f.Anonymous {
			paths = append(paths, redisOnly(f.Type, prefix)...)
		} else if f.Tag.Get("only") == gate.QueueRedis {
			paths = append(paths, path)
		} else if f.Type.Kind() == reflect.Struct {
			paths = append(paths, redisOnly(f.Type, path+".")...)
		}
	}
	return paths
}

// Load puts together the defaults, the file, the environment (entries as os.Environ gives
// them) and the flags, each over the one before. An unknown setting is an error that names it.
func Load(environ []string, flags map[string]any) (Config, error) {
	env, configFile, err := readEnvironment(environ)
	if err != nil {
		return Config{}, err
	}
	flags = maps.Clone(flags)
	if f, ok := flags["config"].(string); ok {
		configFile = f
		delete(flags, "config")
	}
	k := koanf.New(".")
	if configFile == "" {
		if _, err := os.Stat("hookgate.yaml"); err == nil {
			configFile = "hookgate.yaml"
		} else if !errors.Is(err, fs.ErrNotExist) {
			return Config{}, fmt.Errorf("read configuration: %w", err)
		}
	}
	if configFile != "" {
		if err := k.Load(file.Provider(configFile), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("read configuration %s: %w", configFile, err)
		}
	}
	for _, settings := range []map[string]any{env, flags} {
		if err := k.Load(confmap.Provider(settings, "."), nil); err != nil {
			return Config{}, err
		}
	}
	c, err := decode(k)
	if err != nil && configFile != "" {
		return c, fmt.Errorf("configuration (%s, environment and flags): %w", configFile, err)
	} else if err != nil {
		return c, fmt.Errorf("configuration (environment and flags): %w", err)
	}
	return c, nil
}

// decode lays the settings over the defaults and checks them.
func decode(k *koanf.Koanf) (Config, error) {
	c := Default()
	for _, path := range slices.Sorted(maps.Keys(removedSettings)) {
		if k.Exists(path) {
			return c, fmt.Errorf("%s was removed: %s", path, removedSettings[path])
		}
	}
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result:           &c,
		TagName:          "setting",
		ErrorUnused:      true,
		WeaklyTypedInput: true, // environment and flags are text
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			wholeSecrets,
			singleTexts,
			strictNumbers,
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.TextUnmarshallerHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
		),
	}})
	if err != nil {
		return c, err
	}
	if c.QueueKind() == gate.QueueDirect {
		for _, path := range redisOnly(reflect.TypeFor[Config](), "") {
			if k.Exists(path) {
				c.Unused = append(c.Unused, path)
			}
		}
	}
	if s, ok := c.Sources[ingest.DefaultSource]; ok && s.Kind == "" {
		s.Kind = "envelope"
		c.Sources[ingest.DefaultSource] = s
	}
	return c, c.check()
}

// singleTexts keeps lists and maps out of settings that are one text, whose value an error of the
// decoder would show.
func singleTexts(from, to reflect.Type, value any) (any, error) {
	if to.Kind() == reflect.String && (from.Kind() == reflect.Slice || from.Kind() == reflect.Map) {
		return nil, errors.New("it takes one text, and no list or map")
	}
	return value, nil
}

// strictNumbers keeps numbers without a unit out of settings that need one: "30" is not 30 seconds.
func strictNumbers(from, to reflect.Type, value any) (any, error) {
	if to == reflect.TypeFor[time.Duration]() && from.Kind() != reflect.String && value != 0 {
		return nil, fmt.Errorf("%v has no unit: write it like 500ms, 30s or 2m", value)
	}
	if to.Kind() == reflect.Bool && from.Kind() != reflect.Bool && value != "true" &&
		value != "false" {
		return nil, fmt.Errorf("%v is neither true nor false", value)
	}
	if from.Kind() == reflect.Bool && to.Kind() != reflect.Bool {
		return nil, fmt.Errorf("%v is not the kind of value that is wanted here", value)
	}
	return value, nil
}

// wholeSecrets takes a text that stands where a list of secrets may stand for one of them. A number
// is no secret: YAML writes 0123 and 1e5 in its own way.
func wholeSecrets(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[gate.Secrets]() {
		return value, nil
	}
	switch v := value.(type) {
	case string:
		if n := secret.OldList(v); n > 0 && !strings.HasPrefix(v, secret.Exact) {
			return nil, fmt.Errorf("holds a comma, where earlier releases cut it into %d secrets: write a list,"+
				" [env:ONE, env:TWO], or put %s before it if it is one secret", n, secret.Exact)
		}
		return []string{v}, nil
	case []any:
		for i, element := range v {
			if _, ok := element.(string); !ok {
				return nil, fmt.Errorf("key %d is not text: put it in quotation marks", i+1)
			}
		}
	case []string:
	default:
		return nil, errors.New("it is neither a text nor a list of texts: put it in quotation marks")
	}
	return value, nil
}

// settingPaths returns the paths of all settings that are a single value or a list.
func settingPaths(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("setting")
		switch {
		case f.Anonymous:
			paths = append(paths, settingPaths(f.Type, prefix)...)
		case !f.IsExported() || f.Tag.Get("setting") == "-":
		case f.Type == reflect.TypeFor[gate.Spool](): // one text
			paths = append(paths, path)
		case f.Type.Kind() == reflect.Struct:
			paths = append(paths, settingPaths(f.Type, path+".")...)
		case f.Type.Kind() != reflect.Map:
			paths = append(paths, path)
		}
	}
	return paths
}

// check finds settings that cannot work, or not together.
func (c Config) check() error {
	if c.Listen == "" {
		return errors.New("listen is empty: set it to an address such as 127.0.0.1:8080")
	}
	if err := c.Rollback.check(); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return fmt.Errorf("log_level %q is not one of debug, info, warn, error", c.LogLevel)
	}
	return c.Options.Check()
}

// OwnURL is the base URL of a gate with this configuration at a listener's address, as its own
// machine reaches it.
func (c Config) OwnURL(address string) string {
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	if host, port, err := net.SplitHostPort(address); err == nil &&
		(host == "" || net.ParseIP(host).IsUnspecified()) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return scheme + "://" + address
}
