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

// ReconcileLater has the node reconciled once no container is waited for any more that
// starts now: it looks at all that there are, and the processors are needed for the
// start. Whoever has done so since spares this process it: of a crowd, one does. The
// returned function is for a process that ends: it does what is still to be done.
func ReconcileLater(ctx context.Context, configFile string) (now func()) {
	since := bootClock()
	once := sync.OnceFunc(func() { reconcileNode(context.WithoutCancel(ctx), configFile, since) })
	later := time.AfterFunc(settled, once)
	return func() {
		later.Stop()
		once()
	}
}

// reconcileNode is reconcileAll, unless one that began after that time since boot has ended.
func reconcileNode(ctx context.Context, configFile string, since time.Duration) {
	config, _, err := nodeconfig.Load(configFile)
	if err != nil {
		return // Create says so to somebody who can do something about it
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
		log.G(ctx).WithError(err).Debug("shimward: note that the node was reconciled") // it will be once more
	}
}

// lastReconciled is the time since boot when the last one that has ended began, or 0.
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

// bootClock is the time since boot, which no settings of the clock change; 0 where it is unknown.
func bootClock() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
