package node

import (
	"os"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
)

// Tier is what this kernel can do, found without shimward.
func Tier() access.Tier {
	if !testenv.TakesLSM() {
		return access.TierTracepoint
	}
	return access.TierLSM
}

// Emulated says that the CPUs are slow ones, of a VM's: scripts/test does.
func Emulated() bool { return os.Getenv("SHIMWARD_TEST_EMULATED") != "" }
