// Package config turns the configuration file, the environment and flags into the options of a
// gate. docs/reference/configuration.md describes every setting; a test compares the two.
//
// A setting is a field of gate.Options or Config with a tag "setting". To add one, add the field,
// its default in gate.DefaultOptions, its check in gate.Options.Check, and its row in the document.
package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
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
	goyaml "go.yaml.in/yaml/v3"

	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/secret"
)

// Config is the options of the gate, and the settings of commands.
type Config struct {
	gate.Options `setting:",squash"`

	// LogLevel is debug, info, warn or error.
	LogLevel string          `setting:"log_level"`
	Rollback RollbackOptions `setting:"rollback"`

	// Unused are settings that are set but have no effect, because Redis is not the queue.
	Unused []string `setting:"-"`
}

// Default returns the configuration if nothing is set.
func Default() Config {
	return Config{Options: gate.DefaultOptions(), LogLevel: "info", Rollback: defaultRollback}
}

// redisOnly returns the paths of the settings that have an effect only if Redis is the queue.
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

// Load returns the configuration. A flag overrides the environment, which overrides the file, which
// overrides the default. environ has the form of os.Environ. The keys of flags are paths of
// settings, and "config" for the file. Without it the file is the one in HOOKGATE_CONFIG, else
// hookgate.yaml if that exists. An error names the setting,
// and an error about subscriptions all wrong settings of all subscriptions.
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
		if err := k.Load(file.Provider(configFile), oneDocument{yaml.Parser()}); err != nil {
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

// oneDocument parses a YAML file. It rejects a second document, which yaml.Parser ignores.
type oneDocument struct{ koanf.Parser }

// Unmarshal implements koanf.Parser.
func (p oneDocument) Unmarshal(b []byte) (map[string]any, error) {
	documents := goyaml.NewDecoder(bytes.NewReader(b))
	for range 2 {
		var document goyaml.Node
		if err := documents.Decode(&document); err != nil {
			return p.Parser.Unmarshal(b) // the end, or an error that the parser describes
		}
	}
	return nil, errors.New("the file has a second YAML document after \"---\": write all settings in one")
}

// decode applies the settings to the defaults and checks the result.
func decode(k *koanf.Koanf) (Config, error) {
	c := Default()
	for _, path := range slices.Sorted(maps.Keys(removedSettings)) {
		if k.Exists(path) {
			return c, fmt.Errorf("%s was removed: %s", path, removedSettings[path])
		}
	}
	mistakes := takeSubscriptions(k, &c)
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
		// A source that could not be decoded is a source all the same.
		for _, name := range k.MapKeys("sources") {
			if _, decoded := c.Sources[name]; !decoded {
				c.Sources[name] = gate.SourceOptions{}
			}
		}
		return c, allOf(append([]error{err}, withoutRepeats(mistakes, c.CheckSubscriptions())...))
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
	mistakes = withoutRepeats(mistakes, c.CheckSubscriptions())
	rest := c
	rest.Subscriptions = nil
	if err := rest.check(); err != nil {
		mistakes = append([]error{err}, mistakes...)
	}
	return c, allOf(mistakes)
}

// allOf returns the mistakes as one error, with a line for each if there are several.
func allOf(mistakes []error) error {
	if len(mistakes) < 2 {
		return errors.Join(mistakes...)
	}
	text := strings.ReplaceAll(errors.Join(mistakes...).Error(), "\n", "\n  ")
	return fmt.Errorf("%d mistakes:\n  %s", len(mistakes), text)
}

// singleTexts rejects a list or a map for a setting that takes one text. The decoder's own error
// would show the value, which may be a secret.
func singleTexts(from, to reflect.Type, value any) (any, error) {
	if to.Kind() == reflect.String && (from.Kind() == reflect.Slice || from.Kind() == reflect.Map) {
		return nil, errors.New("must be one text, not a list or a map")
	}
	return value, nil
}

// strictNumbers rejects a duration without a unit, a fraction where the decoder would cut it off,
// and values that the decoder would turn into or out of a boolean.
func strictNumbers(from, to reflect.Type, value any) (any, error) {
	if to == reflect.TypeFor[time.Duration]() && from.Kind() != reflect.String && value != 0 {
		return nil, fmt.Errorf("%v has no unit: write it like 500ms, 30s or 2m", value)
	}
	if v, ok := value.(float64); ok && to.Kind() >= reflect.Int && to.Kind() <= reflect.Uint64 &&
		v != math.Trunc(v) {
		return nil, fmt.Errorf("%v must be a whole number", v)
	}
	if to.Kind() == reflect.Bool && from.Kind() != reflect.Bool && value != "true" &&
		value != "false" {
		return nil, fmt.Errorf("%v must be true or false", value)
	}
	if from.Kind() == reflect.Bool && to.Kind() != reflect.Bool {
		return nil, fmt.Errorf("%v is a boolean, and the setting takes another kind of value", value)
	}
	return value, nil
}

// wholeSecrets takes one text for a list of one secret. It rejects numbers, because YAML changes
// some, such as 0123 and 1e5.
func wholeSecrets(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[gate.Secrets]() {
		return value, nil
	}
	switch v := value.(type) {
	case string:
		if n := secret.OldList(v); n > 0 && !strings.HasPrefix(v, secret.Exact) {
			return nil, fmt.Errorf("has a comma, at which earlier versions split it into %d secrets:"+
				" write a list"+
				" like [env:ONE, env:TWO], or put %s before it if it is one secret", n, secret.Exact)
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
		return nil, errors.New("must be a text or a list of texts: put it in quotation marks")
	}
	return value, nil
}

// settingPaths returns the paths of all settings, except those of sources and subscriptions.
func settingPaths(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("setting")
		switch {
		case f.Anonymous:
			paths = append(paths, settingPaths(f.Type, prefix)...)
		case !f.IsExported() || f.Tag.Get("setting") == "-":
		case reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
			paths = append(paths, path) // one text
		case f.Type.Kind() == reflect.Struct:
			paths = append(paths, settingPaths(f.Type, path+".")...)
		case f.Type.Kind() == reflect.Pointer && f.Type.Elem().NumField() > 0:
			paths = append(paths, settingPaths(f.Type.Elem(), path+".")...)
		case f.Type.Kind() != reflect.Map || f.Type.Elem().Kind() == reflect.String:
			paths = append(paths, path)
		}
	}
	return paths
}

// check returns an error for settings that cannot work, or contradict each other.
func (c Config) check() error {
	if c.Listen == "" {
		return errors.New("listen is empty: set it to an address such as 127.0.0.1:8080")
	}
	if err := c.Rollback.check(); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return fmt.Errorf("log_level is %q; it must be debug, info, warn or error", c.LogLevel)
	}
	return c.Options.Check()
}

// OwnURL returns the base URL of a listener of this gate at an address, as seen from its own
// machine.
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
