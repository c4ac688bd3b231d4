package config

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
)

// loadText returns the configuration in a text.
func loadText(t *testing.T, text string) (Config, error) {
	t.Helper()
	return Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil)
}

// TestSubscriptionSettings: settings that are not set have their defaults, and those that are set
// count, also if they are zero.
func TestSubscriptionSettings(t *testing.T) {
	c, err := loadText(t, `
sources: {stripe: {kind: stripe, secrets: [env:X]}, default: {}}
subscriptions:
  all: {push: {url: "http://10.0.0.7:3000/hooks"}}
  billing:
    sources: [stripe]
    types: ["invoice.*", "charge.refunded"]
    start: 2026-11-29T08:00:00Z
    order: all
    push:
      url: https://app.example.com/hooks?tenant=1
      signing: [env:BILLING_SECRET, "whsec_a,b"]
      timeout: 10s
      rate: 2.5
      egress: public
      headers: {X-Tenant: shop-1, X.Dotted: "5"}
      tls_ca: ca.pem
      tls_cert: cert.pem
      tls_key: key.pem
    retry: {first: 2s, max: 1m, for: 0s, final: [400, 410]}
    then: dead_letter
  by-id: {push: {url: "http://a/"}, start: 1764400000000000}
  at_text: {push: {url: "http://a/"}, start: "2026-11-29T09:00:00+01:00"}
  first: {push: {url: "http://a/"}, start: beginning}
  warehouse: {pull: {}}
  short:
    pull:
`)
	if err != nil {
		t.Fatal(err)
	}
	to := func(url string, start gate.Start) gate.SubscriptionOptions {
		s := gate.PushTo(url)
		s.Start = start
		return s
	}
	eight := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	pull := gate.PushTo("")
	pull.Push, pull.Pull = nil, &gate.PullOptions{}
	billing := gate.PushTo("https://app.example.com/hooks?tenant=1")
	billing.Sources, billing.Types = []string{"stripe"}, []string{"invoice.*", "charge.refunded"}
	billing.Start, billing.Order = gate.Start{At: hookgate.StartTime, Time: eight}, hookgate.OrderAll
	billing.Push.Signing = gate.Secrets{"env:BILLING_SECRET", "whsec_a,b"}
	billing.Push.Timeout, billing.Push.Rate, billing.Push.Egress = 10*time.Second, 2.5, "public"
	billing.Push.Headers = map[string]string{"X-Tenant": "shop-1", "X.Dotted": "5"}
	billing.Push.TLSCA, billing.Push.TLSCert, billing.Push.TLSKey = "ca.pem", "cert.pem", "key.pem"
	billing.Retry = gate.RetryOptions{First: 2 * time.Second, Max: time.Minute,
		Final: []int{400, 410}}
	billing.Then = gate.ThenDeadLetter
	want := map[string]gate.SubscriptionOptions{
		"all":       gate.PushTo("http://10.0.0.7:3000/hooks"),
		"billing":   billing,
		"by-id":     to("http://a/", gate.Start{At: hookgate.StartAfter, After: 1764400000000000}),
		"at_text":   to("http://a/", gate.Start{At: hookgate.StartTime, Time: eight}),
		"first":     to("http://a/", gate.Start{At: hookgate.StartBeginning}),
		"warehouse": pull, "short": pull,
	}
	for name, s := range c.Subscriptions {
		if at := s.Start.Time; at.Equal(eight) {
			s.Start.Time = eight
		}
		if !reflect.DeepEqual(s, want[name]) {
			t.Errorf("%s is\n%+v %+v, want\n%+v %+v", name, s, s.Push, want[name], want[name].Push)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing are %v", want)
	}
}

// TestPushFlag: a flag makes a subscription, or replaces the URL of one in the file.
func TestPushFlag(t *testing.T) {
	flags := map[string]any{"subscriptions.default.push.url": "http://localhost:3000/hooks"}
	for _, text := range []string{"listen: 127.0.0.1:1",
		"subscriptions: {default: {order: none, push: {url: 'http://other/', timeout: 1s}}}"} {
		env := []string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}
		c, err := Load(env, flags)
		if s := c.Subscriptions["default"]; err != nil || s.Push == nil ||
			s.Push.URL != "http://localhost:3000/hooks" ||
			(s.Order == hookgate.OrderNone) != strings.Contains(text, "none") {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
}

// TestMistakesElsewhere: a mistake elsewhere does not hide those in subscriptions, and makes no new
// ones.
func TestMistakesElsewhere(t *testing.T) {
	_, err := loadText(t, "sources: {stripe: {kid: x}}\nsubscriptions: {a: {push: {url: x},"+
		" sources: [stripe]}}")
	if err == nil || !strings.Contains(err.Error(), "kid") ||
		strings.Count(err.Error(), "subscriptions.a.") != 1 {
		t.Errorf("got %v", err)
	}
}

// TestSubscriptionMistakes: the error has every mistake, and each says what is wrong and where.
func TestSubscriptionMistakes(t *testing.T) {
	const ok = "push: {url: 'http://10.0.0.7/'}"
	for _, test := range []struct{ file, want string }{
		{"subscriptions: [billing]", "subscriptions must have a name for each subscription"},
		{"subscriptions: {a: x}", "subscriptions.a must be a map of settings|" +
			"subscriptions.a.push.url is missing"},
		{"subscriptions: {Billing!: {" + ok + "}}", `subscriptions: the name "Billing!" must have` +
			" 1 to 64 characters of a-z, 0-9, - and _"},
		{"subscriptions: {a: }", "subscriptions.a has neither push nor pull: set one of them"},
		{"subscriptions: {a: {" + ok + ", pull: {}}}",
			"subscriptions.a has push and pull: remove one of them"},
		{"subscriptions: {a: {push: }}", "subscriptions.a.push.url is missing"},
		{"subscriptions: {a: {push: {uri: 'http://a/'}, source: x, pull: {max: 3}}}",
			"subscriptions.a.pull.max is not a setting|subscriptions.a.push.uri is not a setting|" +
				"subscriptions.a.source is not a setting|" +
				"subscriptions.a has push and pull: remove one of them|" +
				"subscriptions.a.push.url is missing"},
		{"subscriptions: {a: {" + ok + ", sources: [stripe, hookgate-certify, default, default]}}",
			`subscriptions.a.sources has "stripe", and there is no such source; there are default|` +
				`subscriptions.a.sources has "hookgate-certify" and others: a subscription to test` +
				` traffic has no other source|` +
				`subscriptions.a.sources has "default" twice`},
		{"subscriptions: {a: {" + ok + ", sources: [], types: []}}",
			"subscriptions.a.sources is an empty list: remove it to select all sources|" +
				"subscriptions.a.types is an empty list: remove it to select all types"},
		{"subscriptions: {a: {" + ok + ", types: ['', ' x', x, x, \"a\\tb\", '" +
			strings.Repeat("x", 257) + "']}}",
			"subscriptions.a.types has an empty entry, which matches no event|" +
				`subscriptions.a.types has " x", with white space around it or a control character in it|` +
				`subscriptions.a.types has "x" twice|` +
				`subscriptions.a.types has "a\tb", with white space around it or a control character in it|` +
				"subscriptions.a.types has an entry of 257 bytes; a type has at most 256"},
		{"subscriptions: {a: {" + ok + ", start: tomorrow, order: any, then: wait}}",
			`subscriptions.a.start "tomorrow" is not a start: write now, beginning, a time like` +
				" 2026-11-29T08:00:00Z, or the id of an event|" +
				`subscriptions.a.order is "any"; it must be key, all or none|` +
				`subscriptions.a.then is "wait"; it must be park or dead_letter`},
		{"subscriptions: {a: {" + ok + ", start: 1.5}}", "subscriptions.a.start must be now," +
			" beginning, a time or the id of an event"},
		{"subscriptions: {a: {" + ok + ", start: -3}}", `subscriptions.a.start "-3" is not a start:` +
			" write now, beginning, a time like 2026-11-29T08:00:00Z, or the id of an event"},
		{"subscriptions: {a: {push: {url: 'http://10.0.0.7/', timeout: 0s, concurrency: 0, rate: -1," +
			" egress: inside}}}",
			"subscriptions.a.push.timeout is 0s; it must be above 0s, and at most 1h|" +
				"subscriptions.a.push.concurrency is 0; it must be from 1 to 10000|" +
				"subscriptions.a.push.rate is -1; it must be a number of attempts per second from 0" +
				" (no limit) to 1000000|" +
				`subscriptions.a.push.egress is "inside"; it must be any, private or public`},
		{"subscriptions: {a: {push: {url: 'http://10.0.0.7/', timeout: 5, concurrency: many," +
			" signing: 12345, headers: [x]}}}",
			"subscriptions.a.push.signing must be a text or a list of texts: put it in quotation marks|" +
				"subscriptions.a.push.timeout 5 has no unit: write it like 500ms, 30s or 2m|" +
				"subscriptions.a.push.concurrency must be a number|" +
				"subscriptions.a.push.headers[0] must be a map of names and values"},
		{"subscriptions: {a: {" + ok + ", retry: {first: soon, final: [bad, 4.5]}, types: {a: b}," +
			" then: true}}",
			"subscriptions.a.types[0] must be one text, not a list or a map|" +
				"subscriptions.a.retry.first must be a duration: write it like 500ms, 30s or 2m|" +
				"subscriptions.a.retry.final[0] must be a number|" +
				"subscriptions.a.retry.final[1] 4.5 must be a whole number|" +
				"subscriptions.a.then true is a boolean, and the setting takes another kind of value"},
		{"subscriptions: {a: {push: {url: ftp://a}}, b: {push: {url: 'http://u:hunter2@a/#x'}}, c:" +
			" {push: {url: 'http://a:99999'}}, d: {push: {url: 'http://'}}," +
			" e: {push: {url: ['http://hunter2']}}" +
			"}",
			"subscriptions.e.push.url must be one text, not a list or a map|" +
				"subscriptions.a.push.url must be a URL like https://app.example.com/hooks|" +
				"subscriptions.b.push.url must be a URL like https://app.example.com/hooks|" +
				"subscriptions.c.push.url has the port 99999; it must be from 1 to 65535|" +
				"subscriptions.d.push.url must be a URL like https://app.example.com/hooks"},
		{"subscriptions: {a: {push: {url: 'http://169.254.169.254/'}}, b: {push: {url:" +
			" 'http://10.0.0.7', egress: public}}, c: {push: {url: 'http://8.8.8.8', egress: private}}}",
			"subscriptions.a.push.url has the address 169.254.169.254, an address of a cloud's metadata" +
				" service, to which the gate never connects|" +
				"subscriptions.b.push.egress is public, and push.url has the address 10.0.0.7, a private" +
				" address|" +
				"subscriptions.c.push.egress is private, and push.url has the address 8.8.8.8, a public" +
				" address"},
		{"subscriptions: {a: {push: {url: 'http://a/', tls_ca: x, tls_cert: y}}}",
			"subscriptions.a.push.tls_cert and push.tls_key belong together: set both or neither|" +
				"subscriptions.a.push.url begins with http://, and a setting for TLS is set: use https://," +
				" or remove tls_ca, tls_cert and tls_key"},
		{"subscriptions: {a: {push: {url: 'http://a/', headers: {'a b': x, webhook-id: x, Host: x," +
			" X-A: \"hunter2\\n\"}}}}",
			"subscriptions.a.push.headers has Host, which the gate sets itself|" +
				"subscriptions.a.push.headers.X-A has a character that a header cannot have|" +
				`subscriptions.a.push.headers has "a b", which is not the name of a header|` +
				"subscriptions.a.push.headers has webhook-id, which the gate sets itself"},
		{"subscriptions: {a: {push: {url: 'http://a/', signing: [env:A, env:A, '']}}}",
			"subscriptions.a.push.signing has the same secret twice, as entry 2|" +
				"subscriptions.a.push.signing has an empty entry"},
		{"subscriptions: {a: {order: all, push: {url: 'http://a/', concurrency: 4}}}",
			"subscriptions.a.push.concurrency is 4, and order is all, which delivers one event at a" +
				" time: remove one of them"},
		{"subscriptions: {a: {" + ok + ", retry: {first: 0s, max: 0s, for: -1s, final: [200, 400," +
			" 400]}}}",
			"subscriptions.a.retry.first must be greater than zero|" +
				"subscriptions.a.retry.max must be greater than zero|" +
				"subscriptions.a.retry.for must not be negative; 0s means no retries|" +
				"subscriptions.a.retry.final has 200; a status that can fail is from 300 to 599|" +
				"subscriptions.a.retry.final has 400 twice"},
		{"subscriptions: {a: {" + ok + ", retry: {first: 10m}}}",
			"subscriptions.a.retry.max (5m0s) must not be less than retry.first (10m0s)"},
		{"queue: {timeout: 0s}\nsubscriptions: {a: {push: {url: x}}}",
			"queue.timeout must be greater than zero|" +
				"subscriptions.a.push.url must be a URL like https://app.example.com/hooks"},
	} {
		_, err := loadText(t, test.file)
		if err == nil {
			t.Errorf("%s is accepted", test.file)
			continue
		}
		_, got, _ := strings.Cut(err.Error(), "flags): ")
		if n, rest, many := strings.Cut(got, " mistakes:\n  "); many {
			if got = strings.ReplaceAll(rest, "\n  ", "|"); n != strconv.Itoa(strings.Count(got, "|")+1) {
				t.Errorf("%s: the error speaks of %s mistakes and has %s", test.file, n, got)
			}
		}
		if got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.file, strings.ReplaceAll(got, "|", "\n     "),
				strings.ReplaceAll(test.want, "|", "\n     "))
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a secret: %v", test.file, err)
		}
	}
}
