package hooks

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/shimward/shimward/policy"
)

// A monitor that does not answer in time may still be storing events: it is not gone.
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
		"speaks nonsense": {hangUp("?"), time.Minute, false},
		"does not answer": {func(net.Listener) {}, 50 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			paths := policy.Paths{Run: t.TempDir()}
			if err := os.MkdirAll(paths.Container("key"), 0o700); err != nil {
				t.Fatal(err)
			}
			if test.serve != nil {
				listener, err := net.Listen("unix", paths.Monitor("key"))
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				test.serve(listener)
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.wait)
			defer cancel()
			if err := Tell(ctx, paths, "key", Message{What: MessageStopped}); err == nil || errors.Is(err, ErrNoMonitor) != test.gone {
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
