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

// Release undoes Enrol for the container, whichever version of shimward enrolled it. It is not an
// error if the container is not enrolled. Before the kernel frees the ring buffer it waits for an
// RCU grace period of some milliseconds: if a caller waits for a container's end, call Retire
// first.
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

// Retire is the fast part of Release: the container's rules no longer guard any process. Its ring
// buffer stays, so that the records in it can still be read.
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

// Reconcile releases every container that is not alive and has no process, and removes other
// versions' programs that no longer guard any container. A process never loses its guard, even if
// the files that say which containers are alive are lost.
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
	known := make(map[string]uint64) // by key: the cgroup id, or 0 if only pins are left
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

// Populated reports whether the cgroup that a container is enrolled with has processes, in it or
// below, whatever happened to the container's files. It also reports true if the kernel does not
// reveal which cgroup that is.
func Populated(paths policy.Paths, key string) bool {
	padded, err := pinnedKey(key)
	if err != nil {
		return false // it cannot have been enrolled
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

// enrolledIn returns the id of the cgroup that a container is enrolled with by one version, or 0.
func enrolledIn(dir string, key [keyLength]byte) (id uint64, err error) {
	keys, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapKeys), nil)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	defer shut(keys)
	err = keys.Lookup(key, &id)
	return id, ignoreMissing(err)
}

// nodeDirs lists the node-wide directories: this version's and those left by others.
func nodeDirs(paths policy.Paths) ([]string, error) {
	return filepath.Glob(filepath.Join(paths.BPF, nodePrefix+"*"))
}

// keysOf returns the containers that are enrolled with the programs in that directory, with their
// cgroup ids.
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

// forget removes a container's entries from the maps of one version. The key goes last, so that a
// call that is killed halfway can be repeated.
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
	// Before 6.8, the kernel waits even if there is nothing to delete.
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

// notExist converts a map's missing-key error to fs.ErrNotExist, which callers check for.
func notExist(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return fs.ErrNotExist
	}
	return err
}
