package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// serveBare is the simplest server for the same requests: net/http, the signature, the JSON, an
// answer. It stores nothing, unless args name a file. Then it appends each body to the file, and
// syncs the file before the answer.
func serveBare(args []string) {
	var file *os.File
	if len(args) > 0 {
		var err error
		if file, err = os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "bare:", err)
			os.Exit(1)
		}
	}
	serveUntilTerm("bare", bare(file))
}

// serveUntilTerm serves a free port of loopback until SIGTERM. It prints the address, which the
// parent process reads.
func serveUntilTerm(name string, handler http.Handler) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	fmt.Println(name, "listens on", listener.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	<-ctx.Done()
	server.Close()
}

func bare(file *os.File) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "body", http.StatusBadRequest)
			return
		}
		mac := hmac.New(sha256.New, []byte(os.Getenv("WEBHOOK_HMAC_SECRET")))
		mac.Write(body)
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); !hmac.Equal([]byte(r.Header.Get(
			"X-Webhook-Signature")), []byte(want)) {
			http.Error(w, "signature", http.StatusUnauthorized)
			return
		}
		var envelope struct {
			MessageID string `json:"messageId"`
			EventType string `json:"eventType"`
		}
		if err := json.Unmarshal(body, &envelope); err != nil || envelope.MessageID == "" ||
			envelope.EventType == "" {
			http.Error(w, "JSON", http.StatusBadRequest)
			return
		}
		if file != nil {
			if _, err := file.Write(body); err != nil {
				http.Error(w, "write", http.StatusServiceUnavailable)
				return
			}
			if err := file.Sync(); err != nil {
				http.Error(w, "sync", http.StatusServiceUnavailable)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		json.NewEncoder(w).Encode(map[string]string{"status": "accepted",
			"messageId": envelope.MessageID})
	}
}
