package hooks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/policy"
)

// releaseBereft records the end of a container whose monitor was killed, and releases what the
// container had.
func releaseBereft(ctx context.Context, plan *policy.Plan) error {
	key := plan.Identity.Key
	if _, err := os.Lstat(plan.Paths.Plan(key)); errors.Is(err, fs.ErrNotExist) {
		return nil // it has just ended in an orderly way
	}
	if err := AwaitEmpty(ctx, func() bool { return Populated(plan.Paths, key) }); err != nil {
		return err
	}
	e := event.Event{
		Time: time.Now(), Kind: event.KindDeleted, Severity: event.SeverityWarning, Container: guarded.InEvents(&plan.Identity),
		Message: "the container was deleted after its monitor had ended without deleting it: what it did in between has no events",
	}
	store, err := event.OpenStore(plan.Paths.Events(key), policy.DefaultConfig().Store.ContainerBytes())
	if err == nil {
		err = errors.Join(store.Append(e), store.Close())
	}
	return errors.Join(err, bpf.Release(plan.Paths, key), os.RemoveAll(plan.Paths.Container(key)))
}
