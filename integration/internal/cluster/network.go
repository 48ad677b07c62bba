package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// podRange returns the address range of pods. Clusters that run side by side have different ports
// and therefore most likely different ranges, which matters because they share the machine's
// routes.
func (p ports) podRange() string { return fmt.Sprintf("10.97.%d.0/24", 2+p.etcd%250) }

// ports are the loopback ports on which the cluster listens.
type ports struct{ etcd, etcdPeer, apiserver, kubelet int }

// freePorts asks the kernel for unused ports. It holds all of them open until it has found the
// last.
func freePorts(ctx context.Context) (ports, error) {
	var found ports
	for _, port := range []*int{&found.etcd, &found.etcdPeer, &found.apiserver, &found.kubelet} {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return ports{}, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		address, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return ports{}, fmt.Errorf("find a free port: %s is no TCP address", listener.Addr())
		}
		*port = address.Port
	}
	return found, nil
}

// nodeAddress returns a non-loopback address of the machine. Kubelet does not accept a loopback
// address as the node's, and without an address the apiserver cannot reach kubelet for kubectl
// exec.
func nodeAddress() (net.IP, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the machine's addresses: %w", err)
	}
	for _, address := range all {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			return network.IP, nil
		}
	}
	return nil, errors.New("the machine has no IPv4 address but the loopback's: give an interface one")
}

// writeNetwork writes a CNI config that gives each pod one end of a veth pair, and an address for
// as long as the pod lives.
func writeNetwork(dir, state, podRange string) error {
	config := map[string]any{
		"cniVersion": "1.0.0", "name": "shimward-tests",
		"plugins": []any{map[string]any{
			"type": "ptp", "ipMasq": false,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": state,
				"ranges": [][]map[string]string{{{"subnet": podRange}}},
			},
		}},
	}
	text, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode the pods' network: %w", err)
	}
	return writeFile(filepath.Join(dir, "10-pods.conflist"), text)
}

// unmountBelow unmounts everything that is still mounted below dir, innermost first.
func unmountBelow(dir string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var at []string
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			at = append(at, fields[4])
		}
	}
	var errs []error
	for _, mount := range slices.Backward(at) {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mount, err))
		}
	}
	return errors.Join(errs...)
}

// Leases returns the directory where the network plugin records which pod has which address.
func (c *Cluster) Leases() string { return c.path("cni-state") }
