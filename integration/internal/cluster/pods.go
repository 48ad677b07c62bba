package cluster

import (
	"context"
	"errors"
	"fmt"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// removePods removes the pods that are left after kubelet has stopped, together with their
// containers, network and cgroups.
func (c *Cluster) removePods(ctx context.Context) error {
	client, done, err := c.Node.CRI()
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	list, err := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list the pods that are left: %w", err)
	}
	var errs []error
	for _, sandbox := range list.GetItems() {
		_, stopErr := client.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: sandbox.GetId()})
		_, removeErr := client.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: sandbox.GetId()})
		if err := errors.Join(stopErr, removeErr); err != nil {
			errs = append(errs, fmt.Errorf("remove pod %s: %w", sandbox.GetMetadata().GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// Emptied waits until no pod is left, nor anything of one.
func (c *Cluster) Emptied(ctx context.Context) error {
	if err := c.AwaitPods(ctx, 0); err != nil {
		return err
	}
	return c.Node.Settled(ctx)
}

// AwaitPods waits until the node has sandboxes of exactly count pods. Kubelet takes up to a minute
// to remove the sandbox of a deleted pod. A restarted pod may have two sandboxes and counts once.
func (c *Cluster) AwaitPods(ctx context.Context, count int) error {
	client, done, err := c.Node.CRI()
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	return c.until(ctx, "the end of the pods", func(ctx context.Context) error {
		list, err := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
		if err != nil {
			return err
		}
		pods := map[string]bool{}
		for _, sandbox := range list.GetItems() {
			pods[sandbox.GetMetadata().GetUid()] = true
		}
		if len(pods) != count {
			return fmt.Errorf("there are sandboxes of %d pods, not %d", len(pods), count)
		}
		return nil
	})
}
