// Command standin is what the images of the peers' tests run where the real programs are not
// available. What it does depends on the name it is called by: pause waits until it is terminated,
// nginx and httpd serve a page, nc listens until it is terminated, and nnp prints the user that it
// runs as. As modernize it is not part of an image: it prepares a bundle of 2018 for a current OCI
// runtime.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errTerminated makes the process exit with the status that a shell reports after SIGTERM.
var errTerminated = errors.New("terminated")

func main() {
	err := run(os.Args)
	if errors.Is(err, errTerminated) {
		os.Exit(128 + int(unix.SIGTERM))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	defer stop()
	name := filepath.Base(args[0])
	if master, ok := strings.CutPrefix(args[0], masterPrefix); ok {
		name = master
	}
	switch name {
	case "pause":
		return pause(ctx)
	case "nginx", "httpd":
		port := "80"
		if len(args) > 1 {
			port = args[1]
		}
		if name == "nginx" && !strings.HasPrefix(args[0], masterPrefix) {
			// Tests look for the command line that nginx sets for itself.
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return unix.Exec(self, []string{masterPrefix + name, port}, os.Environ())
		}
		return serve(ctx, name, port)
	case "nc":
		return listen(ctx, args[1:])
	case "nnp":
		fmt.Fprintf(os.Stdout, "Effective uid: %d\n", os.Geteuid())
		return nil
	case "modernize":
		return modernize(args[1:])
	default:
		return fmt.Errorf("standin: run as %q, and stands in for pause, nginx, httpd, nc, nnp and modernize", name)
	}
}

// masterPrefix begins the command line of nginx's master process.
const masterPrefix = "nginx: master process "

// pause reaps orphans, as the init of a pod's pid namespace must, until ctx is done.
func pause(ctx context.Context) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			for {
				if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// listen implements `nc -l -p PORT`. It replaces the nc of Debian's busybox, which as the init of a
// pid namespace ignores SIGTERM, and which the suites' image does not have.
func listen(ctx context.Context, args []string) error {
	if len(args) != 3 || args[0] != "-l" || args[1] != "-p" {
		return fmt.Errorf("nc: understands -l -p PORT, and not %q", args)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+args[2])
	if err != nil {
		return err
	}
	<-ctx.Done()
	_ = listener.Close()
	return errTerminated
}

func serve(ctx context.Context, name, port string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return err
	}
	// Tests read this file to find the process.
	if err := os.WriteFile("/run/"+name+".pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil { //nolint:gosec // for everybody in the container
		return err
	}
	// The nginx image links its log to /dev/stderr, which nginx opens.
	log, err := os.OpenFile("/dev/stderr", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "%s: start worker processes\n", name)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "Welcome to a stand-in")
		}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}
