package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// sample is an event of a filling.
type sample = hookgate.Record

// adminToken opens the read API of every gate that this program starts.
const adminToken = "bench-admin-token"

// fillStatementTimeout is enough for a transaction with fillBatch events.
const fillStatementTimeout = 10 * time.Minute

// checkFilling checks samples from outside. The gate must return the body and the complete trail of
// each, and answer a repetition as a duplicate.
func checkFilling(ctx context.Context, s *server, samples []sample) error {
	for i := range samples {
		if err := checkSample(ctx, s, &samples[i]); err != nil {
			return fmt.Errorf("event %s: %w", samples[i].MessageID, err)
		}
	}
	progress("%d samples are there: event, body, trail and claim", len(samples))
	return nil
}

func checkSample(ctx context.Context, s *server, r *sample) error {
	var listed struct {
		Events []struct{ ID, RequestID, SHA256 string }
	}
	if err := s.getJSON(ctx, "/api/events?messageId="+url.QueryEscape(r.MessageID),
		&listed); err != nil {
		return err
	}
	sum := sha256.Sum256(r.Body)
	if len(listed.Events) != 1 || listed.Events[0].RequestID != r.RequestID.String() ||
		listed.Events[0].SHA256 != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("is listed as %+v", listed.Events)
	}
	err := s.get(ctx, "/api/events/"+listed.Events[0].ID+"/body", func(body []byte) error {
		if !bytes.Equal(body, r.Body) {
			return fmt.Errorf("has %d other bytes", len(body))
		}
		return nil
	})
	if err != nil {
		return err
	}
	var trace struct {
		Requests []struct{ Stages []struct{ Stage string } }
	}
	if err := s.getJSON(ctx, "/api/trace/"+r.MessageID, &trace); err != nil {
		return err
	}
	var stages []string
	for _, request := range trace.Requests {
		for _, stage := range request.Stages {
			stages = append(stages, stage.Stage)
		}
	}
	if want := []string{"received", "enqueued", "processed", "persisted"}; !slices.Equal(stages,
		want) {
		return fmt.Errorf("has the trail %v, not %v", stages, want)
	}
	status, answer, err := s.post(ctx, r.Body)
	if err != nil {
		return err
	}
	var told struct{ Note, FirstRequestID string }
	if err := json.Unmarshal(answer, &told); err != nil || status != http.StatusAccepted ||
		told.Note != "duplicate_detected" || told.FirstRequestID != r.RequestID.String() {
		return fmt.Errorf("sent again is answered by %d %s", status, answer)
	}
	return nil
}

// get reads from the read API of the gate.
func (s *server) get(ctx context.Context, path string, read func(body []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s %s", path, resp.Status, body)
	}
	return read(body)
}

// getJSON reads JSON from the read API of the gate.
func (s *server) getJSON(ctx context.Context, path string, into any) error {
	return s.get(ctx, path, func(body []byte) error { return json.Unmarshal(body, into) })
}

// post sends one signed webhook.
func (s *server) post(ctx context.Context, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/webhooks",
		bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Webhook-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
