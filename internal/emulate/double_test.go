package emulate

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A victim must keep its descriptors open, for attacks to use, as long as it runs, although doubles
// come and go.
func TestVictimKeepsItsDescriptors(t *testing.T) {
	if !hasSharedMemory() {
		t.Fatal("needs a tmpfs at " + sharedMemory)
	}
	// Make the garbage collector run often: it runs about once per MiB at most, and starting a
	// double copies the environment.
	t.Setenv("GOGC", "1")
	t.Setenv("SHIMWARD_TEST_GARBAGE", strings.Repeat("x", 100<<10))
	victim := outside(t)
	want := descriptors(t, victim)
	var last int
	for range 30 {
		last = nextDouble(t, victim.PID, last)
		if err := unix.Kill(last, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := descriptors(t, victim); got != want {
			t.Fatalf("its descriptors are %s, and were %s", got, want)
		}
	}
}

// descriptors returns what the descriptors that the victim's command line names refer to.
func descriptors(t *testing.T, victim Victim) string {
	t.Helper()
	var all []string
	for _, fd := range []int{victim.MemFD, victim.ShmFD, victim.UserFD} {
		to, err := os.Readlink(procDir(victim.PID) + "/fd/" + strconv.Itoa(fd))
		if err != nil {
			to = err.Error()
		}
		all = append(all, fmt.Sprintf("%d: %s", fd, to))
	}
	return strings.Join(all, ", ")
}

// nextDouble waits for a double of the victim other than the previous one.
func nextDouble(t *testing.T, victim, before int) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		pid, err := doubleOf(victim)
		if err != nil {
			t.Fatal(err)
		}
		if pid != 0 && pid != before {
			return pid
		}
	}
	t.Fatalf("the victim %d has no double", victim)
	return 0
}
