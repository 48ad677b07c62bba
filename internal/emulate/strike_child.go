package emulate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

type announcement struct {
	victim Victim
	err    error
}

// startVictim starts a victim as a child of the attacker and waits until it has planted its secret.
func (s *striker) startVictim() error {
	announced, err := s.launchVictim(nil)
	if err != nil {
		return err
	}
	return s.adopt(<-announced)
}

func (s *striker) adopt(news announcement) error {
	if news.err != nil {
		return fmt.Errorf("starting a victim: %w", news.err)
	}
	s.Victim = news.victim
	return s.out.Encode(Line{Victim: &news.victim})
}

// launchVictim starts a victim, with the further arguments. The victim ends with the pipe that the
// judge holds, not with its parent: the judge still has a question for it after the attacker was
// killed.
func (s *striker) launchVictim(attr *syscall.SysProcAttr, further ...string) (<-chan announcement, error) {
	stop, err := ownFile(s.Stop, "stop")
	if err != nil {
		return nil, err
	}
	defer stop.Close() //nolint:errcheck // only handed on
	command, announced, err := victimCommand(s.Self, stop)
	if err != nil {
		return nil, err
	}
	command.SysProcAttr = attr
	command.Args = append(command.Args, further...)
	return announced(command.Start())
}

// victimCommand prepares a victim that ends when stop is closed. The returned function takes the
// result of starting the command, and returns a channel for what the victim announces.
func victimCommand(self []string, stop *os.File) (*exec.Cmd, func(error) (<-chan announcement, error), error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	command := exec.Command(selfExe) //nolint:noctx // it ends with stop
	command.Args = append(append([]string{}, self...), "victim", "--json", "--stop-fd=3")
	command.Stdout, command.Stderr = write, os.Stderr
	command.ExtraFiles = []*os.File{stop}
	return command, func(startErr error) (<-chan announcement, error) {
		closeErr := write.Close()
		if startErr != nil || closeErr != nil {
			return nil, errors.Join(startErr, closeErr, read.Close())
		}
		announced := make(chan announcement, 1)
		go func() {
			var news announcement
			news.err = json.NewDecoder(read).Decode(&news.victim)
			announced <- news
		}()
		return announced, nil
	}, nil
}

// passSignal resumes whichever thread of the tracee has stopped, if one has, and delivers the
// signal that it stopped for.
func (s *striker) passSignal(tracee int) error {
	var status unix.WaitStatus
	tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOHANG, nil)
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return named("wait4", err)
	case tid == 0:
		return nil
	case status.Stopped():
		// This is a thread of another process, a child of the tracee. What it starts in turn must
		// not be traced, and it must outlive the attempt.
		if errors.Is(unix.Tgkill(tracee, tid, 0), unix.ESRCH) {
			if err := ptrace(unix.PTRACE_SETOPTIONS, tid, 0, unix.PTRACE_O_TRACECLONE); err != nil && !errors.Is(err, unix.ESRCH) {
				return named("ptrace(PTRACE_SETOPTIONS)", err)
			}
		}
		return resume(tid, status)
	case tid == tracee:
		return errors.New("the traced child ended: " + strconv.Itoa(int(status)))
	default:
		return nil // one of its threads ended, in an exec
	}
}
