package adminapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/evidence"
)

// Intake stores evidence. *evidence.Depot implements it.
type Intake interface {
	// Receive verifies a bundle and stores it. Its errors are those of evidence.Depot.
	Receive(ctx context.Context, archive io.Reader, s evidence.Submission) (evidence.Receipt, error)
	// List returns what is stored, oldest first.
	List(context.Context) ([]evidence.Receipt, error)
	// Find returns a bundle and its verdict. evidence.ErrUnknown: there is none.
	Find(ctx context.Context, id string) (evidence.Receipt, evidence.Verdict, error)
	// Report returns the report of a bundle, a page of HTML. fs.ErrNotExist: there is no such
	// bundle, or it has no report.
	Report(ctx context.Context, id string) ([]byte, error)
}

const (
	// intakePath is the only path for which evidence tokens are valid.
	intakePath = "/api/intake"
	// evidenceActor is the name of an evidence token in the admin trail.
	evidenceActor = configuredName + "-evidence"
	// maxField bounds the fields of a submission that are text, and maxManifest its manifest, in
	// bytes.
	maxField, maxManifest = 256, 4 << 20
)

// listIntake lists the stored evidence.
func (s *API) listIntake(c *call) {
	all, err := s.intake.List(c.request.Context())
	if err != nil {
		c.unavailable("listing evidence", err)
		return
	}
	answer := api.Receipts{Evidence: []api.Receipt{}}
	for _, r := range all {
		answer.Evidence = append(answer.Evidence, receiptOf(r))
	}
	c.json(answer)
}

// showReport answers the report of a bundle. The page may be hostile: it cannot run scripts or
// reach anything.
func (s *API) showReport(c *call) {
	report, err := s.intake.Report(c.request.Context(), c.parameter("id"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.fail(http.StatusNotFound, "no such evidence, or it has no report")
	case err != nil:
		c.unavailable("reading the report", err)
	default:
		dashboard.Foreign(c, report)
	}
}

// receiveEvidence stores a bundle of evidence. The fields come before the archive, so that the
// archive is streamed to the disk.
func (s *API) receiveEvidence(c *call) {
	kind, parameters, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || parameters["boundary"] == "" {
		c.fail(http.StatusBadRequest,
			"send evidence as multipart/form-data, as hookgate evidence submit does")
		return
	}
	// A bundle takes disk space, which the queue may need, before its signature is verified.
	if !c.alone(&s.receiving, "other evidence is being received") {
		return
	}
	defer s.receiving.Unlock()
	// An archive takes longer than other calls. The caller has authenticated.
	controller := http.NewResponseController(c)
	controller.SetReadDeadline(time.Now().Add(s.config.EvidenceTimeout))
	controller.SetWriteDeadline(time.Now().Add(s.config.EvidenceTimeout + s.config.WriteTimeout))
	body := http.MaxBytesReader(c, c.request.Body, s.config.MaxEvidence+maxManifest+64<<10)
	parts := multipart.NewReader(body, parameters["boundary"])
	submission, archive, err := readSubmission(parts)
	if err != nil {
		c.intakeFailed(err)
		return
	}
	if !c.begin(submission.Application + " " + submission.Gate) {
		return
	}
	receipt, err := s.intake.Receive(c.request.Context(), archive, submission)
	if err != nil {
		if c.end(failedWith(err)) {
			c.intakeFailed(err)
		}
		return
	}
	if c.end(control.ResultDone + ": " + receipt.ID) {
		c.jsonStatus(http.StatusCreated, receiptOf(receipt))
	}
}

// badSubmission describes what is wrong with a submission.
type badSubmission string

func (e badSubmission) Error() string { return string(e) }

// readSubmission reads the fields up to the archive, which comes last.
func readSubmission(parts *multipart.Reader) (s evidence.Submission, archive io.Reader, err error) {
	seen := map[string]bool{}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return s, nil, badSubmission("field evidence is missing")
		} else if err != nil {
			return s, nil, err
		}
		name := part.FormName()
		if seen[name] {
			return s, nil, badSubmission(fmt.Sprintf("field %q occurs twice", printable(name)))
		}
		seen[name] = true
		if name == "evidence" {
			for _, needed := range []string{"application", "gate", "timestamp", "manifest"} {
				if !seen[needed] {
					return s, nil, badSubmission("field " + needed + " is missing, or comes after evidence")
				}
			}
			return s, part, nil
		}
		limit := int64(maxField)
		if name == "manifest" {
			limit = maxManifest
		}
		text, err := io.ReadAll(io.LimitReader(part, limit+1))
		switch {
		case err != nil:
			return s, nil, err
		case int64(len(text)) > limit:
			return s, nil, badSubmission(fmt.Sprintf("field %q is longer than %d bytes", printable(name),
				limit))
		case len(text) == 0:
			return s, nil, badSubmission(fmt.Sprintf("field %q is empty", printable(name)))
		}
		switch name {
		case "application", "gate":
			if strings.ContainsFunc(string(text), func(r rune) bool {
				return r < ' ' || r == 0x7f ||
					r == 0xfffd
			}) {
				return s, nil, badSubmission("field " + name + " is not plain text")
			}
			if name == "gate" {
				s.Gate = string(text)
			} else {
				s.Application = string(text)
			}
		case "timestamp":
			if s.Timestamp, err = time.Parse(time.RFC3339, string(text)); err != nil {
				return s, nil, badSubmission("field timestamp must be a time such as 2026-11-23T12:00:00Z")
			}
		case "manifest":
			s.Manifest = text
		default:
			return s, nil, badSubmission(fmt.Sprintf("field %q is unknown", printable(name)))
		}
	}
}

// intakeFailed answers a submission that is not stored.
func (c *call) intakeFailed(err error) {
	var tooLarge *http.MaxBytesError
	var bad badSubmission
	var changed *evidence.ChangedError
	switch {
	case errors.As(err, &tooLarge):
		c.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("evidence is larger than %d bytes",
			c.server.config.MaxEvidence))
	case errors.Is(err, evidence.ErrExists):
		c.fail(http.StatusConflict, err.Error())
	case errors.Is(err, evidence.ErrFull):
		c.fail(http.StatusInsufficientStorage, err.Error())
	case errors.As(err, &bad), errors.As(err, &changed), errors.Is(err, evidence.ErrArchive):
		c.fail(http.StatusBadRequest, "evidence rejected: "+err.Error())
	case errors.Is(err, io.ErrUnexpectedEOF), c.request.Context().Err() != nil:
		c.fail(http.StatusBadRequest, "evidence rejected: it is truncated")
	default:
		var malformed interface{ Timeout() bool }
		if errors.As(err, &malformed) && malformed.Timeout() {
			c.fail(http.StatusRequestTimeout, "evidence did not arrive in time")
			return
		}
		c.unavailable("receiving evidence", err)
	}
}
