// Package coverage makes docs/coverage.md of what the integration tests have
// seen: a test writes a Proof into its log where nothing of what it checked was
// wrong, and the page has no other source.
package coverage

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
)

// Proof is one attack that a test made on one kernel, with what became of it.
type Proof struct {
	Vector  string          `json:"vector"` // of shimward emulate
	About   string          `json:"about"`
	Inbound bool            `json:"inbound"` // the attacker is not guarded, the victim is
	Mode    string          `json:"mode"`    // runc, audit or enforce
	Tier    access.Tier     `json:"tier"`
	Kernel  string          `json:"kernel"` // its series: 6.1
	Outcome emulate.Outcome `json:"outcome"`
	Errno   string          `json:"errno,omitempty"`
	Sensors []access.Sensor `json:"sensors,omitempty"` // of its one event
}

// mark begins a Proof in a test's log.
const mark = "coverage: "

// Line is the Proof as a test logs it.
func (p Proof) Line() (string, error) {
	text, err := json.Marshal(p)
	return mark + string(text), err
}

// Read returns the Proofs in the output of `go test -json`.
func Read(in io.Reader) ([]Proof, error) {
	var proofs []Proof
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var said struct{ Output string }
		if json.Unmarshal(lines.Bytes(), &said) != nil {
			continue // a tool speaks between
		}
		_, text, ok := strings.Cut(said.Output, mark)
		if !ok {
			continue
		}
		var p Proof
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return nil, fmt.Errorf("a test's proof: %w in %q", err, text)
		}
		proofs = append(proofs, p)
	}
	return proofs, lines.Err()
}

// row is one way into memory, in both directions a row of its own.
type row struct {
	vector, about string
	inbound       bool
}

const page = `# What is seen, and what is stopped

Each cell is what a test saw happen. The attack of the row (` + "`shimward emulate`" + `) was made from a container
on a secret in another process's memory: under stock runc, under ` + "`mode=audit`" + ` and under ` + "`mode=enforce`" + `.
The profile is ` + "`strict`" + `, which for ` + "`recon-*`" + ` also says ` + "`recon = \"refuse\"`" + `.

- *Got through*: the secret was read, the memory was changed or, for an attack that moves no memory, the
  call was done.
- *Seen*: there was exactly one event, with the right actor, target, relation, container, origin and
  technique, and one more where the attack went on to another access (as ` + "`mem-getfd`" + ` does). (In a VM, whose
  CPUs are slow, there may instead be one event of each sensor.)
- *Refused*: the attacker got an errno, and lived to see it.
- *Killed*: the attacker got a SIGKILL before a byte moved.
- In brackets: the sensor that acted.

*Not seen*: in the ` + "`tracepoint`" + ` tier, nothing can see the attack:

- Only an LSM hook sees a file that is opened by path: the path is a pointer, which seccomp cannot follow.
- Memory that is also a file, or that is the whole node's, is used without anybody's mmap lock being
  taken. Setting a sysctl or a probe takes no such lock either.
- Only LSM hooks see what a signal does to its receiver, and whose pages a received descriptor fills.

These have no row here, but tests of their own:

- what the node swaps to, and the devices beside ` + "`/proc/kcore`, `/dev/mem` and `/dev/port`" + `
  (` + "`TestLSMSwap`" + `, ` + "`TestLSMMemoryDevices`" + `)
- a mem file that somebody outside opened (` + "`TestOpenedElsewhere`" + `), or that is taken with ` + "`pidfd_getfd`" + `
  from a process whose descriptors one may take (` + "`TestAccessTaken`" + `)
- how far a granted ptrace access reaches (` + "`TestOwnDoor`" + `)
- the x32 entry, whose table no kernel here has (` + "`TestListenerX32`" + `)
- file handles, which open nothing of procfs (` + "`TestProcfsHasNoHandles`" + `)
- [attacks on another container's guard, and on what shimward keeps](threat-model.md#tampering), a SIGKILL
  to a shim among them: its container ends with it

` + "`make coverage`" + ` writes this page from the results of ` + "`make test`" + `. ` + "`make test`" + ` fails if the two differ.

`

// tamperIntro comes before the table of the attacks that tamper first.
const tamperIntro = `
## From a guarded container that tampers with shimward

The attacker is privileged. It has the node's pid namespace and, mounted, the node's ` + "`/sys/fs/cgroup`,\n`/sys/fs/bpf/shimward`, `/run/shimward` and `/var/log/shimward`" + `. First it goes at its own guard (under
stock runc, at that of the victim), then it reads the secret of a victim in another container. The cells say
what became of both: it *got through* if the secret was read, and was *refused* or *killed* at what the
sensor in brackets saw, which is the read unless the tampering is ` + "`bpf(2)`" + `. Nothing refuses the other kinds
of tampering (` + "`TestTamper`" + `); that a container may do it is recorded when it is created (` + "`TestRisks`" + `).

`

// inboundIntro comes before the table of the attacks from outside.
const inboundIntro = `
## At a guarded container, from one that is not

A seccomp filter is the actor's, and the actor here has none of shimward's. Without LSM, only the target's
mmap lock is left. Taking a handle, kcmp, perf_event_open, prlimit and a signal do not take that lock.
move_pages has given its answer before the kernel looks at the SIGKILL, and a process that ends is past
it. What mem-getfd takes is seen, and stopped, when it is used. process_mrelease has no check in any tier,
and does nothing to a process that is not being killed. At one that is, the lock shows it, and the kill does
not keep the kernel from it (` + "`TestAccessDying/reaped`" + `).

The victim of ` + "`recon-*`" + ` has a profile with ` + "`recon = \"refuse\"` and `inbound = \"refuse\"`" + `. The node's own
processes are not refused these files, and make no event (` + "`TestInboundRecon`" + `). A mem file that was opened
before is stopped at its use (` + "`TestAccessInboundOpened`" + `).

`

// Page writes the page. It is an error where a tier has no proofs, or two
// kernels of a tier differ.
func Page(out io.Writer, proofs []Proof) error {
	kernels := map[access.Tier][]string{}
	var rows []row
	cells := map[row]map[string]string{}
	for _, p := range present(proofs) {
		at := row{p.Vector, p.About, p.Inbound}
		if cells[at] == nil {
			cells[at] = map[string]string{}
			rows = append(rows, at)
		}
		if !slices.Contains(kernels[p.Tier], p.Kernel) {
			kernels[p.Tier] = append(kernels[p.Tier], p.Kernel)
		}
		column := p.Mode + " " + p.Tier.String()
		is := p.cell()
		if was, ok := cells[at][column]; ok && was != is {
			return fmt.Errorf("%s, %s: %q on one kernel and %q on another", p.Vector, column, was, is)
		}
		cells[at][column] = is
	}
	for _, tier := range []access.Tier{access.TierLSM, access.TierTracepoint} {
		if len(kernels[tier]) == 0 {
			return fmt.Errorf("no test ran in the %s tier: this machine's kernel and those of the VMs make the page", tier)
		}
	}
	order(rows)
	text := &strings.Builder{}
	text.WriteString(page)
	plain := strings.NewReplacer("<", "&lt;", "|", "\\|") // what Markdown would take for markup
	for _, part := range parts() {
		text.WriteString(part.intro)
		text.WriteString("| way | under runc | under audit, `lsm` tier | `tracepoint` tier | under enforce, `lsm` tier | `tracepoint` tier |\n|---|---|---|---|---|---|\n")
		for _, at := range rows {
			if !part.has(at) {
				continue
			}
			fmt.Fprintf(text, "| `%s`: %s |", at.vector, plain.Replace(at.about))
			for _, column := range []string{"runc lsm", "audit lsm", "audit tracepoint", "enforce lsm", "enforce tracepoint"} {
				cell := cells[at][column]
				if cell == "" {
					return fmt.Errorf("%s has no proof %s", at.vector, column)
				}
				fmt.Fprintf(text, " %s |", cell)
			}
			text.WriteString("\n")
		}
	}
	text.WriteString("\n" + kernelsMark)
	for _, tier := range []access.Tier{access.TierLSM, access.TierTracepoint} {
		slices.Sort(kernels[tier])
		fmt.Fprintf(text, " `%s` tier on Linux %s.", tier, strings.Join(kernels[tier], " and "))
	}
	text.WriteString("\n\nWhat is not held, and why, is in the [threat model](threat-model.md#where-it-ends).\n")
	_, err := io.WriteString(out, text.String())
	return err
}

// part is one table of the page.
type part struct {
	intro string
	has   func(row) bool
}

func parts() []part {
	tampers := map[string]bool{}
	for _, vector := range emulate.Vectors() {
		tampers[vector.Name] = vector.Group() == emulate.GroupTamper
	}
	return []part{
		{"## From a guarded container\n\n", func(at row) bool { return !at.inbound && !tampers[at.vector] }},
		{tamperIntro, func(at row) bool { return !at.inbound && tampers[at.vector] }},
		{inboundIntro, func(at row) bool { return at.inbound }},
	}
}

// kernelsMark begins the one line that may differ from one machine to the next.
const kernelsMark = "Tested:"

// Same tells whether two pages say the same, on whatever kernels.
func Same(one, other string) error {
	a, b := strings.Split(one, "\n"), strings.Split(other, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) {
			return errors.New("one is longer")
		}
		kernels := strings.HasPrefix(a[i], kernelsMark) && strings.HasPrefix(b[i], kernelsMark)
		if a[i] != b[i] && !kernels {
			return fmt.Errorf("line %d:\n-%s\n+%s", i+1, a[i], b[i])
		}
	}
	return nil
}

// order sorts rows as `shimward emulate` lists the vectors.
func order(rows []row) {
	place := map[string]int{}
	for i, vector := range emulate.Vectors() {
		place[vector.Name] = i
	}
	slices.SortFunc(rows, func(a, b row) int { return place[a.vector] - place[b.vector] })
}

// present leaves out what a kernel was built without, which stock runc tells,
// where another kernel of that tier has it.
func present(proofs []Proof) []Proof {
	type way struct {
		row
		tier access.Tier
	}
	type build struct {
		way
		kernel string
	}
	of := func(p Proof) build { return build{way{row{p.Vector, p.About, p.Inbound}, p.Tier}, p.Kernel} }
	has, lacks := map[way]bool{}, map[build]bool{}
	for _, p := range proofs {
		if p.Mode != "runc" {
			continue
		}
		if p.Outcome == emulate.OutcomeUnsupported {
			lacks[of(p)] = true
		} else {
			has[of(p).way] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(proofs), func(p Proof) bool { return lacks[of(p)] && has[of(p).way] })
}

func (p Proof) cell() string {
	var sensor string
	if len(p.Sensors) == 1 {
		sensor = " (" + p.Sensors[0].String() + ")"
	}
	switch p.Outcome {
	case emulate.OutcomeRefused:
		return "refused, " + p.Errno + sensor
	case emulate.OutcomeKilled:
		return "killed" + sensor
	case emulate.OutcomeUnsupported:
		return "not in this kernel"
	default:
		if p.Mode == "runc" {
			return "got through"
		}
		if len(p.Sensors) == 0 {
			return "got through, not seen"
		}
		return "got through, seen"
	}
}
