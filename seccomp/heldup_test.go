package seccomp

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
)

// heldEpoll returns an epoll whose fdinfo blocks its readers until the test ends: a thread waits to
// have events written to a page that nobody fills, and holds the epoll's lock meanwhile.
func heldEpoll(t *testing.T) (fd int) {
	t.Helper()
	const (
		uffdAPI, registerMissing = 0xaa, 1
		ioctlAPI, ioctlRegister  = 0xc018aa3f, 0xc020aa00 // include/uapi/linux/userfaultfd.h
	)
	uffd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		testenv.Elsewhere(t, "a kernel with userfaultfd: "+errno.Error())
	}
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	api := [3]uint64{uffdAPI}
	register := [4]uint64{uint64(uintptr(unsafe.Pointer(&page[0]))), uint64(len(page)), registerMissing}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uffd, ioctlAPI, uintptr(unsafe.Pointer(&api))); errno != 0 {
		t.Fatal(errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uffd, ioctlRegister, uintptr(unsafe.Pointer(&register))); errno != 0 {
		t.Fatal(errno)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	event, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&page[0])), 1, ^uintptr(0), 0, 0) //nolint:errcheck // it waits
	}()
	// The thread is there once the userfaultfd has a page fault to report.
	wait := []unix.PollFd{{Fd: int32(uffd), Events: unix.POLLIN}}
	if n, err := unix.Poll(wait, 60_000); n != 1 {
		t.Fatalf("nobody waits for the page: %v", err)
	}
	t.Cleanup(func() {
		_ = unix.Close(int(uffd)) // lets the thread continue
		<-done
		_ = unix.Munmap(page)
		_ = unix.Close(event)
		_ = unix.Close(epoll)
	})
	return epoll
}

// A descriptor that is not a pidfd, and whose fdinfo blocks its readers, must not block a worker.
func TestPIDFDHeldUp(t *testing.T) {
	epoll := heldEpoll(t)
	got := make(chan error, 1)
	go func() {
		_, err := procfs("/proc").pidfd(unix.Getpid(), epoll)
		got <- err
	}()
	select {
	case err := <-got:
		if err == nil {
			t.Error("an epoll is a pidfd")
		}
	case <-time.After(20 * time.Second):
		t.Error("the reader is held up")
	}
}
