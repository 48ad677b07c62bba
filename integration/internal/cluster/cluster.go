// Package cluster provides a single-node Kubernetes cluster: etcd, the control plane and kubelet
// built from source, on top of a private containerd of package node that has shimward as one of its
// runtimes. Every component listens on the loopback interface, keeps its state in its own
// directory, and has an identity issued by a certificate authority made for the cluster.
//
// The package starts processes, mounts file systems and creates network interfaces, so it needs
// root.
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

// NodeName is the node's name in Kubernetes.
const NodeName = "node"

const stopTimeout = 2 * time.Minute

// Options configures a Cluster.
type Options struct {
	// Kubernetes is the directory that scripts/build-kubernetes prints.
	Kubernetes string
	// Node configures the containerd underneath. CRI and CNI need not be set.
	Node node.Options
}

// Cluster is a running Kubernetes cluster with one node, which is Ready.
type Cluster struct {
	Node *node.Node
	// Client has the rights of cluster-admin.
	Client kubernetes.Interface

	options   Options
	dir       string
	authority *authority
	ports     ports
	address   net.IP // of the node
	admin     *rest.Config
	daemons   []*daemon // in start order
	kubelet   *daemon
}

// Start starts all components and waits for the node to be ready. The caller calls Stop.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "shimward-cluster-")
	if err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	// The root user of a pod's user namespace must be able to reach its volumes.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // traversal only
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

// startNode starts the containerd that kubelet will use.
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

// Stop stops what Start started, in reverse order, and removes the cluster's directory. It may be
// called on a partly started cluster.
func (c *Cluster) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	for _, d := range slices.Backward(c.daemons) {
		errs = append(errs, d.stop(ctx))
		if d == c.kubelet { // first, so that nothing recreates the pods
			errs = append(errs, c.removePods(ctx))
		}
	}
	if c.Node != nil {
		errs = append(errs, c.Node.Stop(ctx))
	}
	errs = append(errs, unmountBelow(c.dir), os.RemoveAll(c.dir))
	return errors.Join(errs...)
}

// KeepLogs copies the logs of all components to a directory.
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
