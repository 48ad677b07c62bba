package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shimward/shimward/internal/relay"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// serve serves a container "key" until the test ends.
func serve(t *testing.T, act func(Message) error) policy.Paths {
	t.Helper()
	testenv.Root(t) // the server answers nobody else
	dir := testenv.ShortDir(t)
	paths := policy.Paths{Run: dir}
	if err := os.MkdirAll(paths.Container("key"), 0o700); err != nil {
		t.Fatal(err)
	}
	server, err := Listen(paths.Host("key"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		server.Serve(ctx, act)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return paths
}

func TestServe(t *testing.T) {
	got := make(chan Message, 1)
	paths := serve(t, func(m Message) error {
		got <- m
		switch m.What {
		case MessageStart:
			return nil
		case MessageStopped:
			return ErrNoHost
		default:
			return fmt.Errorf("what is %q?\n<>", m.What)
		}
	})
	for what, want := range map[string]string{MessageStart: "", MessageStopped: "is gone", "else": "what is \"else\"?\n<>"} {
		err := Tell(t.Context(), paths, "key", Message{What: what, State: &State{ID: "a", PID: 7, Bundle: "/b"}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", what, err)
		}
		if m := <-got; m.What != what || *m.State != (State{ID: "a", PID: 7, Bundle: "/b"}) {
			t.Errorf("%s: it was told %+v", what, m)
		}
	}
}

// dial connects to the container's host.
func dial(t *testing.T, paths policy.Paths) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", paths.Host("key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// What is no message must be answered with an error, and must not be acted on.
func TestServeGarbage(t *testing.T) {
	paths := serve(t, func(m Message) error {
		t.Errorf("acted on %+v", m)
		return nil
	})
	for name, test := range map[string]struct{ text, want string }{
		"no JSON":              {"created\n", "parse the message"},
		"a list":               {"[]\n", "parse the message"},
		"a state that is none": {`{"what":"created","state":7}` + "\n", "parse the message"},
		"half of one":          {`{"what":"created",`, "parse the message"},
		"zeros":                {"\x00\x00\x00\n", "parse the message"},
		"too much":             {`{"what":"` + strings.Repeat("x", relay.MaxMessage) + `"}`, "more than"},
		"nothing":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, paths)
			go func() {
				_, _ = io.WriteString(conn, test.text) // fails if the server has read enough
				_ = conn.(*net.UnixConn).CloseWrite()
			}()
			answer, err := io.ReadAll(conn)
			if err != nil && test.want != "more than" || !strings.Contains(string(answer), test.want) || (test.want == "") != (len(answer) == 0) {
				t.Errorf("answered %q, %v", answer, err)
			}
		})
	}
}

// Connections that say nothing, and messages that take long, must not keep others out.
func TestServeMany(t *testing.T) {
	slow, entered := make(chan struct{}), make(chan struct{})
	var acted atomic.Int64
	paths := serve(t, func(m Message) error {
		if m.What == "slow" {
			entered <- struct{}{}
			<-slow
		}
		acted.Add(1)
		return nil
	})
	slows := make(chan error)
	go func() { slows <- Tell(t.Context(), paths, "key", Message{What: "slow"}) }()
	<-entered
	var silent []net.Conn
	for range 4 * maxOpen {
		silent = append(silent, dial(t, paths))
	}
	ctx, cancel := context.WithTimeout(t.Context(), saidWithin/2) // before they are closed for their silence
	defer cancel()
	if err := Tell(ctx, paths, "key", Message{What: MessageStart}); err != nil {
		t.Errorf("among %d that say nothing: %v", len(silent), err)
	}
	if _, err := silent[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest was not closed: %v", err)
	}
	close(slow)
	if err := <-slows; err != nil || acted.Load() != 2 {
		t.Errorf("the slow one: %v; acted on %d", err, acted.Load())
	}
}

// A server that ends must not wait for those who say nothing, and must give the answer that it owes.
func TestServeEnds(t *testing.T) {
	testenv.Root(t)
	path := t.TempDir() + "/s"
	server, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(ctx, func(Message) error {
			cancel()
			return errors.New("the last")
		})
	}()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := (relay.Host{Socket: path}).Tell([]byte(`{"what":"x"}`+"\n"), time.Minute); err == nil || err.Error() != "the last" {
		t.Errorf("got %v", err)
	}
	select {
	case <-done:
	case <-time.After(saidWithin / 2):
		t.Error("it waits for the one that says nothing")
	}
	if err := (relay.Host{Socket: path}).Tell([]byte("{}\n"), time.Minute); !errors.Is(err, relay.ErrNoHost) {
		t.Errorf("afterwards: %v", err)
	}
}
