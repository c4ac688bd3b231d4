package push_test

import (
	"net"
	"testing"

	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/push"
)

// TestReach: a consumer can be reached while something listens at its address.
func TestReach(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	url := "http://" + listener.Addr().String() + "/hook"
	c, err := push.New(push.Config{Name: "billing", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	var reacher deliver.Reacher = c
	if err := reacher.Reach(t.Context()); err != nil {
		t.Error(err)
	}
	listener.Close()
	if reacher.Reach(t.Context()) == nil {
		t.Error("a consumer that does not listen can be reached")
	}
}
