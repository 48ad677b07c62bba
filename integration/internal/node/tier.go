package node

import (
	"os"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
)

// Tier returns the tier that this kernel supports, determined without shimward.
func Tier() access.Tier {
	if !testenv.TakesLSM() {
		return access.TierTracepoint
	}
	return access.TierLSM
}

// Emulated reports whether the tests run on the slow, emulated CPUs of a VM. scripts/test sets the
// variable.
func Emulated() bool { return os.Getenv("SHIMWARD_TEST_EMULATED") != "" }
