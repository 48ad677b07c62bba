package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// prefix is the start of the name of everything that is created here.
const prefix = "shimward-verify-"

// lock prevents a second verify from running on this containerd. It locks the folder of the socket,
// which is the same wherever else verify may run, such as in a pod.
func lock(address string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(address))
	if err != nil {
		return nil, fmt.Errorf("find containerd's socket: %w", err)
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return dir, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("another shimward verify is running on %s: wait until it has ended", address)
	default:
		err = fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return nil, errors.Join(err, dir.Close())
}

// sweep removes what a killed verify has left behind. Because the lock is held, nothing in the
// namespace belongs to a running verify.
func (e *engine) sweep(ctx context.Context) error {
	requestCtx, cancel := request(ctx)
	defer cancel()
	list, err := e.containers.List(requestCtx, &containersapi.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("ask containerd for what an earlier verify left: %w", err)
	}
	var errs []error
	for _, left := range list.Containers {
		c := &container{id: left.ID, engine: e, output: &output{}}
		errs = append(errs, c.delete(ctx))
		var spec specs.Spec
		if err := json.Unmarshal(left.Spec.GetValue(), &spec); err != nil || spec.Root == nil {
			continue
		}
		if dir := filepath.Dir(spec.Root.Path); strings.HasPrefix(filepath.Base(dir), prefix) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}
