package verify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/hookgate/hookgate/verify"
)

const secret = "It's a Secret to Everybody"

// signed returns a webhook of GitHub.
func signed(body string) *http.Request {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return r
}

func ExampleVerifier_Verify() {
	github, err := verify.New(verify.GitHub(secret))
	if err != nil {
		log.Fatal(err)
	}
	body, err := github.Verify(signed(`{"action":"opened"}`))
	fmt.Printf("%s %v\n", body, err)

	forged := signed(`{"action":"opened"}`)
	forged.Header.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("00", 32))
	_, err = github.Verify(forged)
	fmt.Println(errors.Is(err, verify.ErrUnauthenticated))
	// Output:
	// {"action":"opened"} <nil>
	// true
}

func ExampleVerifier_Handler() {
	github, err := verify.New(verify.GitHub(secret))
	if err != nil {
		log.Fatal(err)
	}
	hooks := github.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "thank you")
	}))
	for _, r := range []*http.Request{signed(`{}`), httptest.NewRequest("POST", "/hooks", nil)} {
		w := httptest.NewRecorder()
		hooks.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200 thank you
	// 401 Unauthorized
}
