package emulate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
)

// Guard says what the attempts that tamper with shimward go for. They need what privileged
// containers often have: parts of the node's file system, and the node's pid namespace.
type Guard struct {
	Host string `json:"host"` // where the node's /sys/fs/cgroup, /sys/fs/bpf/shimward, /run/shimward and /var/log/shimward are mounted
	Key  string `json:"key"`  // the name of a container's folder in run/shimward/containers; empty: what needs it, and so all that damages a guard, is not tried
}

// tampering returns the vectors that first tamper with shimward and then read the victim's secret:
// they got through only if that arrived. Two of them damage something for good, which belongs to the
// container that Guard.Key names: tamper-store comes before all that makes events, and tamper-pins
// after all that needs the pins.
func tampering() []Vector {
	return []Vector{
		{
			Name: "tamper-store", Goal: GoalSecret, Access: access.VectorProcessVMReadv, Operation: access.OperationRead,
			About: "empty the file of its guard's events, then process_vm_readv(2)", attack: tamperStore,
		},
		{
			Name: "tamper-pin", Goal: GoalSecret, Access: access.VectorBPF, Operation: access.OperationAttach,
			About:  "bpf(2): open the pin of shimward's map of policies, as if to change it, then read /proc/<pid>/mem",
			Follow: access.VectorProcMem, attack: tamperPin,
		},
		{
			Name: "tamper-link", Goal: GoalSecret, Access: access.VectorBPF, Operation: access.OperationAttach,
			About:  "bpf(2): open a link by its id, as if to detach it, then read /proc/<pid>/mem",
			Follow: access.VectorProcMem, attack: tamperLink,
		},
		{
			Name: "tamper-notify", Goal: GoalSecret, Access: access.VectorProcessVMReadv, Operation: access.OperationRead,
			About: "send garbage to the socket on which its shim receives seccomp listeners, then process_vm_readv(2)", attack: tamperNotify,
		},
		{
			Name: "tamper-shim", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "SIGSTOP its shim, then read /proc/<pid>/mem (then SIGCONT)", attack: tamperShim,
		},
		{
			Name: "tamper-cgroup", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "leave its container's cgroup (cgroup.procs), then read /proc/<pid>/mem", attack: tamperCgroup,
		},
		{
			Name: "tamper-pins", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "remove its guard's pins, then read /proc/<pid>/mem", attack: tamperPins,
		},
	}
}

// onNode returns the path of something on the node, which has to be there.
func (s *striker) onNode(path ...string) (string, error) {
	at := filepath.Join(append([]string{s.Guard.Host}, path...)...)
	if _, err := os.Lstat(at); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s is not there, mount the node's /%s (--host): %w", at, path[0], unix.ENOSYS)
	} else if err != nil {
		return "", err
	}
	return at, nil
}

// ofGuard returns the path of something that belongs to one container's guard.
func (s *striker) ofGuard(folder string, file ...string) (string, error) {
	if s.Guard.Key == "" {
		return "", fmt.Errorf("it takes the name of the guard to attack (--guard): %w", unix.ENOSYS)
	}
	// What is removed must not be more than that one's.
	if s.Guard.Key == "." || s.Guard.Key == ".." || strings.Contains(s.Guard.Key, "/") {
		return "", fmt.Errorf("%q is no name of a guard: write that of a folder in run/shimward/containers (--guard)", s.Guard.Key)
	}
	return s.onNode(append([]string{folder, s.Guard.Key}, file...)...)
}

// tamperStore empties the file that the attacker's events go to. The shim, which writes there,
// decides about what is read then.
func tamperStore(s *striker) error {
	path, err := s.ofGuard("var/log/shimward", "events.jsonl")
	if err != nil {
		return err
	}
	s.at("truncate " + path)
	if err := unix.Truncate(path, 0); err != nil {
		return named("truncate "+path, err)
	}
	return processVMReadv(s)
}

// garbage begins like the message of a runtime and does not end.
const garbage = `{"fds":["seccompFd"],`

// tamperNotify connects to where the runtime does. The shim, which answers there, decides about what
// is read then.
func tamperNotify(s *striker) error {
	path, err := s.ofGuard("run/shimward/containers", "notify.sock")
	if err != nil {
		return err
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return named("socket", err)
	}
	s.at("connect to " + path)
	err = named("connect to "+path, unix.Connect(sock, &unix.SockaddrUnix{Name: path}))
	if err == nil {
		_, err = unix.Write(sock, []byte(garbage))
	}
	if err = errors.Join(err, unix.Close(sock)); err != nil {
		return err
	}
	return processVMReadv(s)
}

// tamperCgroup moves this process to the root of every hierarchy, and so out of the cgroup by which
// its container is known.
func tamperCgroup(s *striker) error {
	root, err := s.onNode("sys/fs/cgroup")
	if err != nil {
		return err
	}
	lists, err := filepath.Glob(filepath.Join(root, "cgroup.procs"))
	if err == nil && len(lists) == 0 { // cgroup v1, and perhaps v2 beside it
		lists, err = filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	}
	if err != nil {
		return err
	}
	if len(lists) == 0 {
		return fmt.Errorf("%s is no cgroup file system (--host): %w", root, unix.ENOSYS)
	}
	for _, list := range lists {
		s.at("write to " + list)
		if err := os.WriteFile(list, []byte("0"), 0); err != nil { // 0 is whoever writes
			return err
		}
	}
	return procMemRead(s)
}

// tamperPins removes what keeps the attacker's guard in the kernel, should its shim end.
func tamperPins(s *striker) error {
	dir, err := s.ofGuard("sys/fs/bpf/shimward/containers")
	if err != nil {
		return err
	}
	s.at("remove " + dir)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return procMemRead(s)
}

// tamperShim stops the attacker's shim, so that nothing in user space decides about the read. The
// judge has it go on.
func tamperShim(s *striker) error {
	shim, err := shimOf(os.Getppid())
	if err != nil {
		return err
	}
	if err := s.out.Encode(Line{Stopped: shim}); err != nil {
		return err
	}
	s.at("kill(SIGSTOP)")
	if err := unix.Kill(shim, unix.SIGSTOP); err != nil {
		return named("kill", err)
	}
	if err := waitStopped(shim); err != nil {
		return err
	}
	return procMemRead(s)
}

func tamperPin(s *striker) error {
	dir, err := s.onNode("sys/fs/bpf/shimward")
	if err != nil {
		return err
	}
	const policies = "containers"
	pins, err := filepath.Glob(filepath.Join(dir, "node-*", policies))
	if err != nil {
		return err
	}
	if len(pins) == 0 {
		return fmt.Errorf("no node-*/%s in %s, so shimward has guarded nothing on this node: %w", policies, dir, unix.ENOSYS)
	}
	return s.openThenRead("BPF_OBJ_GET", func() (int, error) { return bpfPin(slices.Max(pins)) })
}

func tamperLink(s *striker) error { return s.openThenRead("BPF_LINK_GET_FD_BY_ID", bpfLink) }

// openThenRead gets a descriptor of one of the kernel's BPF objects and reads the secret while it is
// open. The object stays as it is: a change of it would be felt by the whole node.
func (s *striker) openThenRead(command string, open func() (int, error)) error {
	s.at("bpf(" + command + ")")
	fd, err := open()
	if err != nil {
		return named("bpf("+command+")", err)
	}
	return errors.Join(procMemRead(s), unix.Close(fd))
}
