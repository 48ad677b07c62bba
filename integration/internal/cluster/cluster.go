// Package cluster is a Kubernetes of one node: etcd, the control plane and
// kubelet from source, over a private containerd of package node with shimward
// as one of its runtimes. Everything listens on the loopback, has its state in a
// folder of its own and an identity that a certificate authority made for it.
//
// It starts processes, mounts, and makes network interfaces, so it needs root.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shimward/shimward/integration/internal/node"
)

// NodeName is what Kubernetes calls the node.
const NodeName = "node"

const stopTimeout = 2 * time.Minute

// Options is what a Cluster is made from.
type Options struct {
	// Kubernetes is the folder that scripts/build-kubernetes prints.
	Kubernetes string
	// Node is the containerd below. CRI and CNI need not be set.
	Node node.Options
}

// Cluster is a running Kubernetes with one node that is Ready.
type Cluster struct {
	Node *node.Node
	// Client is cluster-admin's.
	Client kubernetes.Interface

	options   Options
	dir       string
	authority *authority
	ports     ports
	address   net.IP // the node's
	admin     *rest.Config
	daemons   []*daemon // in the order they were started
	kubelet   *daemon
}

// Start starts everything and waits for the node. Stop ends it.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "shimward-cluster-")
	if err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	// The root of a pod's user namespace has to get through to its volumes.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // through, and no further
		return nil, fmt.Errorf("open the cluster's folder to user namespaces: %w", err)
	}
	c := &Cluster{options: options, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if c.address, err = nodeAddress(); err != nil {
		return nil, err
	}
	if c.authority, err = newAuthority(c.address); err != nil {
		return nil, err
	}
	if c.ports, err = freePorts(ctx); err != nil {
		return nil, err
	}
	if err := c.startNode(ctx); err != nil {
		return nil, err
	}
	for _, start := range []func(context.Context) error{c.startEtcd, c.startAPIServer, c.connect, c.startControllers, c.startScheduler, c.startKubelet} {
		if err := start(ctx); err != nil {
			return nil, err
		}
	}
	return c, c.waitNode(ctx)
}

// startNode starts the containerd that kubelet will speak to.
func (c *Cluster) startNode(ctx context.Context) error {
	conf := c.path("cni")
	if err := writeNetwork(conf, c.path("cni-state"), c.ports.podRange()); err != nil {
		return err
	}
	options := c.options.Node
	options.CRI = true
	options.CNI = &node.CNI{Bin: c.options.Kubernetes, Conf: conf}
	n, err := node.Start(ctx, options)
	if err != nil {
		return err
	}
	c.Node = n
	return nil
}

// Stop ends what Start started, the last first, and removes the cluster's
// folder. It may be called on a half-started cluster.
func (c *Cluster) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	for _, d := range slices.Backward(c.daemons) {
		errs = append(errs, d.stop(ctx))
		if d == c.kubelet { // the first to go: nobody makes pods anew
			errs = append(errs, c.removePods(ctx))
		}
	}
	if c.Node != nil {
		errs = append(errs, c.Node.Stop(ctx))
	}
	errs = append(errs, unmountBelow(c.dir), os.RemoveAll(c.dir))
	return errors.Join(errs...)
}

// KeepLogs copies what everybody logged into a folder.
func (c *Cluster) KeepLogs(to string) error {
	if err := os.CopyFS(to, os.DirFS(c.path("log"))); err != nil {
		return fmt.Errorf("keep the cluster's logs: %w", err)
	}
	if err := os.WriteFile(filepath.Join(to, "containerd.log"), []byte(c.Node.Log()), 0o600); err != nil {
		return fmt.Errorf("keep containerd's log: %w", err)
	}
	return nil
}

func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}
