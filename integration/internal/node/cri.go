package node

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kubernetes is containerd's namespace of everything that came over CRI.
const kubernetes = "k8s.io"

// CRI is the node's runtime service, as kubelet uses it. The caller calls done.
// Pods that are to be found by Leaks have CgroupParent as their cgroup's.
func (n *Node) CRI() (_ runtime.RuntimeServiceClient, done func() error, _ error) {
	connection, err := grpc.NewClient("unix://"+n.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to containerd's CRI: %w", err)
	}
	return runtime.NewRuntimeServiceClient(connection), connection.Close, nil
}

// CgroupParent is the cgroup that the node's containers are below.
func (n *Node) CgroupParent() string { return "/" + n.Namespace }
