package node

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kubernetes is the containerd namespace of everything created over CRI.
const kubernetes = "k8s.io"

// CRI returns a client of the node's CRI runtime service, as kubelet uses it. The caller calls
// done. Leaks finds only those pods whose cgroup parent is CgroupParent.
func (n *Node) CRI() (_ runtime.RuntimeServiceClient, done func() error, _ error) {
	connection, err := grpc.NewClient("unix://"+n.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to containerd's CRI: %w", err)
	}
	return runtime.NewRuntimeServiceClient(connection), connection.Close, nil
}

// CgroupParent returns the cgroup below which the node's containers run.
func (n *Node) CgroupParent() string { return "/" + n.Namespace }
