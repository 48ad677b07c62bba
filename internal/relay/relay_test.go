package relay

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
)

const state = `{"ociVersion":"1.2.0","id":"a","status":"creating","pid":7,"bundle":"/b","annotations":{"x":"<\"}"}}`

// host answers one message, and returns the socket and what it was told.
func host(t *testing.T, answer string) (socket string, told <-chan string) {
	t.Helper()
	dir := testenv.ShortDir(t)
	socket = filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	said := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		text, _ := bufio.NewReader(conn).ReadString('\n')
		_, _ = conn.Write([]byte(answer))
		said <- text
	}()
	return socket, said
}

// run runs a hook for a container whose host has that socket.
func run(name, stdin, socket string) (err error, log string, alone bool) { //nolint:revive,staticcheck // the error is what counts
	var said strings.Builder
	h := Hook{
		Name: name, Stdin: strings.NewReader(stdin), Log: &said,
		Getenv: func(name string) string {
			return map[string]string{EnvSocket: socket, EnvHost: strconv.Itoa(os.Getpid())}[name]
		},
		Alone: func(got []byte) error {
			alone = string(got) == state
			return errors.New("alone")
		},
	}
	err = h.Run()
	return err, said.String(), alone
}

func TestCreateRuntime(t *testing.T) {
	for answer, want := range map[string]string{
		"{}\n": "",
		`{"error":"the \"reason\" \u003cis\u003e"}` + "\n": `the "reason" <is>`,
		"":              "so it is not created, create it again: the container's shim or monitor is gone",
		`{"error":`:     "shim or monitor is gone",
		"OK\n":          "read the answer",
		"{\n}\n":        "read the answer",
		"[\"error\"]\n": "read the answer",
	} {
		socket, told := host(t, answer)
		err, _, alone := run(NameCreateRuntime, state, socket)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || alone {
			t.Errorf("%q: got %v", answer, err)
		}
		if got := <-told; got != `{"what":"created","state":`+state+"}\n" {
			t.Errorf("told %q", got)
		}
	}
}

// Whatever is wrong must abort the container's creation.
func TestCreateRuntimeRefuses(t *testing.T) {
	socket, _ := host(t, "{}\n")
	for name, test := range map[string]struct{ stdin, socket, want string }{
		"no state":          {"", socket, "not JSON"},
		"half a state":      {state[:40], socket, "not JSON"},
		"two states":        {state + state, socket, "not JSON"},
		"a smuggled field":  {`{},"what":"stopped"`, socket, "not JSON"},
		"too large a state": {`"` + strings.Repeat("x", maxState) + `"`, socket, "more than 16 MiB"},
		"nobody":            {state, "/nonexistent/s", "shim or monitor is gone"},
		"no such folder":    {state, "/dev/null/s", "shim or monitor is gone"},
		"too long a path":   {state, "/" + strings.Repeat("x", 200), "tell the container's shim"},
		"no socket named":   {state, "", "earlier version"},
	} {
		if err, _, alone := run(NameCreateRuntime, test.stdin, test.socket); err == nil || !strings.Contains(err.Error(), test.want) || alone {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err, _, _ := run("else", state, socket); err == nil || !strings.Contains(err.Error(), "no hook is called") {
		t.Errorf("another hook: got %v", err)
	}
}

// Whoever put a socket in the host's place must not be believed.
func TestCreateRuntimeByAnother(t *testing.T) {
	for pid, want := range map[string]string{strconv.Itoa(os.Getppid()): "is the socket of process " + strconv.Itoa(os.Getpid()), "": "sets it to a pid", "0": "sets it to a pid", "x": "sets it to a pid"} {
		socket, _ := host(t, "{}\n")
		h := Hook{Name: NameCreateRuntime, Stdin: strings.NewReader(state), Getenv: func(name string) string {
			return map[string]string{EnvSocket: socket, EnvHost: pid}[name]
		}}
		if err := h.Run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("host %q: got %v", pid, err)
		}
	}
}

// poststop must not fail, whatever is wrong, and must do what is left to do if nobody else does it.
func TestPoststop(t *testing.T) {
	for name, test := range map[string]struct {
		stdin, answer, socket string // answer "-" if there is no host
		log                   string
		alone                 bool
	}{
		"done":            {stdin: state, answer: "{}\n"},
		"refused":         {stdin: state, answer: `{"error":"processes are left"}` + "\n", log: "processes are left"},
		"the host dies":   {stdin: state, answer: "", log: "alone", alone: true},
		"no host":         {stdin: state, answer: "-", socket: "/nonexistent/s", log: "alone", alone: true},
		"no socket named": {stdin: state, answer: "-", log: "alone", alone: true},
		"garbage":         {stdin: "{", answer: "-", socket: "/nonexistent/s", log: "not JSON"},
		"no state":        {stdin: "", answer: "-", log: "not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := test.socket
			if test.answer != "-" {
				socket, _ = host(t, test.answer)
			}
			err, log, alone := run(NamePoststop, test.stdin, socket)
			if err != nil || alone != test.alone || !strings.Contains(log, test.log) || (test.log == "") != (log == "") {
				t.Errorf("%v; alone %v; said %q", err, alone, log)
			}
		})
	}
}

// A host that does not answer in time is still there.
func TestTellDeadline(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // a socket's path is short
	for name, prepare := range map[string]func(t *testing.T, fd int){
		"does not answer": func(*testing.T, int) {},
		"does not accept": func(t *testing.T, fd int) {
			t.Helper()
			if err := unix.Listen(fd, 0); err != nil {
				t.Fatal(err)
			}
			waiting, err := net.Dial("unix", "does not accept")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { waiting.Close() })
		},
	} {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, 8)); err != nil {
			t.Fatal(err)
		}
		prepare(t, fd)
		begin := time.Now()
		err = (Host{Socket: name}).Tell([]byte("{}\n"), 50*time.Millisecond)
		if err == nil || errors.Is(err, ErrNoHost) || !strings.Contains(err.Error(), "runs but does not answer") {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(begin); took < 50*time.Millisecond || took > 10*time.Second {
			t.Errorf("%s: waited %v", name, took)
		}
	}
}

// An answer that comes in pieces is waited for; one without an end is not.
func TestTellPieces(t *testing.T) {
	socket, _ := host(t, strings.Repeat(" ", 3*maxReply))
	if err := (Host{Socket: socket}).Tell([]byte("{}\n"), time.Minute); err == nil || !strings.Contains(err.Error(), "the answer has more than") {
		t.Errorf("without an end: %v", err)
	}
	socket, _ = host(t, `{"error":"`+strings.Repeat("x", maxReply/2)+"\"}\n")
	if err := (Host{Socket: socket}).Tell([]byte("{}\n"), time.Minute); err == nil || len(err.Error()) != maxReply/2 {
		t.Errorf("a long one: %d bytes", len(err.Error()))
	}
}
