package bpf

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

const (
	schedDeadline    = 6
	schedFlagOverrun = 4 // SCHED_FLAG_DL_OVERRUN of include/uapi/linux/sched.h
)

// playOverrun makes the kernel send a process SIGXCPU as soon as it exceeds the CPU time given to
// it here. No resource limit is set and no process sends a signal.
func playOverrun(target string) int {
	pid, _ := strconv.Atoi(target)
	const millisecond = 1_000_000
	err := unix.SchedSetAttr(pid, &unix.SchedAttr{
		Policy: schedDeadline, Flags: schedFlagOverrun,
		Runtime: 5 * millisecond, Deadline: 100 * millisecond, Period: 100 * millisecond,
	}, 0)
	if err != nil {
		return fail(err)
	}
	fmt.Println("set")
	return 0
}

// spinning returns a program that uses a whole CPU and has no signal handlers.
func spinning() []string {
	return []string{"exec", "/bin/sh", "-c", "echo spinning; while :; do :; done"}
}

// A process that sets another's deadline can request that overruns be signaled, with a signal that
// dumps core. This is refused from another container.
func TestLSMOverrun(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	overrun := func(p *process) []string { return []string{"overrun", strconv.Itoa(p.cmd.Process.Pid)} }

	free := start(t, nil, nil, spinning()...)
	free.expect("spinning")
	if said, status := start(t, outside(), nil, overrun(free)...).end(); said != "set" {
		t.Fatalf("at an unguarded one, it ended with %v and said %q: this proves nothing", status, said)
	}
	if _, ended := free.end(); ended.Signal() != syscall.SIGXCPU {
		t.Fatalf("an unguarded one ended with %v: this proves nothing", ended)
	}

	inside := newContainer(t, node, plan("overruns", policy.ModeEnforce, allRefused()))
	target := inside.run(spinning()...)
	target.expect("spinning")
	if said, status := start(t, outside(), nil, overrun(target)...).end(); said != "failed: operation not permitted" {
		t.Errorf("from outside, it ended with %v and said %q", status, said)
	}
	inside.expect(want{
		vector: access.VectorCoreDump, operation: access.OperationRead, relation: access.RelationOtherContainer,
		verdict: access.VerdictRefused, sensor: access.SensorLSM, flags: FlagInbound | FlagInboundRule, target: target.cmd.Process.Pid,
	})
	other := newContainer(t, node, plan("sets", policy.ModeEnforce, allRefused()))
	if said, status := other.run(overrun(target)...).end(); said != "failed: operation not permitted" {
		t.Errorf("by a guarded one, it ended with %v and said %q", status, said)
	}
	other.expect(want{vector: access.VectorCoreDump, relation: access.RelationOtherContainer, verdict: access.VerdictRefused, sensor: access.SensorLSM})

	// Within one container it is allowed.
	if said, status := inside.join(overrun(target)...).end(); said != "set" {
		t.Errorf("within the container, it ended with %v and said %q", status, said)
	}
	if _, ended := target.end(); ended.Signal() != syscall.SIGXCPU {
		t.Errorf("the target ended with %v", ended)
	}
}
