package bpf

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// Enrol puts the container's cgroup under guard. It must be called when init exists but runs none
// of the workload's code yet: the guard begins with the next exec of initPid, a pid in this
// process's pid namespace. cgroupPath is the absolute path of the container's cgroup v2 directory.
// Enrol must run in the runtime's mount namespace. If it returns an error, it has undone what it
// did.
func (n *Node) Enrol(plan *policy.Plan, initPid int, cgroupPath string) (err error) {
	key, err := pinnedKey(plan.Identity.Key)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("enrol the container in %s: %w", cgroupPath, err)
		}
	}()
	if err := errors.Join(plan.CheckTier(n.tier), n.Called()); err != nil {
		return err
	}
	id, err := cgroupID(cgroupPath)
	if err != nil {
		return err
	}
	container, err := n.container(plan)
	if err != nil {
		return err
	}
	container.Init = uint32(initPid) //nolint:gosec // the kernel has no more than 2^22 pids
	// Remove what a container of the same bundle left behind when it was killed with its shim.
	if err := Retire(n.paths, plan.Identity.Key); err != nil {
		return err
	}
	if err := n.claim(key, id); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Release(n.paths, plan.Identity.Key))
		}
	}()
	if err := n.Prepare(plan.Identity.Key); err != nil {
		return err
	}
	if err := n.grant(plan, id); err != nil {
		return err
	}
	if err := n.watchFlows(plan.Identity.Key, cgroupPath); err != nil {
		return err
	}
	// With this entry, the programs start to recognize the cgroup.
	containers, err := n.pinned(mapContainers)
	if err != nil {
		return err
	}
	return containers.Update(id, container, ebpf.UpdateNoExist)
}

// claim assigns the cgroup to the key. It fails if another container has the cgroup.
func (n *Node) claim(key [keyLength]byte, id uint64) error {
	states, err := n.pinned(mapStates)
	if err != nil {
		return err
	}
	keys, err := n.pinned(mapKeys)
	if err != nil {
		return err
	}
	state := kernelState{Ring: ringID(key)}
	if err := states.Update(id, &state, ebpf.UpdateNoExist); err != nil {
		if errors.Is(err, ebpf.ErrKeyExist) {
			return errors.New("another guarded container has this very cgroup: give each its own cgroupsPath")
		}
		return err
	}
	if err := keys.Update(key, id, ebpf.UpdateNoExist); err != nil {
		return errors.Join(err, states.Delete(id))
	}
	return nil
}

// container converts the plan to the form that the programs use.
func (n *Node) container(plan *policy.Plan) (kernelContainer, error) {
	container := kernelContainer{Pod: podID(plan.Identity)}
	for relation, rule := range plan.Table() {
		action, err := kernelActionOf(rule)
		if err != nil {
			return container, fmt.Errorf("the rule for %s: %w", access.Relation(relation), err)
		}
		container.Actions[relation] = action
	}
	inbound, err := kernelActionOf(plan.Rules.Inbound)
	if err != nil {
		return container, fmt.Errorf("the rule inbound: %w", err)
	}
	container.Inbound = inbound
	if plan.Rules.Recon != policy.ReconOff {
		if container.Recon, err = kernelActionOf(plan.Rules.Recon); err != nil {
			return container, fmt.Errorf("the rule recon: %w", err)
		}
		if container.InboundRecon, err = kernelActionOf(plan.InboundRecon()); err != nil {
			return container, fmt.Errorf("the rules recon and inbound: %w", err)
		}
	}
	if plan.Enforces(n.tier) {
		container.Enforce = 1
	}
	if err := container.setRules(plan.Rule); err != nil {
		return container, err
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &own); err != nil {
		return container, fmt.Errorf("find out the runtime's mount namespace: %w", err)
	}
	container.RuntimeMntNs = uint32(own.Ino) //nolint:gosec // the number of a namespace is 32 bits wide
	return container, nil
}

func kernelActionOf(action policy.Action) (uint8, error) {
	switch action {
	case policy.ActionObserve, policy.ReconAudit:
		return uint8(kernelActionACTION_OBSERVE), nil
	case policy.ActionRefuse:
		return uint8(kernelActionACTION_REFUSE), nil
	default:
		return 0, fmt.Errorf("unknown action %q", action)
	}
}

// podID returns an id that the containers of one pod share, or 0 for a container in no pod.
func podID(identity policy.Identity) uint64 {
	if identity.Sandbox == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(identity.Namespace + "\x00" + identity.Sandbox))
	return binary.NativeEndian.Uint64(sum[:]) | 1
}

// keyLength is the length of a container's key in the map keys, in bytes, padded with zeros.
const keyLength = 64

func pinnedKey(key string) (padded [keyLength]byte, err error) {
	if key == "" || len(key) >= keyLength || filepath.Base(key) != key {
		return padded, fmt.Errorf("%q is no container's key", key)
	}
	copy(padded[:], key)
	return padded, nil
}

// cgroup returns the id of the container's cgroup. The error wraps fs.ErrNotExist if the container
// is not enrolled.
func (n *Node) cgroup(key string) (id uint64, err error) {
	padded, err := pinnedKey(key)
	if err != nil {
		return 0, err
	}
	keys, err := n.pinned(mapKeys)
	if err != nil {
		return 0, err
	}
	if err := keys.Lookup(padded, &id); err != nil {
		return 0, fmt.Errorf("the container %s is not enrolled: %w", key, notExist(err))
	}
	return id, nil
}
