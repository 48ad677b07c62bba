package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/shimward/shimward/integration/internal/node"
)

// roundsOfACrowd is the number of bench rounds per crowd: a crowd takes as long as a hundred other
// measurements.
const roundsOfACrowd = 5

func crowds(rounds int) int { return max(1, rounds/roundsOfACrowd) }

// removers is the number of pods that are removed at once. It is small because containerd gives a
// shim ten seconds to answer, and the removal is not measured.
const removers = 4

// crowd is the measured result of many pods at once.
type crowd struct {
	took   time.Duration // from the first request to all Running
	shims  float64       // KiB per pod: proportional set size (proc_pid_smaps(5))
	kernel float64       // KiB per pod: memory of its BPF maps and links (memlock in their fdinfo)
}

// pods creates many pods at once over CRI, as kubelet does, and waits until each one's container is
// running. They use the host network, because the time that CNI takes is not shimward's.
func (b *bench) pods(ctx context.Context) (_ []table, err error) {
	n, err := node.Start(ctx, node.Options{Engines: b.engines, Bin: b.bin, CRI: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Stop(context.WithoutCancel(ctx))) }()
	names := []string{"stock runc", "shimward enforce"}
	handlers := []string{"runc", "shimward"}
	if _, err := b.crowd(ctx, n, "shimward", 1); err != nil { // loads the programs
		return nil, err
	}
	took, shims, kernel := make([][]float64, 2), make([][]float64, 2), make([][]float64, 2)
	for i := range crowds(b.rounds) {
		for j := range handlers {
			which := (i + j) % len(handlers)
			fmt.Fprintf(b.progress, "%d pods at once, round %d of %d, %s\n", b.crowdOf, i+1, crowds(b.rounds), names[which])
			c, err := b.crowd(ctx, n, handlers[which], b.crowdOf)
			if err != nil {
				return nil, err
			}
			took[which] = append(took[which], c.took.Seconds())
			shims[which] = append(shims[which], c.shims)
			kernel[which] = append(kernel[which], c.kernel)
		}
	}
	memory := newRow("shim and kernel objects", names, nil, sums(shims, kernel))
	// There are none under stock runc.
	objects := row{Name: "of that kernel objects", Columns: []column{{
		Arrangement: names[1], Median: quantile(kernel[1], 0.5), Quartiles: [2]float64{quantile(kernel[1], 0.25), quantile(kernel[1], 0.75)},
		Ratio: 1, RatioQuartiles: [2]float64{1, 1}, Values: kernel[1],
	}}}
	title := fmt.Sprintf("%d pods at once, over CRI", b.crowdOf)
	return []table{
		{Title: title, Unit: "s", Rows: []row{newRow("to all Running", names, nil, took)}},
		{Title: title + ": memory of each", Unit: "KiB", Rows: []row{newRow("shim, proportional set size", names, nil, shims), memory, objects}},
	}, nil
}

func sums(a, b [][]float64) [][]float64 {
	total := make([][]float64, len(a))
	for i := range a {
		for j := range a[i] {
			total[i] = append(total[i], a[i][j]+b[i][j])
		}
	}
	return total
}

// crowd creates pods of one container each, all at once, measures their memory, and removes them.
func (b *bench) crowd(ctx context.Context, n *node.Node, handler string, count int) (_ crowd, err error) {
	client, done, err := n.CRI()
	if err != nil {
		return crowd{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	sandboxes := make([]string, count)
	defer func() {
		err = errors.Join(err, each(count, removers, func(i int) error { return removePod(ctx, client, sandboxes[i]) }), n.Settled(ctx))
	}()
	from := time.Now()
	err = each(count, count, func(i int) (err error) {
		sandboxes[i], err = startPod(ctx, client, n, handler, i)
		return err
	})
	if err != nil {
		return crowd{}, err
	}
	running, err := client.ListContainers(ctx, &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		State: &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING},
	}})
	c := crowd{took: time.Since(from)}
	if err == nil && len(running.GetContainers()) != count {
		err = fmt.Errorf("%d pods of %d are running", len(running.GetContainers()), count)
	}
	if err != nil {
		return crowd{}, err
	}
	if err := rest(ctx); err != nil {
		return crowd{}, err
	}
	shims, err := n.Shims()
	if err != nil {
		return crowd{}, err
	}
	for _, sandbox := range sandboxes {
		weight, err := pss(strconv.Itoa(shims[sandbox]))
		if err != nil {
			return crowd{}, err
		}
		c.shims += weight / float64(count)
	}
	locked, err := pinnedMemory(filepath.Join(n.Paths.BPF, "containers"))
	c.kernel = locked / float64(count)
	return c, err
}

// each calls a function for every number below count, at most atOnce at a time, and returns the
// first error.
func each(count, atOnce int, call func(int) error) error {
	errs, free := make(chan error, count), make(chan struct{}, atOnce)
	for i := range count {
		go func() {
			free <- struct{}{}
			errs <- call(i)
			<-free
		}()
	}
	var first error
	for range count {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func startPod(ctx context.Context, client runtime.RuntimeServiceClient, n *node.Node, handler string, i int) (string, error) {
	namespaces := &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE, Pid: runtime.NamespaceMode_CONTAINER}
	config := &runtime.PodSandboxConfig{
		Metadata:    &runtime.PodSandboxMetadata{Name: fmt.Sprintf("pod-%d", i), Namespace: "bench", Uid: fmt.Sprintf("uid-%d", i)},
		Annotations: guarded(node.Spec{}).Annotations,
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent: n.CgroupParent(), SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: namespaces},
		},
	}
	sandbox, err := client.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return "", err
	}
	container, err := client.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: sandbox.GetPodSandboxId(), SandboxConfig: config,
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "main"},
			Image:    &runtime.ImageSpec{Image: node.Image, UserSpecifiedImage: node.Image},
			Linux: &runtime.LinuxContainerConfig{SecurityContext: &runtime.LinuxContainerSecurityContext{
				NamespaceOptions: namespaces, Seccomp: &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault},
			}},
		},
	})
	if err == nil {
		_, err = client.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: container.GetContainerId()})
	}
	return sandbox.GetPodSandboxId(), err
}

func removePod(ctx context.Context, client runtime.RuntimeServiceClient, sandbox string) error {
	if sandbox == "" {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	_, stopped := client.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: sandbox})
	_, removed := client.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: sandbox})
	return errors.Join(stopped, removed)
}

// pinnedMemory returns the kernel memory of the objects pinned below a directory, in KiB.
func pinnedMemory(folder string) (float64, error) {
	total := 0.0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		bytes, err := node.PinnedMemory(path)
		total += float64(bytes) / 1024
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return total, err
}
