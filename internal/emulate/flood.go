package emulate

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Flooded is the result of a flood.
type Flooded struct {
	Attempts int `json:"attempts"`
	Refused  int `json:"refused"` // failed with EPERM
	Through  int `json:"through"` // read the victim's memory
	// Took is the elapsed time, in nanoseconds, with all threads running at once.
	Took time.Duration `json:"took_ns"`
}

// Flood tries to read the victim's secret repeatedly, as fast as the kernel allows, on the given
// number of threads at once. An error other than EPERM ends it.
func Flood(victim *Victim, attempts, threads int) (Flooded, error) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		sum   Flooded
		first error
	)
	from := time.Now()
	for thread := range threads {
		share := attempts / threads
		if thread < attempts%threads {
			share++
		}
		group.Go(func() {
			mine, err := flood(victim, share)
			mu.Lock()
			defer mu.Unlock()
			sum.Attempts += mine.Attempts
			sum.Refused += mine.Refused
			sum.Through += mine.Through
			if first == nil {
				first = err
			}
		})
	}
	group.Wait()
	sum.Took = time.Since(from)
	return sum, first
}

// flood makes the attempts with signals blocked. A call that a signal interrupts just as it is
// answered never gets the answer: it is made, refused and counted once more (kernel/seccomp.c,
// seccomp_do_user_notification).
func flood(victim *Victim, attempts int) (sum Flooded, err error) {
	into := make([]byte, secretLength)
	local := []unix.Iovec{{Base: &into[0], Len: secretLength}}
	remote := []unix.RemoteIovec{{Base: uintptr(victim.Address), Len: secretLength}}
	err = withoutSignals(func() error {
		for range attempts {
			sum.Attempts++
			switch _, err := unix.ProcessVMReadv(victim.PID, local, remote, 0); err {
			case nil:
				sum.Through++
			case unix.EPERM:
				sum.Refused++
			default:
				return named("process_vm_readv", err)
			}
		}
		return nil
	})
	return sum, err
}
