package postgres

import (
	"strings"
	"testing"
)

// TestURLErrors: errors show no part of a password, even if a character in it makes the URL invalid
// or makes the password look like a host.
func TestURLErrors(t *testing.T) {
	for _, url := range []string{
		"postgres://u:secret%@h/d", "postgres://u:%zzsecret@h/d", "postgres://u:secret/x@h/d",
		"postgres://u:1/secret@h/d",
		"postgres://u:secret?x@h/d", "postgres://u:secret#x@h/d", "postgresql://u:a:secret%@h/d",
		"postgres://u:se@secret%@h/d",
		"postgres://u:secret@h:port/d", "postgres://u:secret@h/d?sslmode=maybe",
		"host=h password=secret sslmode=maybe",
		"host=h password='a secret' sslmode=maybe",
	} {
		_, err := parseConfig(url)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", url, err)
		}
	}
	for _, url := range []string{
		"postgres://u:p%40%2F%3F%23%25@h/d", "postgres:///d?host=/run/postgresql",
		"postgres://h/d?application_name=a@b", "postgres://u:p@a:1,b:2/d",
		"host=h user=u@x password=p",
	} {
		if _, err := parseConfig(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
