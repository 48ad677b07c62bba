package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// poll is the interval for checking states that have no notification.
const poll = 100 * time.Millisecond

// until calls ready until it returns nil. It returns early when one of the cluster's processes
// ends.
func (c *Cluster) until(ctx context.Context, what string, ready func(context.Context) error) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, d := range c.daemons {
			select {
			case <-d.exited:
				return d.died()
			default:
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		}
	}
}

// waitNode waits until pods can be scheduled on the node.
func (c *Cluster) waitNode(ctx context.Context) error {
	return c.until(ctx, "the node", func(ctx context.Context) error {
		found, err := c.Client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		at := slices.IndexFunc(found.Status.Conditions, func(condition corev1.NodeCondition) bool {
			return condition.Type == corev1.NodeReady
		})
		if at < 0 || found.Status.Conditions[at].Status != corev1.ConditionTrue {
			return fmt.Errorf("the node is not Ready: %v", found.Status.Conditions)
		}
		if len(found.Spec.Taints) > 0 {
			return fmt.Errorf("the node has taints: %v", found.Spec.Taints)
		}
		return nil
	})
}
