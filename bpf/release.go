package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/shimward/shimward/policy"
)

// Release takes back all that Enrol did for the container, whichever version of
// shimward enrolled it. A container that is not enrolled is no error. The kernel
// waits for an RCU grace period before it gives the ring buffer up, some
// milliseconds: where somebody waits for a container's end, Retire comes first.
func Release(paths policy.Paths, key string) error {
	errs := []error{Retire(paths, key)}
	nodes, err := nodeDirs(paths)
	errs = append(errs, err)
	for _, dir := range nodes {
		errs = append(errs, dropRing(dir, key))
	}
	errs = append(errs, os.RemoveAll(paths.Pins(key)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("release %s: %w", key, err)
	}
	return nil
}

// Retire is the part of Release that takes no time: nobody is guarded by the
// container's rules any more. Its ring buffer stays, so that what is in it can be read.
func Retire(paths policy.Paths, key string) error {
	padded, err := pinnedKey(key)
	if err != nil {
		return err
	}
	nodes, err := nodeDirs(paths)
	if err != nil {
		return fmt.Errorf("retire %s: %w", key, err)
	}
	var errs []error
	for _, dir := range nodes {
		errs = append(errs, forget(dir, padded))
	}
	pins, err := os.ReadDir(paths.Pins(key))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, pin := range pins {
		if pin.Name() != pinRing {
			errs = append(errs, ignoreMissing(os.Remove(filepath.Join(paths.Pins(key), pin.Name()))))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("retire %s: %w", key, err)
	}
	return nil
}

// Reconcile releases every container that is not alive and has no process, and
// removes the programs of other versions that guard nobody any more. Whatever
// became of the files that say who is alive, a process never loses its guard.
func Reconcile(paths policy.Paths, alive func(key string) bool) error {
	unlock, err := lock(paths)
	if err != nil {
		return err
	}
	defer unlock()
	nodes, err := nodeDirs(paths)
	if err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	known := make(map[string]uint64) // the cgroup's id, 0 where only pins are left
	pinned, err := os.ReadDir(filepath.Dir(paths.Pins("x")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reconcile: %w", err)
	}
	for _, entry := range pinned {
		known[entry.Name()] = 0
	}
	var errs []error
	for _, dir := range nodes {
		enrolled, err := keysOf(dir)
		errs = append(errs, err)
		maps.Copy(known, enrolled)
	}
	for key, id := range known {
		if !alive(key) && !populated(id) {
			errs = append(errs, Release(paths, key))
		}
	}
	for _, dir := range nodes {
		left, err := keysOf(dir)
		if dir != nodeDir(paths) && err == nil && len(left) == 0 {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// Populated tells whether the cgroup that a container is enrolled with has processes, in
// it or below, whatever became of its files. It says so too where the kernel does not tell
// with which one it is.
func Populated(paths policy.Paths, key string) bool {
	padded, err := pinnedKey(key)
	if err != nil {
		return false // nobody can have enrolled it
	}
	nodes, err := nodeDirs(paths)
	if err != nil {
		return true
	}
	for _, dir := range nodes {
		if id, err := enrolledIn(dir, padded); err != nil || populated(id) {
			return true
		}
	}
	return false
}

// enrolledIn is the id of the cgroup that a container is enrolled with by one version, or 0.
func enrolledIn(dir string, key [keyLength]byte) (id uint64, err error) {
	keys, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapKeys), nil)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	defer shut(keys)
	err = keys.Lookup(key, &id)
	return id, ignoreMissing(err)
}

// nodeDirs lists the node-wide folders: this version's, and those that others left.
func nodeDirs(paths policy.Paths) ([]string, error) {
	return filepath.Glob(filepath.Join(paths.BPF, nodePrefix+"*"))
}

// keysOf lists the containers that are enrolled with the programs of that folder, with their cgroups' ids.
func keysOf(dir string) (map[string]uint64, error) {
	keys, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapKeys), nil)
	if err != nil {
		return nil, fmt.Errorf("open the map %s: %w", mapKeys, err)
	}
	defer shut(keys)
	var (
		key   [keyLength]byte
		id    uint64
		found = make(map[string]uint64)
	)
	entries := keys.Iterate()
	for entries.Next(&key, &id) {
		found[unpadded(key)] = id
	}
	return found, entries.Err()
}

// forget removes a container's entries from the maps of one version. The key goes last:
// whoever is killed in between can be called again.
func forget(dir string, key [keyLength]byte) error {
	keys, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapKeys), nil)
	if err != nil {
		return ignoreMissing(err)
	}
	defer shut(keys)
	var id uint64
	if err := keys.Lookup(key, &id); err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, name := range []string{mapContainers, mapGrants, mapStates} {
		errs = append(errs, forgetIn(filepath.Join(dir, name), name, id))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return ignoreMissing(keys.Delete(key))
}

func forgetIn(path, name string, id uint64) error {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return ignoreMissing(err)
	}
	defer shut(m)
	if name == mapGrants {
		return deleteGrants(m, func(key kernelExecutable) bool { return key.Cgroup == id })
	}
	return ignoreMissing(m.Delete(id))
}

func dropRing(dir, key string) error {
	padded, err := pinnedKey(key)
	if err != nil {
		return err
	}
	rings, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapRings), nil)
	if err != nil {
		return ignoreMissing(err)
	}
	defer shut(rings)
	var there uint32
	// Before 6.8 the kernel waits also where there is nothing to delete.
	if err := rings.Lookup(ringID(padded), &there); err != nil {
		return ignoreMissing(err)
	}
	return ignoreMissing(rings.Delete(ringID(padded)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// notExist makes a map's missing key the error that callers look for.
func notExist(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return fs.ErrNotExist
	}
	return err
}
