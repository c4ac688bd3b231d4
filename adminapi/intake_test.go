package adminapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/evidence"
)

const evidenceToken = "the evidence token"

// intakeServer is a gate with a depot in a folder.
func intakeServer(t *testing.T, maxBytes int64) *gate {
	t.Helper()
	return newGate(t, func(s *setup) {
		s.config.EvidenceTokens, s.config.MaxEvidence, s.config.EvidenceTimeout = []string{evidenceToken},
			maxBytes, time.Minute
		depot, err := evidence.OpenDepot(filepath.Join(t.TempDir(), "evidence"),
			evidence.Limits{Bundle: maxBytes, Total: 1 << 30, Bundles: 10}, nil)
		must(t, err)
		s.intake = depot
	})
}

// sealed returns a bundle with a file of so many bytes, as archive, and its manifest.
func sealed(t *testing.T, size int) (archive, manifest []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "verdict.json"), []byte(`{"status":"PASS"}`),
		0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger.ndjson"), bytes.Repeat([]byte("x"), size),
		0o644); err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence.Seal(dir, key); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := evidence.Pack(&b, dir); err != nil {
		t.Fatal(err)
	}
	if manifest, err = os.ReadFile(filepath.Join(dir, evidence.ManifestFile)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), manifest
}

type field struct{ name, content string }

// submission is a multipart body of fields in their order.
func submission(t *testing.T, fields ...field) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = &bytes.Buffer{}
	form := multipart.NewWriter(body)
	for _, f := range fields {
		if err := form.WriteField(f.name, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return body, form.FormDataContentType()
}

func intake(t *testing.T, s *gate, token, method string, body io.Reader, contentType string) (int,
	string) {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, "/api/intake", body)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func fieldsOf(archive, manifest []byte) []field {
	return []field{{"application", "shop"}, {"gate", "release-7"},
		{"timestamp", "2026-11-24T08:00:00Z"}, {"manifest", string(manifest)},
		{"evidence", string(archive)}}
}

// Goal: evidence is received with a token for it, once, and listed; that token opens nothing else,
// and it is in the admin trail.
func TestIntake(t *testing.T) {
	s := intakeServer(t, 1<<20)
	archive, manifest := sealed(t, 10)
	body, kind := submission(t, fieldsOf(archive, manifest)...)
	status, text := intake(t, s, evidenceToken, http.MethodPost, bytes.NewReader(body.Bytes()), kind)
	var receipt evidence.Receipt
	if json.Unmarshal([]byte(text), &receipt) != nil || status != http.StatusCreated ||
		receipt.Gate != "release-7" || receipt.Verdict != "PASS" || receipt.Known {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := intake(t, s, evidenceToken, http.MethodPost, bytes.NewReader(body.Bytes()),
		kind); status != http.StatusConflict {
		t.Errorf("the same again: %d %s", status, text)
	}
	if status, text := intake(t, s, evidenceToken, http.MethodGet, nil, ""); status != http.StatusOK ||
		strings.Count(text, receipt.ID) != 1 {
		t.Errorf("list: %d %s", status, text)
	}
	for _, path := range []string{"/api/events", "/admin/actions", "/admin/maintenance"} {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+evidenceToken)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("the evidence token opens %s: %d", path, w.Code)
		}
	}
	rows, err := s.access.Actions(context.Background(), control.ActionFilter{Limit: 10})
	if err != nil || len(rows) != 4 || rows[0].Actor != evidenceActor ||
		rows[0].Target != "shop release-7" || !strings.Contains(rows[1].Result, receipt.ID) {
		t.Errorf("the admin trail is %+v (%v)", rows, err)
	}
}

// Goal: what is not a whole, signed bundle in its form is refused with the reason, and nothing of
// it is kept.
func TestIntakeRefuses(t *testing.T) {
	s := intakeServer(t, 64<<10)
	archive, manifest := sealed(t, 10)
	large, largeManifest := sealed(t, 100<<10)
	whole := fieldsOf(archive, manifest)
	without := func(name string) (left []field) {
		for _, f := range whole {
			if f.name != name {
				left = append(left, f)
			}
		}
		return left
	}
	with := func(name, content string) (changed []field) {
		for _, f := range whole {
			if f.name == name {
				f.content = content
			}
			changed = append(changed, f)
		}
		return changed
	}
	for name, test := range map[string]struct {
		fields []field
		status int
		says   string
	}{
		"no application":     {without("application"), 400, "application"},
		"no gate":            {without("gate"), 400, "gate"},
		"no timestamp":       {without("timestamp"), 400, "timestamp"},
		"no manifest":        {without("manifest"), 400, "manifest"},
		"no evidence":        {without("evidence"), 400, "evidence"},
		"empty":              {with("gate", ""), 400, "gate"},
		"long":               {with("gate", strings.Repeat("x", 300)), 400, "256"},
		"control characters": {with("application", "a\x00b"), 400, "plain"},
		"no time":            {with("timestamp", "yesterday"), 400, "timestamp"},
		"another manifest":   {with("manifest", string(largeManifest)), 400, "manifest"},
		"changed archive": {with("evidence", string(archive[:len(archive)/2])+"x"+
			string(archive[len(archive)/2+1:])), 400, "evidence rejected"},
		"no archive":            {with("evidence", "x"), 400, "gzip"},
		"unpacked is too large": {fieldsOf(large, largeManifest), 400, "more than"},
		"twice":                 {append([]field{{"gate", "x"}}, whole...), 400, "twice"},
		"unknown":               {append([]field{{"secret", "x"}}, whole...), 400, "unknown"},
		"evidence first":        {append([]field{whole[4]}, whole[:4]...), 400, "comes after evidence"},
	} {
		body, kind := submission(t, test.fields...)
		if status, text := intake(t, s, evidenceToken, http.MethodPost, body,
			kind); status != test.status || !strings.Contains(text, test.says) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	body, kind := submission(t, whole...)
	if status, text := intake(t, s, evidenceToken, http.MethodPost,
		bytes.NewReader(body.Bytes()[:body.Len()/2]), kind); status != 400 {
		t.Errorf("cut short: %d %s", status, text)
	}
	if status, text := intake(t, s, evidenceToken, http.MethodPost, body,
		"application/json"); status != 400 {
		t.Errorf("not multipart: %d %s", status, text)
	}
	endless := io.LimitReader(neverEnding('x'), 100<<20)
	start := "--b\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n"
	if status, text := intake(t, s, evidenceToken, http.MethodPost,
		io.MultiReader(strings.NewReader(start), endless),
		`multipart/form-data; boundary=b`); status != 400 && status != 413 {
		t.Errorf("endless: %d %s", status, text)
	}
	for _, token := range []string{"", "wrong"} {
		body, kind := submission(t, whole...)
		if status, text := intake(t, s, token, http.MethodPost, body,
			kind); status != http.StatusUnauthorized {
			t.Errorf("token %q: %d %s", token, status, text)
		}
	}
	if all, err := s.intake.List(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("kept: %v (%v)", all, err)
	}
}

// TestIntakeOneAtATime: while evidence is being received, more of it is sent away, so that the disk
// holds one that is not yet verified.
func TestIntakeOneAtATime(t *testing.T) {
	s := intakeServer(t, 1<<20)
	archive, manifest := sealed(t, 10)
	body, kind := submission(t, fieldsOf(archive, manifest)...)
	first, rest := body.Bytes()[:body.Len()/2], body.Bytes()[body.Len()/2:]
	reader, writer := io.Pipe()
	done := make(chan int)
	go func() {
		status, _ := intake(t, s, evidenceToken, http.MethodPost, reader, kind)
		done <- status
	}()
	// returns when it has been read, so the first has its turn
	if _, err := writer.Write(first); err != nil {
		t.Fatal(err)
	}
	second, kind2 := submission(t, fieldsOf(archive, manifest)...)
	if status, text := intake(t, s, evidenceToken, http.MethodPost, second,
		kind2); status != http.StatusServiceUnavailable {
		t.Errorf("a second one meanwhile: %d %s", status, text)
	}
	if _, err := writer.Write(rest); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if status := <-done; status != http.StatusCreated {
		t.Errorf("the first: %d", status)
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// Goal: one verification of the audit chain at a time, within its bound; what it finds is answered.
func TestVerifyAudit(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	answer, wait := api.Audit{OK: true, Head: "ab"}, true
	s := newGate(t, func(s *setup) {
		s.config.AuditTimeout = time.Minute
		s.verify = func(ctx context.Context) (api.Audit, error) {
			if wait {
				close(begun)
				<-finish
			}
			return answer, ctx.Err()
		}
	})
	verify := func(query string) (int, string, string) {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/api/audit/verify"+
			query, nil)
		r.Header.Set("Authorization", "Bearer "+adminToken)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String(), w.Header().Get("Retry-After")
	}
	done := make(chan string)
	go func() {
		_, text, _ := verify("")
		done <- text
	}()
	<-begun
	if status, text, retry := verify(""); status != http.StatusServiceUnavailable || retry == "" {
		t.Errorf("a second one: %d %s", status, text)
	}
	close(finish)
	if text := <-done; !strings.Contains(text, `"ok":true`) || !strings.Contains(text, `"head":"ab"`) {
		t.Errorf("it answers %s", text)
	}
	wait = false
	answer = api.Audit{Break: &api.AuditBreak{Partition: 3, What: "a body"}}
	if status, text, _ := verify(""); status != http.StatusOK ||
		!strings.Contains(text, `"ok":false`) || !strings.Contains(text, `"partition":3`) {
		t.Errorf("a break: %d %s", status, text)
	}
	s.API.config.AuditTimeout = time.Nanosecond
	if status, text, _ := verify(""); status != http.StatusGatewayTimeout {
		t.Errorf("beyond the bound: %d %s", status, text)
	}
	if status, _, _ := verify("?now"); status != http.StatusBadRequest {
		t.Errorf("a parameter: %d", status)
	}
}

// TestResultsAreCutBetweenCharacters shortens results of every length: what the admin trail keeps
// is valid UTF-8 and a beginning of the result.
func TestResultsAreCutBetweenCharacters(t *testing.T) {
	for pad := range 4 {
		long := strings.Repeat("x", pad) + strings.Repeat("€", maxReason)
		result := failedWith(errors.New(long))
		if !utf8.ValidString(result) || len(result) > maxReason || len(result) <= maxReason-utf8.UTFMax ||
			!strings.HasPrefix(control.ResultFailed+": "+long, result) {
			t.Errorf("the result is %q", result)
		}
	}
}
