package evidence

import (
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Upload says where a bundle is submitted, and under which names.
type Upload struct {
	// URL is the whole address, such as https://evidence.example/api/intake. Token authorises the
	// upload.
	URL, Token string
	// Application and Gate name what was certified.
	Application, Gate string
	// HTTP makes the request; nil means a client that follows no redirect.
	HTTP *http.Client
}

// RejectedError is any answer to an upload but a 2xx.
type RejectedError struct {
	Status int
	// Text is the status line and the body.
	Text string
}

// Error implements error.
func (e *RejectedError) Error() string { return "the evidence was rejected: " + e.Text }

// maxReceipt bounds the answer to an upload, in bytes.
const maxReceipt = 64 << 10

// Submit packs the bundle in a folder, uploads it as multipart/form-data, and returns the body of
// the answer. The fields are application, gate, timestamp, manifest, and the archive as evidence.
// An answer other than 2xx is a *RejectedError.
func Submit(ctx context.Context, dir string, u Upload) (string, error) {
	manifest, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return "", err
	}
	body, pipe := io.Pipe()
	form := multipart.NewWriter(pipe)
	go func() { pipe.CloseWithError(u.write(form, dir, manifest)) }()
	defer body.Close() // ends the packing
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.URL, body)
	if err != nil {
		return "", fmt.Errorf("submit evidence: %w", err)
	}
	req.Header.Set("Expect", "100-continue") // so that a rejection comes before the upload
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+u.Token)
	client := u.HTTP
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("submit evidence: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReceipt))
	if err != nil {
		return "", fmt.Errorf("submit evidence: read the answer: %w", err)
	}
	answer := strings.TrimSpace(string(text))
	if resp.StatusCode/100 != 2 {
		return "", &RejectedError{resp.StatusCode, resp.Status + ": " + answer}
	}
	return answer, nil
}

// write writes the form.
func (u *Upload) write(form *multipart.Writer, dir string, manifest []byte) error {
	for _, field := range [][2]string{
		{"application", u.Application}, {"gate", u.Gate},
		{"timestamp", time.Now().UTC().Format(time.RFC3339)},
	} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			return err
		}
	}
	part, err := form.CreateFormFile("manifest", ManifestFile)
	if err != nil {
		return err
	}
	if _, err := part.Write(manifest); err != nil {
		return err
	}
	name := filepath.Base(filepath.Clean(dir)) + ".tar.gz"
	if part, err = form.CreateFormFile("evidence", name); err != nil {
		return err
	}
	if err := Pack(part, dir); err != nil {
		return err
	}
	return form.Close()
}
