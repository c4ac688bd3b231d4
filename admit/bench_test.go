package admit

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// envelopeBody returns an envelope of 500 bytes with all the fields.
func envelopeBody() []byte {
	const start = `{"messageId":"01J9ZK3V9M6Q0X5E8R2T7W4YBN","eventType":"order.created",` +
		`"orderingKey":"customer-4711","sequence":42,` +
		`"data":{"currency":"EUR","total":129.95,"items":[{"sku":"A-1","count":2},{"sku":"B-2",` +
		`"count":1}],"note":"`
	const end = `"}}`
	return []byte(start + strings.Repeat("n", 500-len(start)-len(end)) + end)
}

// gitHubBody returns a push event of about 10 kB with the repository at its end.
func gitHubBody() []byte {
	var b strings.Builder
	b.WriteString(`{"ref":"refs/heads/main","commits":[`)
	for i := range 28 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%040x","distinct":true,"message":"Fix the \"frobnicator\"\n\nSecond`+
			` paragraph of the message %d.",`+
			`"timestamp":"2026-01-02T03:04:05+01:00","author":{"name":"Octo Cat",`+
			`"email":"octocat@example.com","username":"octocat"},`+
			`"added":[],"removed":[],"modified":["src/main.go","README.md"]}`, i, i)
	}
	b.WriteString(`],"repository":{"id":1296269,"private":false,"full_name":"octocat/Hello-World"}}`)
	return []byte(b.String())
}

func admitOnce(s Scheme, r *Request) (Message, error) {
	if err := s.CheckHeader(r); err != nil {
		return Message{}, err
	}
	if err := s.Authenticate(r); err != nil {
		return Message{}, err
	}
	return identifyOnce(s, r)
}

// identifyOnce finds the identity of the only event of a request, or of the first.
func identifyOnce(s Scheme, r *Request) (Message, error) {
	if s, ok := s.(Splitter); ok && s.Splits() {
		parts, err := s.Split(r)
		if err != nil || len(parts) == 0 {
			return Message{}, err
		}
		p := parts[0]
		return Message{p.MessageID, p.EventType, p.OrderingKey, p.Sequence, p.Keyed}, nil
	}
	return s.Identify(r)
}

// request is one whose admission is measured.
type request struct {
	scheme Scheme
	h      http.Header
	body   []byte
	want   Message
}

// requests returns one good request of each sort.
func requests(t testing.TB) map[string]request {
	fields := Message{"01J9ZK3V9M6Q0X5E8R2T7W4YBN", "order.created", "customer-4711", 42, true}
	text, push := envelopeBody(), gitHubBody()
	return map[string]request{
		"hmac": {newEnvelopeForTest(t, EnvelopeConfig{HMACSecrets: []string{secret1}}),
			header("Content-Type", "application/json", "X-Webhook-Signature", sign(secret1, text)), text,
			fields},
		"bearer": {newEnvelopeForTest(t, EnvelopeConfig{BearerKeys: []string{key1}}),
			header("Content-Type", "application/json", "Authorization", "Bearer "+key1), text, fields},
		"github": {newGitHubForTest(t, "repository.full_name"),
			gitHubHeader("Content-Type", "application/json", "X-Hub-Signature-256", sign("s", push)), push,
			Message{"d", "push", "octocat/Hello-World", -1, true}},
	}
}

func benchmark(b *testing.B, name string) {
	r := requests(b)[name]
	sent := &Request{Header: r.h, Body: r.body}
	if got, err := admitOnce(r.scheme, sent); err != nil || got != r.want {
		b.Fatalf("got %+v and error %v, want %+v", got, err, r.want)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(r.body)))
	for b.Loop() {
		if _, err := admitOnce(r.scheme, sent); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnvelopeHMAC(b *testing.B)   { benchmark(b, "hmac") }
func BenchmarkEnvelopeBearer(b *testing.B) { benchmark(b, "bearer") }
func BenchmarkGitHub(b *testing.B)         { benchmark(b, "github") }

// underRace reports whether the race detector is on, under which a sync.Pool drops things at
// random.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// Goal: admission does not start to allocate more than its three strings, and what gjson copies.
// Method: the allocations of whole requests.
func TestAllocations(t *testing.T) {
	for name, limit := range map[string]float64{"hmac": 3, "bearer": 3, "github": 4} {
		r := requests(t)[name]
		if underRace() && name != "bearer" {
			limit += 4
		}
		sent := &Request{Header: r.h, Body: r.body}
		if got, err := admitOnce(r.scheme, sent); err != nil || got != r.want {
			t.Fatalf("%s: got %+v and error %v, want %+v", name, got, err, r.want)
		}
		got := testing.AllocsPerRun(1000, func() {
			if _, err := admitOnce(r.scheme, sent); err != nil {
				t.Fatal(err)
			}
		})
		if got > limit {
			t.Errorf("%s: %v allocations for each request, want at most %v", name, got, limit)
		}
	}
}

// BenchmarkPresets shows what each scheme costs for a whole admission, with the body of its vector.
func BenchmarkPresets(b *testing.B) {
	for _, v := range vectors() {
		b.Run(v.name, func(b *testing.B) {
			s, r := v.scheme(b), v.request()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := admitOnce(s, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
