package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// serviceRange is the range of cluster IPs. Nothing here serves one.
const serviceRange = "10.97.1.0/24"

func (c *Cluster) server() string { return fmt.Sprintf("https://127.0.0.1:%d", c.ports.apiserver) }

func (c *Cluster) etcd() string { return fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcd) }

// startEtcd starts etcd. Its data lives only as long as the cluster, so nothing has to reach the
// disk.
func (c *Cluster) startEtcd(ctx context.Context) error {
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcdPeer)
	_, err := c.start(
		ctx, "etcd",
		"--name=etcd", "--data-dir="+c.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+c.etcd(), "--advertise-client-urls="+c.etcd(),
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=etcd="+peer,
	)
	return err
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	if err := writeFile(c.path("pki", "ca.crt"), c.authority.pem()); err != nil {
		return err
	}
	serving, err := c.issueFiles("apiserver", "apiserver")
	if err != nil {
		return err
	}
	kubelet, err := c.issueFiles("kubelet-client", "apiserver-of-kubelet")
	if err != nil {
		return err
	}
	accounts, err := c.issueFiles("accounts", "accounts")
	if err != nil {
		return err
	}
	_, err = c.start(
		ctx, "kube-apiserver",
		"--etcd-servers="+c.etcd(),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.ports.apiserver),
		"--cert-dir="+c.path("apiserver"), "--tls-cert-file="+serving.certificate, "--tls-private-key-file="+serving.key,
		"--client-ca-file="+c.path("pki", "ca.crt"),
		"--kubelet-client-certificate="+kubelet.certificate, "--kubelet-client-key="+kubelet.key,
		"--kubelet-certificate-authority="+c.path("pki", "ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file="+accounts.key, "--service-account-key-file="+accounts.certificate,
		"--service-cluster-ip-range="+serviceRange,
		"--endpoint-reconciler-type=none", // an endpoint on the loopback is rejected
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
	)
	return err
}

func (c *Cluster) startControllers(ctx context.Context) error {
	config, err := c.kubeconfig("controllers", "system:kube-controller-manager")
	if err != nil {
		return err
	}
	_, err = c.start(
		ctx, "kube-controller-manager",
		"--kubeconfig="+config, "--leader-elect=false", "--secure-port=0", "--use-service-account-credentials",
		"--service-account-private-key-file="+c.path("pki", "accounts.key"), "--root-ca-file="+c.path("pki", "ca.crt"),
	)
	return err
}

func (c *Cluster) startScheduler(ctx context.Context) error {
	config, err := c.kubeconfig("scheduler", "system:kube-scheduler")
	if err != nil {
		return err
	}
	_, err = c.start(ctx, "kube-scheduler", "--kubeconfig="+config, "--leader-elect=false", "--secure-port=0")
	return err
}

// APIServer returns where the apiserver listens, on the node's loopback interface.
func (c *Cluster) APIServer() (host string, port int) { return "127.0.0.1", c.ports.apiserver }

// Kubeconfig returns the path of the administrator's kubeconfig, which Kubectl uses.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig", "admin") }

// Kubectl returns a kubectl command with the administrator's identity.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig=" + c.Kubeconfig(), "--cache-dir=" + c.path("kubectl")}, args...)
	return exec.CommandContext(ctx, filepath.Join(c.options.Kubernetes, "kubectl"), args...) //nolint:gosec // one of the cluster's binaries
}
