package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
)

const subscriptionsPath = "subscriptions"

// takeSubscriptions moves the subscriptions from the settings to c and returns every mistake that
// it finds. The general decoder stops at the first mistake in a subscription, and cannot begin with
// the defaults.
func takeSubscriptions(k *koanf.Koanf, c *Config) []error {
	raw := k.Get(subscriptionsPath)
	k.Delete(subscriptionsPath)
	if raw == nil {
		return nil
	}
	all, ok := raw.(map[string]any)
	if !ok {
		return []error{errors.New(subscriptionsPath + " must have a name for each subscription")}
	}
	var errs []error
	c.Subscriptions = map[string]gate.SubscriptionOptions{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s, mistakes := decodeSubscription(all[name])
		for _, m := range mistakes {
			m.Setting = strings.Trim(subscriptionsPath+"."+name+"."+m.Setting, ".")
			errs = append(errs, m)
		}
		c.Subscriptions[name] = s
	}
	return errs
}

// decodeSubscription returns the defaults with the settings in raw. In a mistake, Setting is the
// path inside the subscription.
func decodeSubscription(raw any) (gate.SubscriptionOptions, []*gate.SettingError) {
	s := gate.PushTo("")
	set, ok := raw.(map[string]any)
	if !ok && raw != nil {
		return s, []*gate.SettingError{{Text: "must be a map of settings"}}
	}
	if _, ok := set["push"]; !ok {
		s.Push = nil
	}
	if pull, ok := set["pull"]; ok && pull == nil { // "pull:" without {}
		s.Pull = &gate.PullOptions{}
	}
	var read mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: &s, TagName: "setting", WeaklyTypedInput: true, Metadata: &read,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			wholeSecrets,
			startText,
			singleTexts,
			strictNumbers,
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.TextUnmarshallerHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
		),
	})
	if err == nil {
		err = decoder.Decode(set)
	}
	mistakes := mistakesOf(err)
	slices.Sort(read.Unused)
	for _, key := range read.Unused {
		mistakes = append(mistakes, &gate.SettingError{Setting: key, Text: "is not a setting"})
	}
	if p := s.Push; p != nil && s.Order == hookgate.OrderAll && p.Concurrency > 1 &&
		slices.Contains(read.Keys, "push.concurrency") {
		mistakes = append(mistakes, &gate.SettingError{Setting: "push.concurrency",
			Text: fmt.Sprintf("is %d, and order is all, which delivers one event at a time: remove one of"+
				" them", p.Concurrency)})
	}
	return s, mistakes
}

// mistakesOf returns the errors of the decoder, one for each setting.
func mistakesOf(err error) (mistakes []*gate.SettingError) {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			mistakes = append(mistakes, mistakesOf(one)...)
		}
		return mistakes
	}
	if one, ok := err.(*mapstructure.DecodeError); ok {
		return []*gate.SettingError{{Setting: one.Name(), Text: reasonOf(one.Unwrap())}}
	}
	if inner := errors.Unwrap(err); inner != nil {
		return mistakesOf(inner)
	}
	return []*gate.SettingError{{Text: err.Error()}}
}

// reasonOf says what is wrong with a value, without the value.
func reasonOf(err error) string {
	switch err := err.(type) {
	case *mapstructure.ParseError:
		return "must be a number"
	case *mapstructure.UnconvertibleTypeError:
		if err.Expected.Kind() == reflect.Map {
			return "must be a map of names and values"
		}
		return "has a value of the wrong kind"
	}
	if text := err.Error(); !strings.HasPrefix(text, "time: ") {
		return text
	}
	return "must be a duration: write it like 500ms, 30s or 2m"
}

// startText turns what YAML makes of a time or an id back into text.
func startText(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[gate.Start]() {
		return value, nil
	}
	switch v := value.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case int:
		return strconv.Itoa(v), nil
	case string:
		return v, nil
	}
	return nil, errors.New("must be now, beginning, a time or the id of an event")
}

// withoutRepeats leaves out of found the mistakes in settings that earlier mistakes name: a value
// that cannot be read is not also missing.
func withoutRepeats(earlier []error, found error) []error {
	many, ok := found.(interface{ Unwrap() []error })
	if !ok {
		return earlier
	}
	named := map[string]bool{}
	for _, err := range earlier {
		if one := (*gate.SettingError)(nil); errors.As(err, &one) {
			setting, _, _ := strings.Cut(one.Setting, "[") // of an entry of a list: the list
			named[setting] = true
		}
	}
	for _, err := range many.Unwrap() {
		if one := (*gate.SettingError)(nil); !errors.As(err, &one) || !named[one.Setting] {
			earlier = append(earlier, err)
		}
	}
	return earlier
}
