package bpf

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	secret  = "the-secret-of-the-victim"
	planted = "THE-SECRET-WAS-CHANGED!!"
)

// play plays the part that args name and returns the exit status: 0 where it got
// the secret (which is then the last line it prints), 1 where it was refused.
func play(args []string) int {
	input := bufio.NewReader(os.Stdin)
	switch part, args := args[0], args[1:]; part {
	case "gate":
		fmt.Println("at the gate")
		// One byte at a time: what follows is for the part.
		line := make([]byte, 1)
		for line[0] != '\n' {
			if _, err := os.Stdin.Read(line); err != nil {
				return 2
			}
		}
		return fail(syscall.Exec("/proc/self/exe", append([]string{"part"}, args...), os.Environ()))
	case "victim":
		return playVictim(input)
	case "fork":
		return playFork(args)
	case "network":
		return playNetwork(args[0])
	case "escape":
		if err := os.WriteFile(args[0]+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fail(err)
		}
		return play(args[1:])
	default:
		return playAttack(part, args)
	}
}

func fail(err error) int {
	fmt.Println("failed:", err)
	return 1
}

func playVictim(input *bufio.Reader) int {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
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

// playNetwork talks to a server, by UDP to nobody, and is talked to.
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

// playFork plays the rest in a child process and passes its answer on.
func playFork(args []string) int {
	child := exec.Command("/proc/self/exe", args...)
	child.Env, child.Stdin, child.Stdout = os.Environ(), os.Stdin, os.Stdout
	if err := child.Run(); err != nil {
		return fail(err)
	}
	return 0
}

// playAttack reaches for the victim's secret: VECTOR PID ADDRESS.
func playAttack(vector string, args []string) int {
	pid, _ := strconv.Atoi(args[0])
	address, _ := strconv.ParseUint(args[1], 10, 64)
	buffer := make([]byte, len(secret))
	var err error
	switch vector {
	case "mem-read", "mem-write":
		err = useMem("/proc/"+args[0]+"/mem", vector == "mem-write", buffer, address)
	case "task-mem-read":
		err = useMem("/proc/"+args[0]+"/task/"+args[0]+"/mem", false, buffer, address)
	case "vm-read":
		_, err = unix.ProcessVMReadv(pid, vectorOf(buffer), []unix.RemoteIovec{{Base: uintptr(address), Len: len(buffer)}}, 0)
	case "vm-write":
		_, err = unix.ProcessVMWritev(pid, vectorOf([]byte(planted)), []unix.RemoteIovec{{Base: uintptr(address), Len: len(planted)}}, 0)
	default:
		return fail(fmt.Errorf("no part %q", vector))
	}
	if err != nil {
		return fail(err)
	}
	fmt.Println(string(buffer))
	return 0
}

func vectorOf(buffer []byte) []unix.Iovec {
	v := []unix.Iovec{{Base: &buffer[0]}}
	v[0].SetLen(len(buffer))
	return v
}

func useMem(path string, write bool, buffer []byte, address uint64) error {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	mem, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	if write {
		_, err = mem.WriteAt([]byte(planted), int64(address))
	} else {
		_, err = mem.ReadAt(buffer, int64(address))
	}
	return err
}
