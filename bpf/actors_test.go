package bpf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	secret  = "the-secret-of-the-victim"
	planted = "THE-SECRET-WAS-CHANGED!!"
)

// play plays the part named in args and returns the exit status: 0 if it got the secret (then the
// last line it prints), 1 if it was refused.
func play(args []string) int {
	input := bufio.NewReader(os.Stdin)
	switch part, args := args[0], args[1:]; part {
	case "gate":
		return playGate("/proc/self/exe", args)
	case "exec": // PATH PART…: as another executable
		return fail(syscall.Exec(args[0], args, os.Environ()))
	case "scripted": // FILE PART…: the arguments that a script's interpreter gets
		return play(args[1:])
	case "as": // UID PART…: as another effective user, which the kernel's own check still treats as root
		return playAs(args)
	case "thread-exec": // PART…: execed by a thread that is not its group's leader
		failed := make(chan int)
		for range 2 { // at least one of the two is not the main thread
			go func() {
				runtime.LockOSThread()
				if unix.Gettid() == os.Getpid() {
					select {}
				}
				failed <- fail(syscall.Exec("/proc/self/exe", append([]string{"part"}, args...), os.Environ()))
			}()
		}
		return <-failed
	case "victim":
		return playVictim(input)
	case "network":
		return playNetwork(args[0])
	case "fork":
		return playFork(args)
	case "child":
		return playParent()
	case "sleep":
		fmt.Println("asleep")
		_, _ = input.ReadString('\n')
		return 0
	case "escape": // CGROUP PART…: after moving out of the container's cgroup
		if err := os.WriteFile(args[0]+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fail(err)
		}
		return play(args[1:])
	case "moved": // CGROUP PART…: after moving into a cgroup, under another root
		return playMoved(args[0], args[1:])
	case "flood":
		return playFlood(input, args)
	case "many": // COUNT PID ADDRESS
		count, _ := strconv.Atoi(args[0])
		for range count - 1 {
			if status := attack("vm-read", args[1:], io.Discard); status != 0 {
				return status
			}
		}
		return playAttack("vm-read", args[1:])
	case "self-write":
		return playSelf()
	case "traceme":
		return playTraced()
	case "receive":
		return playReceive(args)
	case "take": // PID FD ADDRESS
		return playTake(args)
	case "reap": // PID
		return playReap(args[0])
	case "trace-early": // PID
		return playTraceEarly(args[0])
	case "sample-early": // PID
		return playSampleEarly(args[0])
	case "overrun": // PID
		return playOverrun(args[0])
	case "set": // FILE
		return playSet(args[0])
	case "open": // FILE FLAGS
		return playOpen(args[0], args[1])
	default:
		return playAttack(part, args)
	}
}

// playGate waits for a line and then execs, as a runtime's init does.
func playGate(exe string, part []string) int {
	fmt.Println("at the gate")
	// Read one byte at a time: the rest of the input is for the part.
	line := make([]byte, 1)
	for line[0] != '\n' {
		if _, err := os.Stdin.Read(line); err != nil {
			return 2
		}
	}
	return fail(syscall.Exec(exe, append([]string{"part"}, part...), os.Environ()))
}

// playParent reads the memory of its own child.
func playParent() int {
	child := exec.Command("/proc/self/exe", "victim")
	child.Env = os.Environ()
	if _, err := child.StdinPipe(); err != nil {
		return fail(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := child.Start(); err != nil {
		return fail(err)
	}
	defer func() { _ = child.Process.Kill() }()
	var pid, address string
	if _, err := fmt.Fscan(out, &pid, &address); err != nil {
		return fail(err)
	}
	return playAttack("vm-read", []string{pid, address})
}

// playFlood alternately reads and writes the victim's memory COUNT times, so that each access is an
// event of its own, then reports, waits for a line and tries once more.
func playFlood(input *bufio.Reader, args []string) int {
	count, _ := strconv.Atoi(args[0])
	pid, _ := strconv.Atoi(args[1])
	address, _ := strconv.ParseUint(args[2], 10, 64)
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(secret)}}
	buffer := make([]byte, len(secret))
	for i := range count {
		var err error
		if i%2 == 0 {
			_, err = unix.ProcessVMReadv(pid, vectorOf(buffer), remote, 0)
		} else {
			_, err = unix.ProcessVMWritev(pid, vectorOf(buffer), remote, 0)
		}
		if err != nil {
			return fail(err)
		}
	}
	fmt.Println("flooded")
	_, _ = input.ReadString('\n')
	return playAttack("vm-read", args[1:])
}

func playAs(args []string) int {
	uid, err := strconv.Atoi(args[0])
	if err == nil {
		err = syscall.Setresuid(-1, uid, -1)
	}
	if err != nil {
		fmt.Println("as:", err)
		return 2
	}
	return play(args[1:])
}

// playSelf writes its own memory through procfs, on a page that is otherwise read-only.
func playSelf() int {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fail(err)
	}
	if err := useMem("/proc/self/mem", []byte(secret), nil, uint64(uintptr(unsafe.Pointer(&page[0])))); err != nil {
		return fail(err)
	}
	fmt.Println(string(page[:len(secret)]))
	return 0
}

// playTraced runs a child that asks to be traced.
func playTraced() int {
	runtime.LockOSThread()
	child := exec.Command("/proc/self/exe", "sleep")
	child.Env = os.Environ()
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := child.Start(); err != nil {
		return fail(err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	return 0
}

// playReceive takes a descriptor from the socket at descriptor 3 and reads it at ADDRESS.
func playReceive(args []string) int {
	oob := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(3, make([]byte, 1), oob, 0)
	if err != nil {
		return fail(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return fail(fmt.Errorf("no descriptor: %w", err))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return fail(err)
	}
	return playAttack("fd-read", []string{strconv.Itoa(fds[0]), args[0]})
}

func fail(err error) int {
	fmt.Println("failed:", err)
	return 1
}

func playVictim(input *bufio.Reader) int {
	flags := unix.MAP_PRIVATE | unix.MAP_ANON
	if runtime.GOARCH == "amd64" {
		flags |= 0x40 // MAP_32BIT: within reach of system calls through the 32-bit entry
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return fail(err)
	}
	copy(page, secret)
	fmt.Println(os.Getpid(), uintptr(unsafe.Pointer(&page[0])))
	for {
		if _, err := input.ReadString('\n'); err != nil {
			return 0
		}
		fmt.Println(string(page[:len(secret)]))
	}
}

// playNetwork accepts a connection, connects to a server, and sends UDP to nobody.
func playNetwork(server string) int {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	fmt.Println(listener.Addr())
	if _, err := listener.Accept(); err != nil {
		return fail(err)
	}
	for _, peer := range [][2]string{{"tcp", server}, {"udp", "[::1]:9"}} {
		conn, err := net.Dial(peer[0], peer[1])
		if err != nil {
			return fail(err)
		}
		_, _ = conn.Write([]byte("hello"))
		conn.Close()
	}
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	if _, err := socket.WriteTo([]byte("hello"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 9}); err != nil {
		return fail(err)
	}
	return 0
}

// playFork plays the rest in a child process and returns its exit status.
func playFork(args []string) int {
	child := exec.Command("/proc/self/exe", args...)
	child.Env, child.Stdin, child.Stdout = os.Environ(), os.Stdin, os.Stdout
	if err := child.Run(); err != nil {
		return fail(err)
	}
	return 0
}

// playAttack tries to get the victim's secret: VECTOR PID ADDRESS.
func playAttack(vector string, args []string) int {
	return attack(vector, args, os.Stdout)
}

func attack(vector string, args []string, out io.Writer) int {
	pid, _ := strconv.Atoi(args[0])
	address, _ := strconv.ParseUint(args[1], 10, 64)
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(secret)}}
	buffer := make([]byte, len(secret))
	var err error
	switch vector {
	case "mem-read":
		err = useMem("/proc/"+args[0]+"/mem", nil, buffer, address)
	case "mem-write":
		err = useMem("/proc/"+args[0]+"/mem", []byte(planted), nil, address)
	case "task-mem-read":
		err = useMem("/proc/"+args[0]+"/task/"+args[0]+"/mem", nil, buffer, address)
	case "fd-read": // the first argument is a descriptor
		_, err = unix.Pread(pid, buffer, int64(address))
	case "thread-read":
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			done <- useMem("/proc/"+args[0]+"/mem", nil, buffer, address)
		}()
		err = <-done
	case "vm-read":
		_, err = unix.ProcessVMReadv(pid, vectorOf(buffer), remote, 0)
	case "vm-write":
		_, err = unix.ProcessVMWritev(pid, vectorOf([]byte(planted)), remote, 0)
	case "getfd": // the second argument is the victim's descriptor
		var pidfd int
		if pidfd, err = unix.PidfdOpen(pid, 0); err == nil {
			_, err = unix.PidfdGetfd(pidfd, int(address), 0)
		}
	case "kcmp":
		err = errnoOf(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), kcmpVM)
	case "pages":
		page, status := uintptr(address), int32(0)
		err = errnoOf(unix.SYS_MOVE_PAGES, uintptr(pid), 1, uintptr(unsafe.Pointer(&page)), 0, uintptr(unsafe.Pointer(&status)))
	case "advise":
		var pidfd int
		if pidfd, err = unix.PidfdOpen(pid, 0); err == nil {
			page := unix.RemoteIovec{Base: uintptr(address) &^ uintptr(os.Getpagesize()-1), Len: os.Getpagesize()}
			err = errnoOf(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&page)), 1, unix.MADV_COLD)
		}
	case "perf":
		_, err = unix.PerfEventOpen(&unix.PerfEventAttr{
			Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		}, pid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	case "core-limit":
		err = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	case "peek", "poke":
		err = usePtrace(pid, vector == "poke", buffer, uintptr(address))
	default:
		err = fmt.Errorf("no part %q", vector)
	}
	if err != nil {
		return fail(err)
	}
	fmt.Fprintln(out, string(buffer))
	return 0
}

// kcmpVM is KCMP_VM of linux/kcmp.h.
const kcmpVM = 1

func errnoOf(call uintptr, args ...uintptr) error {
	args = append(args, make([]uintptr, 6-len(args))...)
	if _, _, errno := unix.Syscall6(call, args[0], args[1], args[2], args[3], args[4], args[5]); errno != 0 {
		return errno
	}
	return nil
}

func usePtrace(pid int, write bool, buffer []byte, address uintptr) error {
	runtime.LockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return err
	}
	defer func() { _ = unix.PtraceDetach(pid) }()
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return err
	}
	var err error
	if write {
		_, err = unix.PtracePokeData(pid, address, []byte(planted))
	} else {
		_, err = unix.PtracePeekData(pid, address, buffer)
	}
	return err
}

func vectorOf(buffer []byte) []unix.Iovec {
	v := []unix.Iovec{{Base: &buffer[0]}}
	v[0].SetLen(len(buffer))
	return v
}

// useMem writes to a mem file, or reads from it if there is nothing to write.
func useMem(path string, write, read []byte, address uint64) error {
	flags := os.O_RDONLY
	if write != nil {
		flags = os.O_WRONLY
	}
	mem, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	if write != nil {
		_, err = mem.WriteAt(write, int64(address))
	} else {
		_, err = mem.ReadAt(read, int64(address))
	}
	return err
}
