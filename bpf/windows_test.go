package bpf

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// readByte returns the part that reads the first byte of a file.
func readByte(path string) []string {
	return []string{"exec", "/bin/busybox", "sh", "-c", `/bin/busybox head -c 1 "$0" 2>&1`, path}
}

// refusedWindow checks that a guarded container is refused path, and that there is a record of it.
func refusedWindow(t *testing.T, node *Node, path string, vector access.Vector) {
	t.Helper()
	w := want{vector: vector, relation: access.RelationKernel, verdict: access.VerdictRefused, sensor: access.SensorLSM}
	c := newContainer(t, node, plan("window", policy.ModeEnforce, allRefused()))
	said, status := c.run(readByte(path)...).end()
	if status.ExitStatus() == 0 || !strings.Contains(said, "Permission denied") {
		t.Errorf("it was not refused: it ended with %v and said %q", status, said)
	}
	c.expect(w)
	// Opened neither for reading nor for writing, which still permits ioctl(2).
	c = newContainer(t, node, plan("ioctl", policy.ModeEnforce, allRefused()))
	if said, status := c.run("open", path, strconv.Itoa(unix.O_ACCMODE)).end(); !strings.HasSuffix(said, "permission denied") {
		t.Errorf("for ioctls, it ended with %v and said %q", status, said)
	}
	c.expect(w)
}

// refusedReceived checks that a guarded container that is sent a file does not get it, and that
// there is a record of it.
func refusedReceived(t *testing.T, node *Node, file *os.File, w want) {
	t.Helper()
	c := newContainer(t, node, plan("receives", policy.ModeEnforce, allRefused()))
	if said, status := c.receive(file, "0").end(); !strings.HasPrefix(said, "failed: no descriptor") {
		t.Errorf("it ended with %v and said %q", status, said)
	}
	c.expect(w)
}

// openWindow fails the test if a guarded container is refused path.
func openWindow(t *testing.T, node *Node, path string) {
	t.Helper()
	c := newContainer(t, node, plan("reads", policy.ModeEnforce, allRefused()))
	if said, status := c.run(readByte(path)...).end(); status.ExitStatus() != 0 {
		t.Errorf("it ended with %v and said %q", status, said)
	}
	if records := c.records(); len(records) > 0 {
		t.Errorf("%d records of what is nobody's business: %+v", len(records), *records[0])
	}
}

// The node's memory through /dev/mem, its ports through /dev/port and its hibernation image through
// /dev/snapshot, whatever the device files are named.
func TestLSMMemoryDevices(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	atZero := ""
	if runtime.GOARCH == "arm64" {
		atZero = "Input/output error" // memory need not begin at 0, as it does on x86
	}
	for _, device := range []struct {
		name   string
		number uint64
		fails  string // the device's own error when unguarded, which comes after the hook
	}{
		{name: "mem", number: unix.Mkdev(1, 1), fails: atZero},
		{name: "port", number: unix.Mkdev(1, 4), fails: "No such device or address"}, // these kernels have no ports
		{name: "snapshot", number: unix.Mkdev(10, 231), fails: "Input/output error"}, // there is no image
	} {
		t.Run(device.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "harmless")
			if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(device.number)); err != nil {
				t.Fatal(err)
			}
			said, status := start(t, nil, nil, readByte(path)...).end()
			if absent := device.fails != "" && strings.Contains(said, device.fails); status.ExitStatus() != 0 && !absent {
				t.Fatalf("unguarded, it ended with %v and said %q: this proves nothing", status, said)
			}
			refusedWindow(t, node, path, access.VectorKernelMem)
		})
	}
	t.Run("registers", func(t *testing.T) {
		if runtime.GOARCH != "amd64" {
			testenv.Elsewhere(t, "model-specific registers are x86's")
		}
		run := []string{"modprobe", "msr"}
		if out, err := exec.CommandContext(t.Context(), testenv.Program(t, run[0]), run[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", run, err, out)
		}
		const path = "/dev/cpu/0/msr"
		for flag, refused := range map[int]bool{unix.O_RDONLY: false, unix.O_WRONLY: true} {
			c := newContainer(t, node, plan("registers", policy.ModeEnforce, allRefused()))
			if said, status := c.run("open", path, strconv.Itoa(flag)).end(); (said == "opened") == refused {
				t.Errorf("with the flag %d, it ended with %v and said %q", flag, status, said)
			}
			if refused {
				c.expect(want{vector: access.VectorKernelMem, operation: access.OperationWrite, relation: access.RelationKernel, verdict: access.VerdictRefused, sensor: access.SensorLSM})
			}
		}
	})
	t.Run("null", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "harmless")
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
		openWindow(t, node, path)
	})
	t.Run("received", func(t *testing.T) {
		file, err := os.Open("/proc/kcore")
		if err != nil {
			t.Fatal(err)
		}
		defer shut(file)
		refusedReceived(t, node, file, want{vector: access.VectorKernelMem, relation: access.RelationKernel, verdict: access.VerdictRefused, sensor: access.SensorLSM})
	})
}

// The node's swap: a device, a file, the device that the file is on, and the disk of which such a
// device is a partition.
func TestLSMSwap(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	run := func(name string, arguments ...string) {
		t.Helper()
		ctx := context.WithoutCancel(t.Context()) // the cleanups use it too
		if out, err := exec.CommandContext(ctx, testenv.Program(t, name), arguments...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, out)
		}
	}
	swapon := func(path string) {
		t.Helper()
		run("mkswap", path)
		run("swapon", path)
		t.Cleanup(func() { run("swapoff", path) })
	}
	const size = 16 << 20
	run("modprobe", "brd", "rd_nr=4", "rd_size=16384", "max_part=2")
	t.Cleanup(func() { run("modprobe", "-r", "brd") })
	const device, disk, below, free = "/dev/ram0", "/dev/ram1", "/dev/ram2", "/dev/ram3"
	partition := addPartition(t, disk, 1<<20, size/2)
	dir := t.TempDir()
	file := filepath.Join(dir, "swapped-to")
	run("mkfs.ext4", "-q", below)
	if err := unix.Mount(below, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(file, make([]byte, size/2), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []string{device, disk, partition, below, file}

	for _, path := range all {
		t.Run("not yet/"+filepath.Base(path), func(t *testing.T) { openWindow(t, node, path) })
	}
	swapon(device)
	swapon(partition)
	swapon(file)
	for _, path := range all {
		t.Run(filepath.Base(path), func(t *testing.T) { refusedWindow(t, node, path, access.VectorSwap) })
	}
	t.Run("another", func(t *testing.T) { openWindow(t, node, free) })
	run("swapoff", device)
	t.Run("no more", func(t *testing.T) { openWindow(t, node, device) })
	run("swapon", device)
}

// addPartition creates the first partition of a disk and returns its device.
func addPartition(t *testing.T, disk string, start, length int64) string {
	t.Helper()
	file, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(file)
	// linux/blkpg.h: struct blkpg_partition in struct blkpg_ioctl_arg.
	partition := struct {
		start, length int64
		number        int32
		_             [128]byte
	}{start: start, length: length, number: 1}
	argument := struct {
		op, flags, length int32
		data              *byte
	}{op: unix.BLKPG_ADD_PARTITION, length: int32(unsafe.Sizeof(partition)), data: (*byte)(unsafe.Pointer(&partition))}

	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&argument))); errno != 0 {
		t.Fatal(os.NewSyscallError("BLKPG_ADD_PARTITION", errno))
	}
	return disk + "p1"
}

// playOpen opens a file with the given flags of open(2), unmodified.
func playOpen(path, flags string) int {
	number, err := strconv.Atoi(flags)
	if err != nil {
		return fail(err)
	}
	fd, err := unix.Open(path, number|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	if err := unix.Close(fd); err != nil {
		return fail(err)
	}
	fmt.Println("opened")
	return 0
}
