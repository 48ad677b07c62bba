// Package bpf owns the kernel side of shimward: the programs, how they are loaded and pinned once
// per node, how a container's cgroup is enrolled and released, and the stream of records that the
// programs send.
//
// It makes no decisions itself: the rules come from a policy.Plan, and package shim interprets the
// records for users.
//
// All state lives in maps and links pinned on bpffs, so no shimward process has to stay alive for a
// guard to hold:
//
//	<bpf>/node-<abi>/        node-wide maps, programs and links, loaded once
//	<bpf>/containers/<key>/  a container's ring buffer and its cgroup links
package bpf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// NodeOptions specifies where a node keeps shimward's state.
type NodeOptions struct {
	Paths policy.Paths
}

// Node is the node-wide part: attached programs and shared maps. It opens each pin when it is first
// needed, because a container's start waits for it. It is safe for concurrent
// use until it is closed.
type Node struct {
	paths policy.Paths
	dir   string
	tier  access.Tier

	mu       sync.Mutex
	maps     map[string]*ebpf.Map     // guarded by mu; by name
	programs map[string]*ebpf.Program // guarded by mu; by name
	held     map[string]io.Closer     // guarded by mu; by the path of the pin; see Hold
}

// Open opens what an earlier Ensure pinned. The error wraps fs.ErrNotExist if nothing is pinned.
func Open(options NodeOptions) (*Node, error) {
	dir := nodeDir(options.Paths)
	if _, err := os.Stat(filepath.Join(dir, pinComplete)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if _, gone := os.Stat(dir); gone == nil {
				return nil, fmt.Errorf("open node: %s lacks the link %s, so nothing is guarded by it: "+
					"somebody removed it; stop the node's containers and remove the folder", dir, pinComplete)
			}
		}
		return nil, fmt.Errorf("open node: %w", err)
	}
	tier := access.TierTracepoint
	if _, err := os.Stat(filepath.Join(dir, pinLink(programFileOpen))); err == nil {
		tier = access.TierLSM
	}
	return &Node{
		paths: options.Paths, dir: dir, tier: tier,
		maps: make(map[string]*ebpf.Map), programs: make(map[string]*ebpf.Program), held: make(map[string]io.Closer),
	}, nil
}

// Tier returns the tier of protection that this node's kernel supports.
func (n *Node) Tier() access.Tier { return n.tier }

// Close closes what n opened. Pins stay in place.
func (n *Node) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for name, opened := range n.maps {
		errs = append(errs, opened.Close())
		delete(n.maps, name)
	}
	for name, opened := range n.programs {
		errs = append(errs, opened.Close())
		delete(n.programs, name)
	}
	for pin, opened := range n.held {
		errs = append(errs, opened.Close())
		delete(n.held, pin)
	}
	return errors.Join(errs...)
}

// pinned returns the node-wide map with the given name.
func (n *Node) pinned(name string) (*ebpf.Map, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if opened, ok := n.maps[name]; ok {
		return opened, nil
	}
	opened, err := ebpf.LoadPinnedMap(filepath.Join(n.dir, name), nil)
	if err != nil {
		return nil, fmt.Errorf("open the map %s: %w", name, err)
	}
	n.maps[name] = opened
	return opened, nil
}

// program returns the node-wide program with the given name.
func (n *Node) program(name string) (*ebpf.Program, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if opened, ok := n.programs[name]; ok {
		return opened, nil
	}
	opened, err := ebpf.LoadPinnedProgram(filepath.Join(n.dir, pinProgram(name)), nil)
	if err != nil {
		return nil, fmt.Errorf("open the program %s: %w", name, err)
	}
	n.programs[name] = opened
	return opened, nil
}

// run runs one of the programs that user space calls itself.
func (n *Node) run(name string, context any) error {
	program, err := n.program(name)
	if err != nil {
		return err
	}
	return call(program, context)
}

// call runs a syscall program, which writes its answer to context. The error is fs.ErrNotExist if
// the program returns nonzero because it found nothing.
func call(program *ebpf.Program, context any) error {
	result, err := program.Run(&ebpf.RunOptions{Context: context, ContextOut: context})
	if err != nil {
		return err
	}
	if result != 0 {
		return fs.ErrNotExist
	}
	return nil
}

// shut closes something that was only opened to be read or pinned, so an error loses nothing.
func shut(opened io.Closer) { _ = opened.Close() }

// nodeDir returns the directory of the node-wide pins. Its name contains the object's hash: another
// version, with another layout of maps, uses another directory, so that after an upgrade running
// containers keep the programs that they were enrolled with.
func nodeDir(paths policy.Paths) string {
	return filepath.Join(paths.BPF, nodePrefix+kernelDigest)
}
