package emulate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processMrelease asks the kernel to reap a process's memory. The kernel does that only for a
// process that is being killed, and checks no credentials.
func processMrelease(s *striker) error {
	pidfd, err := unix.PidfdOpen(s.Victim.PID, 0)
	if err != nil {
		return named("pidfd_open", err)
	}
	s.at("process_mrelease")
	_, _, errno := unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(pidfd), 0, 0)
	if errno == unix.EINVAL {
		errno = 0 // the kernel looked at the victim, which is not dying
	}
	return errors.Join(result("process_mrelease", errno), unix.Close(pidfd))
}

// movePages asks on which NUMA node the victim's page is; it moves none.
func movePages(s *striker) error {
	page := uintptr(s.Victim.Address)
	// The answer goes to the shared page, so that the judge sees it even if this process is killed.
	answer := &s.proof[proofAnswer]
	binary.NativeEndian.PutUint32(s.proof[proofAnswer:], noAnswer)
	binary.NativeEndian.PutUint32(s.proof[proofAsked:], asked)
	s.at("move_pages")
	//nolint:gosec // what a system call takes are addresses
	_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, uintptr(s.Victim.PID), 1, uintptr(unsafe.Pointer(&page)), 0, uintptr(unsafe.Pointer(answer)), 0)
	return result("move_pages", errno)
}

// perfEvent samples the victim's registers and stack, as a profiler does.
func perfEvent(s *striker) error {
	return s.openPerf(s.Victim.PID, -1)
}

// perfAll does so for everything that runs on the first CPU, in any container.
func perfAll(s *striker) error { return s.openPerf(-1, 0) }

func (s *striker) openPerf(pid, cpu int) error {
	const stackSize = 4096
	s.at("perf_event_open")
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: 1_000_000, Sample_type: unix.PERF_SAMPLE_REGS_USER | unix.PERF_SAMPLE_STACK_USER,
		Sample_regs_user: 1, Sample_stack_user: stackSize,
	}, pid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return named("perf_event_open", err)
	}
	return unix.Close(fd)
}

// coreLimit sets the victim's limit for the size of a core, to its current value.
func coreLimit(s *striker) error {
	var limit unix.Rlimit
	_, _, errno := unix.Syscall6(unix.SYS_PRLIMIT64, uintptr(s.Victim.PID), unix.RLIMIT_CORE, 0, uintptr(unsafe.Pointer(&limit)), 0, 0) //nolint:gosec // what a system call takes are addresses
	if errno != 0 {
		return named("prlimit", errno)
	}
	s.at("prlimit(RLIMIT_CORE)")
	// Not unix.Prlimit: it does not tell the scheduler that the call blocks, and the scheduler then
	// sends signals that interrupt the wait.
	_, _, errno = unix.Syscall6(unix.SYS_PRLIMIT64, uintptr(s.Victim.PID), unix.RLIMIT_CORE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0) //nolint:gosec // what a system call takes are addresses
	return result("prlimit", errno)
}

// bpfLoad loads, but does not attach, a program of a type that can read any process's memory.
// Signals are blocked meanwhile: the verifier gives up when one is pending (do_check: EAGAIN), and
// Go's scheduler sends them.
func bpfLoad(s *striker) error {
	instructions := [...]uint64{0x00000000000000b7, 0x0000000000000095} // r0 = 0; exit
	license := [...]byte{'G', 'P', 'L', 0}
	attributes := struct {
		kind, count           uint32
		instructions, license uint64
		rest                  [96]byte
	}{kind: unix.BPF_PROG_TYPE_KPROBE, count: uint32(len(instructions))}
	attributes.instructions = uint64(uintptr(unsafe.Pointer(&instructions))) //nolint:gosec // what a system call takes are addresses
	attributes.license = uint64(uintptr(unsafe.Pointer(&license)))           //nolint:gosec // what a system call takes are addresses
	return withoutSignals(func() error {
		s.at("bpf(BPF_PROG_LOAD)")
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes)) //nolint:gosec // the same
		if errno != 0 {
			return named("bpf(BPF_PROG_LOAD)", errno)
		}
		return unix.Close(int(fd))
	})
}

func devMem(s *striker) error { return s.openDevice(unix.Mkdev(1, 1)) }

func devPort(s *striker) error { return s.openDevice(unix.Mkdev(1, 4)) }

// openDevice opens one of the node's devices for reading, but reads nothing: in /dev/mem, most
// kernels show only what belongs to devices (CONFIG_STRICT_DEVMEM), for which a read may have side
// effects. A container has no such device node, so openDevice creates one.
func (s *striker) openDevice(device uint64) error {
	return s.inOwnMounts(func(dir string) error {
		path := filepath.Join(dir, "harmless.txt")
		s.at("mknod")
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(device)); err != nil { //nolint:gosec // of 32 bits
			return named("mknod", err)
		}
		s.at("open")
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("this kernel has no such device: %w", unix.ENOSYS)
		}
		if err != nil {
			return named("open", err)
		}
		return unix.Close(fd)
	})
}

func corePatternOpened(s *striker) error { return s.openSwitch("proc", "sys/kernel/core_pattern") }

func ftraceEnabledOpened(s *striker) error { return s.openSwitch("proc", "sys/kernel/ftrace_enabled") }

func uprobeEventsOpened(s *striker) error { return s.openSwitch("tracefs", "uprobe_events") }

// swapon names a file that does not exist. The kernel looks it up only after it has checked the
// caller's capability.
func swapon(s *striker) error {
	path, err := unix.BytePtrFromString("/no such device")
	if err != nil {
		return err
	}
	s.at("swapon")
	_, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0) //nolint:gosec // what a system call takes are addresses
	if errno == unix.ENOENT {
		errno = 0
	}
	return result("swapon", errno)
}

// openSwitch opens one of the node's settings for writing, but writes nothing, as the node is in
// use. A container's own /proc/sys is read-only; a new procfs mount is writable.
func (s *striker) openSwitch(filesystem, name string) error {
	return s.inOwnMounts(func(dir string) error {
		s.at("mount -t " + filesystem)
		err := unix.Mount(filesystem, dir, filesystem, 0, "")
		if errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("this kernel has no %s: %w", filesystem, unix.ENOSYS)
		}
		if err != nil {
			return named("mount -t "+filesystem, err)
		}
		path := filepath.Join(dir, name)
		s.at("open " + path)
		file, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // of this thread's own mount
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("this kernel has no %s: %w", path, unix.ENOSYS)
		}
		if err != nil {
			return err
		}
		return file.Close()
	})
}
