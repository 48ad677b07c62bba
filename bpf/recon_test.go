package bpf

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// watching returns a profile that refuses everything, with the given action for recon.
func watching(recon policy.Action) policy.Rules {
	rules := allRefused()
	rules.Recon = recon
	return rules
}

// The fields of /proc/<pid>/stat that are addresses. Readers without ptrace access see 0 instead (1
// for those of the code). Fields are counted from 1, as in proc_pid_stat(5).
var addressFields = [...]int{26, 27, 28, 45, 46, 47, 48, 49, 50, 51}

// tellsAddresses reports whether a line of stat has addresses. It fails the test if only some of
// the fields have them.
func tellsAddresses(t *testing.T, stat string) bool {
	t.Helper()
	_, rest, found := strings.Cut(stat, ") ") // the part before is a name
	fields := strings.Fields(rest)
	if !found || len(fields) < 50 {
		t.Fatalf("that is no line of stat: %q", stat)
	}
	told := 0
	for _, number := range addressFields {
		value, err := strconv.ParseUint(fields[number-3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if value > 1 {
			told++
		}
	}
	if told > 0 && told < len(addressFields) {
		t.Errorf("it has %d of %d addresses: %q", told, len(addressFields), stat)
	}
	return told > 0
}

// stat shows where a process's stack and code are. It is read all the time, so there is no record,
// and only the addresses are hidden.
func TestLSMReconStat(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	victim := newVictim(t, nil)
	path, thread := "/proc/"+victim.pid+"/stat", "/proc/"+victim.pid+"/task/"+victim.pid+"/stat"
	cat := func(path string) []string { return []string{"exec", "/bin/busybox", "cat", path} }
	// The shell reads the file itself, so that the reader is the process that the file is about.
	own := []string{"exec", "/bin/busybox", "sh", "-c", `read -r line </proc/$$/stat; echo "$line"`}
	if said, _ := start(t, nil, nil, cat(path)...).end(); !tellsAddresses(t, said) {
		t.Fatalf("unguarded, it said %q: this proves nothing", said)
	}
	letThrough := []policy.Rule{{Name: "agent", Action: policy.ActionObserve, Vectors: []access.Vector{access.VectorRecon}}}
	refusesOne := []policy.Rule{{Name: "nobody", Action: policy.ActionRefuse, Vectors: []access.Vector{access.VectorRecon}}}
	for _, test := range []struct {
		name  string
		mode  policy.Mode
		recon policy.Action
		rules []policy.Rule
		part  []string
		told  bool
	}{
		{"refused", policy.ModeEnforce, policy.ActionRefuse, nil, cat(path), false},
		{"thread", policy.ModeEnforce, policy.ActionRefuse, nil, cat(thread), false},
		{"own", policy.ModeEnforce, policy.ActionRefuse, nil, own, true},
		{"by a rule let through", policy.ModeEnforce, policy.ActionRefuse, letThrough, cat(path), true},
		{"by a rule refused", policy.ModeEnforce, policy.ReconAudit, refusesOne, cat(path), false},
		{"recorded", policy.ModeEnforce, policy.ReconAudit, nil, cat(path), true},
		{"off", policy.ModeEnforce, policy.ReconOff, nil, cat(path), true},
		{"audit", policy.ModeAudit, policy.ActionRefuse, nil, cat(path), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plan("stat", test.mode, watching(test.recon))
			p.Rule = test.rules
			c := newContainer(t, node, p)
			said, status := c.run(test.part...).end()
			if told := tellsAddresses(t, said); told != test.told || status.ExitStatus() != 0 {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			c.nothing()
		})
	}
	t.Run("opened elsewhere", func(t *testing.T) {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer shut(file)
		c := newContainer(t, node, plan("stat", policy.ModeEnforce, allRefused()))
		p := c.runWith([]*os.File{file}, "exec", "/bin/busybox", "sh", "-c", "/bin/busybox cat <&3")
		if said, _ := p.end(); tellsAddresses(t, said) {
			t.Errorf("it said %q", said)
		}
		c.nothing()
	})
	t.Run("by io_uring", func(t *testing.T) {
		doors := buildDoors(t)
		for _, door := range []string{"uring-stat", "uring-worker-stat"} {
			part := []string{"exec", doors, door, victim.pid, "0", "1"}
			said, status := start(t, nil, nil, part...).end()
			if status.ExitStatus() == 3 {
				t.Logf("this kernel has no such door: %s", said)
				continue
			}
			if !tellsAddresses(t, said) {
				t.Fatalf("unguarded, %s said %q: this proves nothing", door, said)
			}
			c := newContainer(t, node, plan("stat", policy.ModeEnforce, allRefused()))
			if said, _ := c.run(part...).end(); tellsAddresses(t, said) {
				t.Errorf("%s said %q", door, said)
			}
			c.nothing()
		}
	})
}

// nothing fails the test if the container has any record.
func (c *container) nothing() {
	c.t.Helper()
	if records := c.records(); len(records) > 0 {
		c.t.Errorf("%d records of what is nobody's business: %+v", len(records), *records[0])
	}
	if counters := c.counters(); len(counters) > 0 {
		c.t.Errorf("it was counted: %v", counters)
	}
}

// ps and top work under recon = "refuse". procps-ng's ps opens every environ, though it shows it
// only with the option e, and so causes events.
func TestLSMReconHonest(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	victim := newVictim(t, nil)
	ps, top := testenv.Program(t, "ps"), testenv.Program(t, "top")
	for _, test := range []struct {
		name   string
		part   []string
		silent bool
	}{
		{"ps -p", []string{ps, "-p", victim.pid, "-o", "pid,ppid,comm,nlwp,vsz,rss,lstart,args"}, false},
		{"ps -e", []string{ps, "-e", "-o", "pid,ppid,comm,nlwp,vsz,rss,lstart,args"}, false},
		{"top", []string{"/usr/bin/env", "TERM=dumb", top, "-b", "-n", "1", "-p", victim.pid}, true},
		{"busybox ps", []string{"/bin/busybox", "ps", "-o", "pid,ppid,comm,vsz,args"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			part := append([]string{"exec"}, test.part...)
			free := mentions(start(t, nil, nil, part...), victim.pid)
			c := newContainer(t, node, plan("honest", policy.ModeEnforce, allRefused()))
			guarded := mentions(c.run(part...), victim.pid)
			if len(free) != 1 || !slices.Equal(free, guarded) {
				t.Errorf("it said %q, and unguarded %q", guarded, free)
			}
			if test.silent {
				c.nothing()
			}
		})
	}
}

// mentions returns the lines printed by a process whose first number is pid.
func mentions(p *process, pid string) []string {
	p.t.Helper()
	var lines []string
	for line, ok := p.hear(); ok; line, ok = p.hear() {
		if i := slices.IndexFunc(strings.Fields(line), isNumber); i >= 0 && strings.Fields(line)[i] == pid {
			lines = append(lines, line)
		}
	}
	if _, status := p.end(); status.ExitStatus() != 0 {
		p.t.Errorf("%v ended with %v", p.cmd.Args[1:], status)
	}
	return lines
}

func isNumber(word string) bool {
	_, err := strconv.Atoi(word)
	return err == nil
}

// get_robust_list reveals an address of its target, through every entry.
func TestLSMReconRobustList(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	doors := buildDoors(t)
	victim := newVictim(t, nil)
	for _, entry := range []string{"plain", "high", "int80", "x32", "thread"} {
		t.Run(entry, func(t *testing.T) {
			needEntry(t, entry)
			part := []string{"exec", doors, entry + "-robust", victim.pid, victim.address, "1"}
			said, status := start(t, nil, nil, part...).end()
			if status.ExitStatus() == 3 {
				t.Logf("this kernel has no such door: %s", said)
				return
			}
			if said != "reached" {
				t.Fatalf("unguarded, it ended with %v and said %q: the door proves nothing", status, said)
			}
			w := want{
				vector: access.VectorRecon, operation: access.OperationInspect, relation: access.RelationHost,
				sensor: access.SensorLSM, target: victim.number(),
			}
			if entry == "int80" {
				w.flags = FlagCompat
			}
			for recon, verdict := range map[policy.Action]access.Verdict{
				policy.ActionRefuse: access.VerdictRefused, policy.ReconAudit: access.VerdictObserved, policy.ReconOff: 0,
			} {
				c := newContainer(t, node, plan("robust", policy.ModeEnforce, watching(recon)))
				said, status := c.run(part...).end()
				if refused := strings.HasSuffix(said, "Operation not permitted"); refused != (verdict == access.VerdictRefused) || !refused && said != "reached" {
					t.Errorf("recon = %q: it ended with %v and said %q", recon, status, said)
				}
				if w.verdict = verdict; verdict == 0 {
					c.nothing()
				} else {
					c.expect(w)
				}
			}
		})
	}
}

// procfs files other than maps that reveal addresses, and the one that makes procfs reveal writes.
func TestLSMReconFiles(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	victim := newVictim(t, nil)
	read, write, list := strconv.Itoa(unix.O_RDONLY), strconv.Itoa(unix.O_WRONLY), strconv.Itoa(unix.O_RDONLY|unix.O_DIRECTORY)
	for _, file := range []struct{ name, flags string }{
		{"timers", read},
		{"fdinfo/0", read},
		{"task/" + victim.pid + "/fdinfo/0", read},
		{"map_files", list},
		{"clear_refs", write},
		{"task/" + victim.pid + "/clear_refs", write},
	} {
		t.Run(file.name, func(t *testing.T) {
			path := "/proc/" + victim.pid + "/" + file.name
			if said, status := start(t, nil, nil, "open", path, file.flags).end(); said != "opened" {
				t.Fatalf("unguarded, it ended with %v and said %q: this proves nothing", status, said)
			}
			w := want{
				vector: access.VectorRecon, operation: access.OperationInspect, relation: access.RelationHost,
				sensor: access.SensorLSM, target: victim.number(),
			}
			for recon, verdict := range map[policy.Action]access.Verdict{
				policy.ActionRefuse: access.VerdictRefused, policy.ReconAudit: access.VerdictObserved, policy.ReconOff: 0,
			} {
				c := newContainer(t, node, plan("files", policy.ModeEnforce, watching(recon)))
				said, status := c.run("open", path, file.flags).end()
				if refused := strings.HasSuffix(said, "permission denied"); refused != (verdict == access.VerdictRefused) || !refused && said != "opened" {
					t.Errorf("recon = %q: it ended with %v and said %q", recon, status, said)
				}
				if w.verdict = verdict; verdict == 0 {
					c.nothing()
				} else {
					c.expect(w)
				}
			}
		})
	}
	// Its own files, and those of another process that reveal nothing about its memory.
	for _, file := range []struct{ name, flags string }{
		{"self/timers", read},
		{"self/fdinfo/0", read},
		{"self/map_files", list},
		{"self/clear_refs", write},
		{victim.pid + "/fdinfo", list},
		{victim.pid + "/status", read},
		{victim.pid + "/task", list},
		{victim.pid + "/stat", read},
	} {
		t.Run(file.name, func(t *testing.T) {
			c := newContainer(t, node, plan("files", policy.ModeEnforce, allRefused()))
			if said, status := c.run("open", "/proc/"+file.name, file.flags).end(); said != "opened" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			c.nothing()
		})
	}
}

// These files do reveal addresses of a process's memory, if it uses epoll or timers.
func TestReconTells(t *testing.T) {
	keeper := start(t, nil, nil, "exec", buildDoors(t), "keep", "0", "0", "0")
	line, _ := keeper.hear()
	epoll, address, _ := strings.Cut(line, " ")
	for _, file := range []string{"timers", "fdinfo/" + epoll} {
		content, err := os.ReadFile("/proc/" + strconv.Itoa(keeper.cmd.Process.Pid) + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), address) {
			t.Errorf("%s does not tell %s: %s", file, address, content)
		}
	}
}

// coredump_filter, like the core limit, sets what a crash of another process dumps.
func TestLSMCoreFilter(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	write, both, read := strconv.Itoa(unix.O_WRONLY), strconv.Itoa(unix.O_RDWR), strconv.Itoa(unix.O_RDONLY)
	free := newVictim(t, nil)
	path := func(pid string) string { return "/proc/" + pid + "/coredump_filter" }
	outside := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
	if said, status := start(t, outside, nil, "open", path(free.pid), write).end(); said != "opened" {
		t.Fatalf("at an unguarded one, it ended with %v and said %q: this proves nothing", status, said)
	}
	for _, flags := range []string{write, both} {
		for mode, verdict := range map[policy.Mode]access.Verdict{policy.ModeEnforce: access.VerdictRefused, policy.ModeAudit: access.VerdictObserved} {
			c := newContainer(t, node, plan("filter", mode, allRefused()))
			said, status := c.run("open", path(free.pid), flags).end()
			if refused := strings.HasSuffix(said, "permission denied"); refused != (mode == policy.ModeEnforce) {
				t.Errorf("%s: it ended with %v and said %q", mode, status, said)
			}
			c.expect(want{
				vector: access.VectorCoreLimit, operation: access.OperationRead, relation: access.RelationHost,
				verdict: verdict, sensor: access.SensorLSM, target: free.number(),
			})
		}
	}
	for _, own := range [][]string{{"open", path("self"), write}, {"open", path(free.pid), read}} {
		c := newContainer(t, node, plan("filter", policy.ModeEnforce, allRefused()))
		if said, status := c.run(own...).end(); said != "opened" {
			t.Errorf("%v: it ended with %v and said %q", own, status, said)
		}
		c.nothing()
	}
	c := newContainer(t, node, plan("crashing", policy.ModeEnforce, allRefused()))
	guarded := meet(c.run("victim"))
	if said, status := start(t, outside, nil, "open", path(guarded.pid), write).end(); !strings.HasSuffix(said, "permission denied") {
		t.Errorf("from another container, it ended with %v and said %q", status, said)
	}
	c.expect(want{
		vector: access.VectorCoreLimit, operation: access.OperationRead, relation: access.RelationOtherContainer, verdict: access.VerdictRefused,
		sensor: access.SensorLSM, flags: FlagInbound | FlagInboundRule, target: guarded.number(),
	})
	if said, status := start(t, nil, nil, "open", path(guarded.pid), write).end(); said != "opened" {
		t.Errorf("from the node, it ended with %v and said %q", status, said)
	}
}
