package container

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

// ReconcileLater reconciles the node after a delay of settled: reconciling looks at every container, and
// the container that starts now needs the CPU. It is skipped if another process has done it since, so of
// many that start at once, one reconciles. A process that ends calls now, which reconciles at once if that
// is still to be done.
func ReconcileLater(ctx context.Context, configFile string) (now func()) {
	since := bootClock()
	once := sync.OnceFunc(func() { reconcileNode(context.WithoutCancel(ctx), configFile, since) })
	later := time.AfterFunc(settled, once)
	return func() {
		later.Stop()
		once()
	}
}

// reconcileNode calls reconcileAll unless a reconciliation that began after since, a time since boot, has
// been completed.
func reconcileNode(ctx context.Context, configFile string, since time.Duration) {
	config, _, err := nodeconfig.Load(configFile)
	if err != nil {
		return // Create reports this to the user
	}
	begun := bootClock()
	if last := lastReconciled(config.Paths); since < last && last <= begun {
		return
	}
	if !reconcileAll(ctx, config) || begun == 0 {
		return
	}
	text := strconv.AppendInt(nil, int64(begun), 10)
	if err := files.Replace(config.Paths.Reconciled(), append(text, '\n')); err != nil {
		log.G(ctx).WithError(err).Debug("shimward: note that the node was reconciled") // it will be reconciled again
	}
}

// lastReconciled returns the time since boot at which the last completed reconciliation began, or 0.
func lastReconciled(paths policy.Paths) time.Duration {
	raw, err := files.Read(paths.Reconciled(), 64)
	if err != nil {
		return 0
	}
	var begun int64
	if _, err := fmt.Sscanf(string(raw), "%d\n", &begun); err != nil {
		return 0
	}
	return time.Duration(begun)
}

// bootClock returns the time since boot, which setting the clock does not change, or 0 if it is unknown.
func bootClock() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
