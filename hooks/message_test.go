package hooks

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shimward/shimward/policy"
)

// A host that does not answer in time may still be storing events: it is not gone.
func TestTell(t *testing.T) {
	for name, test := range map[string]struct {
		serve func(net.Listener) // nil if there is no socket
		wait  time.Duration
		gone  bool
	}{
		"no socket":       {nil, time.Minute, true},
		"nobody listens":  {func(l net.Listener) { l.(*net.UnixListener).SetUnlinkOnClose(false); l.Close() }, time.Minute, true},
		"hangs up":        {hangUp(""), time.Minute, true},
		"dies in between": {hangUp(`{"error":`), time.Minute, true},
		"speaks nonsense": {hangUp("?\n"), time.Minute, false},
		"does not answer": {func(net.Listener) {}, 50 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			paths := policy.Paths{Run: t.TempDir()}
			if err := os.MkdirAll(paths.Container("key"), 0o700); err != nil {
				t.Fatal(err)
			}
			if test.serve != nil {
				listener, err := net.Listen("unix", paths.Host("key"))
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				test.serve(listener)
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.wait)
			defer cancel()
			if err := Tell(ctx, paths, "key", Message{What: MessageStopped}); err == nil || errors.Is(err, ErrNoHost) != test.gone {
				t.Errorf("it is gone: %v, and Tell says %v", test.gone, err)
			}
		})
	}
}

// hangUp reads one message, and closes the connection in the middle of the answer.
func hangUp(answer string) func(net.Listener) {
	return func(listener net.Listener) {
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1<<10))
			_, _ = conn.Write([]byte(answer))
		}()
	}
}

func TestParseState(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty":           {``, "parse"},
		"not json":        {`hello`, "parse"},
		"no id":           {`{"bundle":"/b"}`, "started by an OCI runtime"},
		"no bundle":       {`{"id":"a"}`, "started by an OCI runtime"},
		"relative bundle": {`{"id":"a","bundle":"b"}`, "absolute bundle"},
		"pid not number":  {`{"id":"a","bundle":"/b","pid":"1"}`, "parse"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseState([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("says %v, want %q in it", err, test.want)
			}
		})
	}
	s, err := ParseState([]byte(`{"ociVersion":"1.2","id":"a","status":"creating","pid":7,"bundle":"/b","annotations":{}}`))
	if err != nil || s != (State{ID: "a", PID: 7, Bundle: "/b"}) {
		t.Errorf("got %+v, %v", s, err)
	}
}
