//go:build cgo

package seccomp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// pair returns the two ends of a connection: the one that receives, and the file that sends.
func pair(t *testing.T) (*net.UnixConn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "receiver")
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	sender := os.NewFile(uintptr(fds[1]), "sender")
	t.Cleanup(func() { _ = conn.Close(); _ = sender.Close() })
	return conn.(*net.UnixConn), sender
}

// marked returns a descriptor that can be counted: a memfd with a distinct name.
func marked(t *testing.T) int {
	t.Helper()
	fd, err := unix.MemfdCreate("marked", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// countMarked returns the number of this process's descriptors to marked files.
func countMarked(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, entry := range list {
		if link, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(link, "/memfd:marked") {
			n++
		}
	}
	return n
}

func repeat(fd, n int) []int {
	fds := make([]int, n)
	for i := range fds {
		fds[i] = fd
	}
	return fds
}

func TestReceiveState(t *testing.T) {
	const good = `{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7,"state":{"id":"x"}}`
	for name, test := range map[string]struct {
		parts []string
		files int
		want  string // in the error
	}{
		"good":           {parts: []string{good}, files: 1},
		"in parts":       {parts: []string{good[:20], good[20:45], good[45:]}, files: 1},
		"large":          {parts: []string{good[:1], `"x":"` + strings.Repeat("}", 300<<10) + `",`, good[1:]}, files: 1},
		"second of two":  {parts: []string{`{"fds":["other","seccompFd"],"pid":7}`}, files: 2},
		"no file":        {parts: []string{good}, want: "names 1 files and has 0"},
		"a file too few": {parts: []string{`{"fds":["seccompFd","other"]}`}, files: 1, want: "names 2 files and has 1"},
		"a file more":    {parts: []string{good}, files: 2, want: "names 1 files and has 2"},
		"two of them":    {parts: []string{`{"fds":["seccompFd","seccompFd"]}`}, files: 2, want: "two files named"},
		"none of them":   {parts: []string{`{"fds":["other"]}`}, files: 1, want: "no file named"},
		"nothing":        {want: "EOF"},
		"half":           {parts: []string{good[:30]}, files: 1, want: "EOF"},
		"not JSON":       {parts: []string{"hello}"}, files: 1, want: "EOF"},
		"not an object":  {parts: []string{`[{}]`, `}`}, files: 1, want: "EOF"},
		"wrong type":     {parts: []string{`{"fds":{"a":"}"}}`}, files: 1, want: "parse"},
		"endless":        {parts: []string{`{"a":"`, strings.Repeat("a", maxMessage)}, files: 1, want: "longer than"},
		"many files":     {parts: []string{`{"fds":[`, `"seccompFd"]`, `}`}, files: maxFiles, want: "too many files"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, sender := pair(t)
			fd := marked(t)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for i, part := range test.parts {
					var rights []byte
					if i == 0 && test.files > 0 || name == "many files" {
						rights = unix.UnixRights(repeat(fd, test.files)...)
					}
					if err := sendAll(int(sender.Fd()), []byte(part), rights); err != nil {
						break // the receiver has given up
					}
				}
				_ = sender.Close()
			}()
			state, file, err := receiveState(conn)
			_ = conn.Close()
			<-sent
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if state.Pid != 7 {
					t.Errorf("%+v", state)
				}
				if flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
					t.Errorf("flags %#x, %v: not close-on-exec", flags, err)
				}
				if n := countMarked(t); n != 2 {
					t.Errorf("%d descriptors, want the one that was sent and the one that was received", n)
				}
				_ = file.Close()
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if n := countMarked(t); n != 1 {
				t.Errorf("%d descriptors are left, want the one that was sent", n-1)
			}
		})
	}
}

func sendAll(socket int, message, rights []byte) error {
	for len(message) > 0 {
		n, err := unix.SendmsgN(socket, message, rights, nil, unix.MSG_NOSIGNAL)
		if err != nil {
			return err
		}
		message, rights = message[n:], nil
	}
	return nil
}

func FuzzReceiveState(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7}`), uint8(1), uint8(0))
	f.Add([]byte(`{"fds":["a","seccompFd"]}}`), uint8(2), uint8(3))
	f.Add([]byte(`{`), uint8(3), uint8(1))
	f.Fuzz(func(t *testing.T, message []byte, files, split uint8) {
		conn, sender := pair(t)
		fd := marked(t)
		var rights []byte
		if files > 0 {
			rights = unix.UnixRights(repeat(fd, min(int(files), maxFiles))...)
		}
		first := message[:min(len(message), int(split)+1)]
		_ = sendAll(int(sender.Fd()), first, rights)
		_ = sendAll(int(sender.Fd()), message[len(first):], rights)
		_ = sender.Close()
		state, file, err := receiveState(conn)
		if (err == nil) != (state != nil && file != nil) {
			t.Fatalf("%v, %v, %v", state, file, err)
		}
		if err == nil {
			if _, err := notifyFile(file); err == nil {
				t.Error("a memfd was taken for a notify descriptor")
			}
		}
		if n := countMarked(t); n != 1 {
			t.Errorf("%d descriptors are left", n-1)
		}
	})
}

func FuzzControlMessages(f *testing.F) {
	f.Add(unix.UnixCredentials(&unix.Ucred{}))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, control []byte) {
		// Skip SCM_RIGHTS: only the kernel can make messages whose numbers are valid descriptors.
		if bytes.Contains(control, []byte{1, 0, 0, 0, 1, 0, 0, 0}) {
			return
		}
		if files, _ := receivedFiles(control); len(files) != 0 {
			t.Errorf("%d files", len(files))
		}
	})
}

// TestListenerGarbage checks that nothing sent to the socket keeps out the next runtime.
func TestListenerGarbage(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	fd := marked(t)
	for _, test := range []struct{ message, want string }{
		{"", "EOF"},
		{"garbage", "EOF"},
		{`{"fds":["seccompFd"]}`, `in place of a seccomp notify descriptor`},
	} {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.WriteMsgUnix([]byte(test.message), unix.UnixRights(fd), nil); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		select {
		case err := <-s.reports:
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q: %v, want %q", test.message, err, test.want)
			}
		case <-time.After(handshake + 5*time.Second):
			t.Errorf("%q: not reported", test.message)
		}
	}
	if n := countMarked(t); n != 1 {
		t.Errorf("%d descriptors are left", n-1)
	}
	p := startProcess(t, s.path, processOptions{})
	if _, errno := p.say("n %d 16 1", unix.SYS_PTRACE); errno != unix.EPERM {
		t.Errorf("%v, want EPERM", errno)
	}
}

func TestListenerAttached(t *testing.T) {
	states := make(chan specs.ContainerProcessState, 2)
	s := serve(t, ListenOptions{Attached: func(state *specs.ContainerProcessState) error {
		states <- *state
		if state.State.ID != "mine" {
			return errors.New("not one of ours")
		}
		return nil
	}}, Answer{})
	p := startProcess(t, s.path, processOptions{message: `{"fds":["seccompFd"],"pid":12,"state":{"id":"mine"}}`})
	if _, errno := p.say("n %d 16 1", unix.SYS_PTRACE); errno != unix.EPERM {
		t.Errorf("%v, want EPERM", errno)
	}
	if call, state := s.only(t), <-states; call.Process != 12 || state.Pid != 12 || state.State.ID != "mine" {
		t.Errorf("%+v, %+v", call, state)
	}
	refused := startProcess(t, s.path, processOptions{})
	if err := <-s.reports; !strings.Contains(err.Error(), "not one of ours") {
		t.Error(err)
	}
	if _, errno := refused.say("n %d 16 1", unix.SYS_PTRACE); errno != unix.ENOSYS {
		t.Errorf("%v, want ENOSYS", errno)
	}
}

func TestListenRefuses(t *testing.T) {
	open := t.TempDir() + "/open"
	if err := os.MkdirAll(open, 0o755); err != nil {
		t.Fatal(err)
	}
	occupied := t.TempDir() + "/private"
	if err := os.MkdirAll(occupied, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(occupied+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		open + "/notify.sock":                 "chmod 0700",
		"/run/" + strings.Repeat("long/", 30): "paths.run",
		occupied + "/file":                    "address already in use",
		occupied + "/file/notify.sock":        "not a directory",
	} {
		l, err := Listen(path, ListenOptions{})
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestListenReplaces checks that a socket left by a killed shim is replaced.
func TestListenReplaces(t *testing.T) {
	path := t.TempDir() + "/private/notify.sock"
	first, err := Listen(path, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first.socket.SetUnlinkOnClose(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	second.Serve(ctx, &judgeFunc{})
}

// TestListenerOnlyRoot checks that another user cannot attach, even one who has the socket open.
func TestListenerOnlyRoot(t *testing.T) {
	needRoot(t)
	conn, _ := pair(t)
	if err := fromRoot(conn); err != nil {
		t.Errorf("root: %v", err)
	}
	const nobody = 65534
	theirs := make(chan *net.UnixConn)
	go func() {
		// Only this thread changes credentials, and it ends with the goroutine.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Error(errno)
		}
		conn, _ := pair(t)
		theirs <- conn
	}()
	if err := fromRoot(<-theirs); err == nil || !strings.Contains(err.Error(), "user 65534") {
		t.Errorf("nobody: %v", err)
	}
}
