package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/integration/internal/node"
)

// cyclesVariable sets how often a pod of each kind is created and deleted.
const cyclesVariable = "SHIMWARD_E2E_CYCLES"

const defaultCycles = 5

func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv(cyclesVariable)
	if text == "" {
		return defaultCycles
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("%s=%s is no number of cycles", cyclesVariable, text)
	}
	return count
}

// kinds returns a new pod of each kind that the stories cover.
func (s *stage) kinds() map[string]*corev1.Pod {
	yes, no := true, false
	always := corev1.ContainerRestartPolicyAlways
	all := map[string]*corev1.Pod{
		"plain":    pod("", enforceStrict(), idle("one")),
		"shared":   sharedPID(pod("", enforce(), idle("one"), idle("two"))),
		"hostpid":  pod("", enforce(), idle("one")),
		"userns":   pod("", enforce(), idle("one")),
		"init":     pod("", enforceStrict(), idle("one")),
		"sidecar":  pod("", enforce(), idle("one")),
		"attacked": pod("", enforceStrict(), idle("one")),
	}
	all["hostpid"].Spec.HostPID = true
	all["userns"].Spec.HostUsers = &no
	all["init"].Spec.InitContainers = []corev1.Container{container("first", "/bin/true")}
	sidecar := idle("side")
	sidecar.RestartPolicy = &always
	all["sidecar"].Spec.InitContainers = []corev1.Container{sidecar}
	// The pod is ready once an attack by the probe, which is an exec, was refused.
	all["attacked"].Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: inner("").Command}},
		PeriodSeconds: 1, TimeoutSeconds: 60,
	}
	privileged := idle("one")
	privileged.SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	all["privileged"] = pod("", enforce(), privileged)
	// Like the pod of a Job.
	all["ends"] = pod("", enforceStrict(), container("one", "/bin/true"))
	if !s.hasUserNamespaces() {
		delete(all, "userns")
	}
	return all
}

// tellNoGrowth repeatedly creates and deletes pods, one of each kind at a time. They must leave
// nothing behind, and what exists once per node must not grow.
func tellNoGrowth(t *testing.T, s *stage) {
	t.Helper()
	rounds := cycles(t)
	s.cycle(t, 0) // loads the programs and fills containerd's caches
	s.wantOnlyInstaller(t)
	before := s.measure(t)
	for round := range rounds {
		s.cycle(t, round+1)
	}
	s.wantOnlyInstaller(t)
	pods := rounds * len(s.kinds())
	// Some counts are of the whole machine. What others cause comes and goes, while a leak stays.
	var after map[string]measured
	ctx := testContext(t)
	ask := time.NewTicker(time.Second)
	defer ask.Stop()
	for again := true; again; {
		after = s.measure(t)
		select {
		case <-ask.C:
			again = len(grown(before, after, pods)) > 0
		case <-ctx.Done():
			again = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		t.Logf("%s: %d, and after %d pods %d", name, before[name].count, pods, after[name].count)
	}
	for _, name := range grown(before, after, pods) {
		t.Errorf("%s grew by %d with %d pods", name, after[name].count-before[name].count, pods)
	}
}

// grown returns the names of what grew by more than a quarter of what so many leaking pods would
// leave.
func grown(before, after map[string]measured, pods int) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if is := after[name]; is.each > 0 && is.count-before[name].count > max(is.slack, pods*is.each/4) {
			names = append(names, name)
		}
	}
	return names
}

// cycle creates a pod of each kind, waits until each is ready or has ended, and deletes them all.
func (s *stage) cycle(t *testing.T, round int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := s.Client.CoreV1().Pods(s.namespace)
	wanted := s.kinds()
	label := map[string]string{"cycle": strconv.Itoa(round)}
	selector := metav1.ListOptions{LabelSelector: "cycle=" + strconv.Itoa(round)}
	for kind, p := range wanted {
		p.Name, p.Labels = fmt.Sprintf("%s-%d", kind, round), label
		if _, err := all.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitAll(ctx, t, selector, func(there []corev1.Pod) bool {
		return len(there) == len(wanted) && !slices.ContainsFunc(there, func(p corev1.Pod) bool {
			if p.Status.Phase == corev1.PodFailed {
				t.Fatalf("pod %s failed: %+v", p.Name, p.Status)
			}
			return !ready(&p) && p.Status.Phase != corev1.PodSucceeded
		})
	})
	if err := all.DeleteCollection(ctx, metav1.DeleteOptions{}, selector); err != nil {
		t.Fatal(err)
	}
	s.awaitAll(ctx, t, selector, func(there []corev1.Pod) bool { return len(there) == 0 })
}

// awaitAll polls the pods until they are as wanted.
func (s *stage) awaitAll(ctx context.Context, t *testing.T, selector metav1.ListOptions, wanted func([]corev1.Pod) bool) {
	t.Helper()
	ask := time.NewTicker(250 * time.Millisecond)
	defer ask.Stop()
	for {
		list, err := s.Client.CoreV1().Pods(s.namespace).List(ctx, selector)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(list.Items) {
			return
		}
		select {
		case <-ask.C:
		case <-ctx.Done():
			var states []string
			for _, p := range list.Items {
				states = append(states, fmt.Sprintf("%s: %s, %+v", p.Name, p.Status.Phase, p.Status.ContainerStatuses))
			}
			t.Fatalf("pods are not as wanted: %q", states)
		}
	}
}

// measured is something that could grow.
type measured struct {
	count int
	// each is the least that a leaking pod would leave. If it is zero, the count is only logged.
	each int
	// slack is by how much the count may vary, for example because a connection is open at the
	// moment.
	slack int
}

// measure counts everything that could grow.
func (s *stage) measure(t *testing.T) map[string]measured {
	t.Helper()
	files, err := node.OpenFiles(s.Node.PID())
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, count := range files {
		open += count
	}
	return map[string]measured{
		"containerd's descriptors":             {count: open, each: 1, slack: 8},
		"containerd's memory, KiB":             {count: int(proportional(t, s.Node.PID()) >> 10), each: 512, slack: 64 << 10},
		"pins in bpffs":                        {count: count(t, s.Node.Paths.BPF), each: 1},
		"files in shimward's run":              {count: count(t, s.Node.Paths.Run), each: 1},
		"addresses of pods":                    {count: count(t, s.Leases()), each: 1, slack: 2},
		"cgroups":                              {count: count(t, "/sys/fs/cgroup/unified/k8s.io") + count(t, "/sys/fs/cgroup/k8s.io"), each: 1, slack: 40},
		"network interfaces":                   {count: count(t, "/sys/class/net"), each: 1, slack: 2},
		"containerd's state":                   {count: count(t, filepath.Join(s.Node.Dir, "state")), each: 1, slack: 40},
		"shims":                                {count: s.countShims(t), each: 1, slack: 1},
		"maps in the kernel":                   {count: objects(t, node.CountMaps), each: 1},
		"programs in the kernel":               {count: objects(t, node.CountPrograms), each: 1},
		"links in the kernel":                  {count: objects(t, node.CountLinks), each: 1},
		"unreclaimable slab, KiB, the machine": {count: meminfo(t, "SUnreclaim:")},
		"per-CPU memory, KiB, the machine":     {count: meminfo(t, "Percpu:")},
	}
}

// objects counts shimward's kernel objects, by the names in the object file that is loaded.
func objects(t *testing.T, count func(func(string) bool) (int, error)) int {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("../../bpf/kernel_x86_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"ring"} // one per container, created without the object file
	names = slices.AppendSeq(names, maps.Keys(spec.Maps))
	names = slices.AppendSeq(names, maps.Keys(spec.Programs))
	n, err := count(func(name string) bool {
		const kept = 15 // BPF_OBJ_NAME_LEN (include/uapi/linux/bpf.h) without the terminating null
		return slices.ContainsFunc(names, func(one string) bool { return one[:min(kept, len(one))] == name })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *stage) countShims(t *testing.T) int {
	t.Helper()
	shims, err := s.Node.Shims()
	if err != nil {
		t.Fatal(err)
	}
	return len(shims)
}

// meminfo returns a value of proc_meminfo(5) in KiB.
func meminfo(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	at := slices.Index(fields, name)
	if at < 0 {
		t.Fatalf("/proc/meminfo has no %s", name)
	}
	kib, err := strconv.Atoi(fields[at+1])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// count returns the number of files and directories in dir, including itself. It is 0 if dir does
// not exist.
func count(t *testing.T, dir string) int {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(_ string, _ os.DirEntry, err error) error {
		if err == nil { // not removed in the meantime
			found++
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}
