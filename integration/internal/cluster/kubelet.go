package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// startKubelet starts kubelet, for the first time or on the state that a previous one left.
func (c *Cluster) startKubelet(ctx context.Context) error {
	kubeconfig, err := c.kubeconfig("kubelet", "system:node:"+NodeName, "system:nodes")
	if err != nil {
		return err
	}
	serving, err := c.issueFiles("kubelet", "system:node:"+NodeName, "system:nodes")
	if err != nil {
		return err
	}
	resolv := c.path("resolv.conf")
	if err := writeFile(resolv, nil); err != nil {
		return err
	}
	text, err := json.Marshal(c.kubeletConfig(serving, resolv))
	if err != nil {
		return fmt.Errorf("encode kubelet's config: %w", err)
	}
	config := c.path("kubelet.json")
	if err := writeFile(config, text); err != nil {
		return err
	}
	c.kubelet, err = c.start(
		ctx, "kubelet",
		"--config="+config, "--kubeconfig="+kubeconfig, "--root-dir="+c.path("kubelet"), "--cert-dir="+c.path("kubelet-pki"),
		"--hostname-override="+NodeName, "--node-ip="+c.address.String(),
	)
	return err
}

// RestartKubelet stops kubelet while its pods keep running, starts it again on its state, and waits
// until it answers.
func (c *Cluster) RestartKubelet(ctx context.Context) error {
	if err := c.kubelet.stop(ctx); err != nil {
		return err
	}
	c.daemons = slices.DeleteFunc(c.daemons, func(d *daemon) bool { return d == c.kubelet })
	return c.resumeKubelet(ctx)
}

// Reboot stops kubelet, reboots the node below it as after a power cut, and starts both again.
func (c *Cluster) Reboot(ctx context.Context) error {
	if err := c.kubelet.stop(ctx); err != nil {
		return err
	}
	c.daemons = slices.DeleteFunc(c.daemons, func(d *daemon) bool { return d == c.kubelet })
	if err := c.Node.Reboot(ctx); err != nil {
		return err
	}
	return c.resumeKubelet(ctx)
}

func (c *Cluster) resumeKubelet(ctx context.Context) error {
	if err := c.startKubelet(ctx); err != nil {
		return err
	}
	return c.until(ctx, "kubelet", func(ctx context.Context) error {
		// Through the apiserver, the same way as kubectl exec.
		return c.Client.CoreV1().RESTClient().Get().Resource("nodes").Name(NodeName).SubResource("proxy", "healthz").Do(ctx).Error()
	})
}

// SeccompDir returns the directory where kubelet looks for profiles of type Localhost.
func (c *Cluster) SeccompDir() string { return c.path("kubelet", "seccomp") }

// kubeletConfig returns a config with which kubelet runs beside anything else on the machine: with
// hybrid cgroups, without its own cgroup hierarchy, without firewall rules, and without evicting
// pods because the machine's disk is full.
func (c *Cluster) kubeletConfig(serving files, resolv string) map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": c.address.String(), "port": c.ports.kubelet, "readOnlyPort": 0, "healthzPort": 0,
		"tlsCertFile": serving.certificate, "tlsPrivateKeyFile": serving.key,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": false},
			"x509":      map[string]any{"clientCAFile": c.path("pki", "ca.crt")},
		},
		"authorization":            map[string]any{"mode": "AlwaysAllow"},
		"containerRuntimeEndpoint": "unix://" + c.Node.Socket(),
		"cgroupDriver":             "cgroupfs",
		"cgroupsPerQOS":            false, "enforceNodeAllocatable": []string{}, "failCgroupV1": false, "failSwapOn": false,
		"localStorageCapacityIsolation": false, "makeIPTablesUtilChains": false, "oomScoreAdj": 0,
		"evictionHard":                map[string]string{"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi"},
		"imageGCHighThresholdPercent": 100,
		"podLogsDir":                  c.path("pods"), "volumePluginDir": c.path("volume-plugins"), "resolvConf": resolv,
	}
}
