// Command containerd-shim-shimward-v1 is the shim that containerd starts for
// the runtime type io.containerd.shimward.v1. Package shim is what it does.
package main

import (
	"context"

	containerdshim "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/shimward/shimward/shim"
)

func main() {
	shim.Register()
	containerdshim.RunShim(context.Background(), shim.NewManager())
}
